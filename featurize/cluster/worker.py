"""What a worker runs for each task. Imports nothing that counts cores before it knows how many are its own."""

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cache.errors import UserError, log

if TYPE_CHECKING:
    from featurize.cluster.tasks import Answer, Job, Task

THREADS = ("BOTTLENECK_THREADS", "TF_NUM_INTRAOP_THREADS")  # the first for `featurize.machine.parallel`

# A worker of Dask may have several threads for tasks. One task uses all of them, the others wait.
_one_at_a_time = threading.Lock()


def name() -> str:
    """How this process is called: machine and number."""
    return f"{socket.gethostname()}:{os.getpid()}"


def run_task(job: "Job", task: "Task") -> "Answer":
    """Compute the rows of a task's pictures, and commit them where the cache of the run is reached, else push them."""
    with _one_at_a_time, _kept_messages() as messages:
        threads = str(_threads(job.threads))
        for variable in THREADS:
            os.environ.setdefault(variable, threads)
        from cache.remote.other_side import StorageError
        from featurize.cluster.tasks import Answer
        from featurize.cluster.worker_rows import compute_task

        try:
            answer = compute_task(job, task)
        except StorageError as error:  # it may answer the next time
            answer = Answer(task.number, name(), failed=" ".join(str(error).split())[:200])
        except UserError as error:
            answer = Answer(task.number, name(), refused=f"worker {name()}: {error}")
        except (MemoryError, RuntimeError) as error:  # OpenVINO's own errors are RuntimeErrors
            reason = " ".join(str(error).split())[:200]
            answer = Answer(task.number, name(), failed=f"{type(error).__name__} {reason}".strip())
    answer.messages = messages
    return answer


def _threads(told: int) -> int:
    """The cores of this process: as the run says, as this worker of Dask was started, or all that it may use."""
    if told:
        return told
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "distributed" not in sys.modules:
        return cores
    from distributed import get_worker

    return min(cores, get_worker().state.nthreads)


class _Keeping(logging.Handler):
    def __init__(self, kept: list[tuple[int, str]]):
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append((record.levelno, record.getMessage()))


@contextmanager
def _kept_messages() -> Iterator[list[tuple[int, str]]]:
    """The warnings of the body: (level, text), for the run to tell."""
    kept: list[tuple[int, str]] = []
    handler = _Keeping(kept)
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.WARNING)
    log.propagate = False
    try:
        yield kept
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before
