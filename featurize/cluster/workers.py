"""The workers of a joblib backend: how many there are, who they are, and what they answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cache.errors import log
from featurize.cluster.tasks import Answer, Lost, Task
from featurize.machine.parallel import THREADS


@dataclass(frozen=True)
class Workers:
    """Processes that take tasks. Here those of any backend of joblib; what Dask and Ray do otherwise is below.

    tries: how often a task has cost its worker the life when it is given back as lost.
    """

    backend: Any
    jobs: int
    tries = 1

    def count(self) -> int:
        """How many there are now, at least 1."""
        return max(1, int(self.backend.effective_n_jobs(self.jobs)))

    def names(self) -> set[str]:
        """Who they are now; empty where that is not known."""
        return set()

    def wait(self) -> None:
        """Wait for the first one."""

    @property
    def threads(self) -> int:
        """The cores of each, where they share this machine; 0 where each knows its own."""
        return max(1, round(THREADS / self.count()))

    def answers(self, function: Callable[[Task], Answer], tasks: Iterator[Task], ahead: int) -> Iterator[Answer | Lost]:
        """What `function` answers to each of `tasks`, in any order; `ahead` of them are handed out at once.

        Raises what `is_loss` tells where a worker has died, and it is not known what became of the tasks.
        """
        from joblib import Parallel, delayed

        run = Parallel(
            self.jobs,
            backend=self.answering(),
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=ahead,
        )
        yield from run(delayed(function)(task) for task in tasks)

    def answering(self) -> Any:
        """The backend, as one that answers to every task."""
        return self.backend


@dataclass(frozen=True)
class DaskWorkers(Workers):
    """Those of a Dask scheduler. They come and go; a task whose worker died is given to another one, three times."""

    tries = 3

    def count(self) -> int:
        """Processes, each of which computes one task at a time with its threads."""
        return max(1, len(self.names()))

    def names(self) -> set[str]:
        """Their addresses."""
        return {*self.backend.client.ncores()}

    def wait(self) -> None:
        """Wait for the first one, and say so: a queue of jobs may take its time."""
        if not self.names():
            log.info("the scheduler %s has no workers: waiting for one", self.backend.client.scheduler.address)
            self.backend.client.wait_for_workers(1)

    @property
    def threads(self) -> int:
        """As many as each was started with."""
        return 0

    def answering(self) -> Any:
        """A backend that gives back a task whose workers died; joblib's own would wait for it for ever."""
        from featurize.cluster.backends.dask_backend import GivingBack

        return GivingBack(client=self.backend.client, wait_for_workers_timeout=None)


@dataclass(frozen=True)
class RayWorkers(Workers):
    """The actors of a Ray cluster, one a core."""

    @property
    def threads(self) -> int:
        """An actor has one core."""
        return 1

    def answers(self, function: Callable[[Task], Answer], tasks: Iterator[Task], ahead: int) -> Iterator[Answer | Lost]:
        """As above; the actors of a backend that the caller has named live as long as they have tasks."""
        from featurize.cluster.backends.ray_backend import WarmRay

        if isinstance(self.backend, WarmRay):
            yield from super().answers(function, tasks, ahead)
            return
        backend = WarmRay(ray_remote_args=self.backend.ray_remote_args)
        try:
            yield from RayWorkers(backend, self.jobs).answers(function, tasks, ahead)
        finally:
            backend.end()


def workers_of(backend: Any, jobs: int) -> Workers | None:
    """The workers of an active backend; None where it is a single process."""
    kind = type(backend).__name__
    if kind == "DaskDistributedBackend":
        return DaskWorkers(backend, jobs)
    if kind in ("RayBackend", "WarmRay"):
        return RayWorkers(backend, -1 if jobs is None else jobs)
    return None if backend.effective_n_jobs(jobs) == 1 else Workers(backend, jobs)


# Classes of errors, by package and name, that say that a worker process has gone; the packages need not be installed.
LOSSES = {
    ("joblib", "TerminatedWorkerError"),
    ("concurrent", "BrokenExecutor"),
    ("ray", "RayActorError"),
    ("ray", "WorkerCrashedError"),
    ("ray", "NodeDiedError"),
}


def is_loss(error: BaseException) -> bool:
    """Whether an error says that a worker has died."""
    return any((kind.__module__.partition(".")[0], kind.__name__) in LOSSES for kind in type(error).__mro__)
