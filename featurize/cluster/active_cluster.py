"""The workers that `joblib.parallel_config` names, if any. Imports nothing heavy: every run asks."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featurize.cluster.workers import Workers
    from featurize.engines.engine import Cost
    from featurize.extract.network_extractor import ComputingExtractor
    from featurize.extract.outcome import Outcome, Progress


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
