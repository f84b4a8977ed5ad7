"""An exported file in its own runtime: what it says of pixels."""

from collections.abc import Callable, Mapping

import numpy as np

from classify.exports.files.named_outputs import Pixels
from classify.exports.formats import check_packages, format_of, in_one_line
from classify.exports.inputs import INPUT
from classify.heads.numerics import Floats

AT_ONCE = 8  # pictures: memory does not grow with their number

# Pixels (n, height, width, 3) float32, RGB 0..255, of several inputs by name -> probabilities (n, k), distances (n,) or
# None.
Exported = Callable[[Floats | Pixels], tuple[Floats, Floats | None]]


def open_exported(path: str) -> Exported:
    """The exported file at `path`, loaded in its own runtime, to be asked many times.

    Raises UserError for a name without the suffix of a format, for a runtime that is not installed, and for a file that
    it does not load or run.
    """
    kind = format_of(path)
    check_packages(path, kind.packages)
    with in_one_line(f"{path} cannot be loaded by {kind.runtime}"):
        runner = kind.module.opened(path)

    def answers(pixels: Floats | Pixels) -> tuple[Floats, Floats | None]:
        named = pixels if isinstance(pixels, Mapping) else {INPUT: pixels}
        starts = range(0, max(map(len, named.values())), AT_ONCE)
        with in_one_line(f"{path} cannot be run by {kind.runtime}"):
            found = [runner(_some(named, slice(start, start + AT_ONCE))) for start in starts]
        away = [one["distance"] for one in found if "distance" in one]
        return np.concatenate([one["probabilities"] for one in found]), np.concatenate(away) if away else None

    return answers


def _some(pixels: Pixels, which: slice) -> Pixels:
    return {name: np.ascontiguousarray(each[which], np.float32) for name, each in pixels.items()}


def run_exported(path: str, pixels: Floats | Pixels) -> tuple[Floats, Floats | None]:
    """What an exported file says of pixels, in its own runtime.

    Parameters
    ----------
    path : str
        The file; its suffix says the format.
    pixels : ndarray of float32, shape (n, height, width, 3)
        RGB, from 0 to 255. Of an export of several inputs: a mapping of their names to such arrays of the same n.

    Returns
    -------
    tuple of ndarray
        Probabilities (n, k) and distances (n,) from the training pictures; None where the model has no distances.

    Raises
    ------
    UserError
        As `open_exported`.
    """
    return open_exported(path)(pixels)
