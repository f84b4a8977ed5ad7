"""What draws files with matplotlib, whatever MPLBACKEND names: no window is opened, and pyplot is not needed.

Jupyter sets MPLBACKEND for the commands that a cell starts. Where it names a module that their Python lacks,
matplotlib cannot be imported.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["Axes", "Figure", "FigureCanvasAgg", "FuncFormatter", "MaxNLocator", "NullFormatter", "rc_context"]


@contextlib.contextmanager
def _without_backend() -> Iterator[None]:
    """Import matplotlib in the body; the backend that MPLBACKEND names is set afterwards, as far as it is there."""
    asked = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked
    if asked:
        import matplotlib

        with contextlib.suppress(ValueError):  # of a backend that is not there: files need none
            matplotlib.rcParams["backend"] = asked


with _without_backend():
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
