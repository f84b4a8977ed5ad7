"""The workers that `joblib.parallel_config` names, if any, and the place through which their rows go.

Imports nothing heavy: every run asks.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from cache.errors import UserError

if TYPE_CHECKING:
    from featurize.cluster.workers import Workers
    from featurize.engines.engine import Cost
    from featurize.extract.network_extractor import ComputingExtractor
    from featurize.extract.outcome import Outcome, Progress


_through: ContextVar[str] = ContextVar("through", default="")


def active_through() -> str:
    """The address of `pushing_through` that is active in this thread; "" where there is none."""
    return _through.get()


@contextmanager
def pushing_through(address: str) -> Iterator[None]:
    """Have workers of the body that do not reach the cache push their rows to an address, see `cache.remote.push.push`.

    Raises UserError where the body has no workers, and as `cache.remote.other_side.open_objects`.
    """
    from cache.remote.other_side import MountedFolder, open_objects

    there = open_objects(address)
    if active_cluster() is None:
        raise UserError(
            f"through {there.address}: there are no workers that rows could come from; give --cluster (cluster=) as "
            "well, such as tcp://HOST:8786"
        )
    own = os.path.abspath(there.address) if isinstance(there, MountedFolder) else there.address
    before = _through.set(own)
    try:
        yield
    finally:
        _through.reset(before)


def active_cluster() -> "Workers | None":
    """The workers of the joblib backend that is active in this thread; None for threads, and where none was named."""
    if "joblib" not in sys.modules:  # who has chosen a backend has imported it
        return None
    from joblib.parallel import get_active_backend

    backend, jobs = get_active_backend(prefer="threads")
    if getattr(backend, "supports_sharedmem", False):
        return None
    from featurize.cluster.workers import workers_of

    return workers_of(backend, jobs)


def fill_on_cluster(
    extractor: "ComputingExtractor",
    workers: "Workers",
    outcome: "Outcome",
    cost: "Cost",
    progress: "Progress | None",
) -> bool:
    """`featurize.cluster.drive.fill`, which is imported only here."""
    from featurize.cluster.drive import fill

    return fill(extractor, workers, outcome, cost, progress)
