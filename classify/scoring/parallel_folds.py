"""Folds side by side: in threads, which share the rows, each with one thread of linear algebra.

Of two fits that multiply matrices with two threads each, on two cores, every thread waits for others that wait: five
times the processor time, measured by `benchmarks/cost/parallel_folds.py`. One thread a fit costs no more than the fit.

joblib runs the folds, in threads unless another backend is chosen with `joblib.parallel_config`, as `cluster` does.
Processes of its own would take seconds to import scikit-learn.
"""

import logging
import math
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

import featurize.machine.memory
from cache.errors import log
from cache.stored_rows import Rows, StoredRows
from classify.heads.head_table import HEADS, training_bytes
from featurize.machine.parallel import THREADS

ELSEWHERE = ("DaskDistributedBackend", "RayBackend")  # backends whose processes may be on other machines
LOCKED = ("sgd",)  # heads of so many small steps that two threads wait for Python's lock: 0.85 times as fast as one

Task = TypeVar("Task")
Result = TypeVar("Result")
Told = tuple[list[tuple[int, str]], list[tuple[str, type[Warning]]]]  # level and message of records; of warnings


def in_parallel(function: Callable[[Task], Result], tasks: Sequence[Task], n_jobs: int) -> Iterator[Result]:
    """`function(task)` of each task, `n_jobs` at a time, in the order of the tasks, whatever `n_jobs` is bit by bit.

    The first exception of `function` is raised as soon as it is known, and nothing new begins. What is logged or warned
    of in other processes is told here.
    """
    n_jobs = min(n_jobs, len(tasks))
    # Around all threads, for the filters of warnings that one of them changes are those of all.
    with threadpool_limits(1, "blas"), warnings.catch_warnings(), _start_method_kept():
        if n_jobs <= 1:
            yield from map(function, tasks)
            return
        backend = get_active_backend(prefer="threads")[0]
        return_as = "generator" if backend.supports_return_generator else "list"  # Ray's does not
        run = Parallel(n_jobs, prefer="threads", return_as=return_as, batch_size=1)
        shared = function if in_threads() else _Large(function)
        about = os.getpid(), log.getEffectiveLevel()
        for result, (logged, warned) in run(delayed(_told)(shared, task, *about) for task in tasks):
            for level, message in logged:
                log.log(level, "%s", message)
            for text, category in warned:
                warnings.warn(text, category, stacklevel=2)
            yield result


@contextmanager
def _start_method_kept() -> Iterator[None]:
    """Leave it to the program how its processes start: a pool, even one of threads, settles that by asking."""
    undecided = multiprocessing.get_start_method(allow_none=True) is None
    try:
        yield
    finally:
        if undecided:
            multiprocessing.set_start_method(None, force=True)


def jobs_for(head: str, params: dict[str, Any], features: Rows, labels: np.ndarray, n_jobs: int | None) -> int:
    """How many fits of a head may run at once: `n_jobs`, by default one a core, fewer where memory is not free.

    Of processes by default as many as joblib's backend has; the memory of other machines is their own. One where
    TensorFlow trains on maps, with all cores, and where rows stay on the disk, read by chunks that fill the memory.
    labels: (n,), of the features.
    """
    if n_jobs == 1 or HEADS[head].maps or isinstance(features, StoredRows) or (head in LOCKED and in_threads()):
        return 1
    backend, jobs = get_active_backend(prefer="threads")
    asked = n_jobs or (THREADS if in_threads() else max(1, int(backend.effective_n_jobs(jobs))))
    if type(backend).__name__ in ELSEWHERE:
        return asked
    *rows, width = features.shape
    each = training_bytes(head, params, math.prod(rows), width, len(np.unique(labels)), len(labels))
    fitting = max(1, featurize.machine.memory.free_memory() // each)
    if fitting < asked:
        log.info("memory is free for %d fits of %s at once, not for %d", fitting, head, asked)
    return min(asked, fitting)


def in_threads() -> bool:
    """Whether fits at once are threads of this process, so that they may be given a function that tells progress."""
    return getattr(get_active_backend(prefer="threads")[0], "supports_sharedmem", False)


class _Large:
    """A function that holds the rows: it says that it is large, by which Dask sends it to a worker only once."""

    def __init__(self, function: Callable[[Any], Any]):
        self._function = function

    def __call__(self, task: Any) -> Any:
        return self._function(task)

    def __sizeof__(self) -> int:
        return 2**20


class _Kept(logging.Handler):
    """Keeps what is logged: (level, message) of each record."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.levelno, record.getMessage()))


def _told(function: Callable[[Task], Result], task: Task, caller: int, level: int) -> tuple[Result, Told]:
    """(`function(task)`, what it logged and warned of), the latter where this is not the process of the caller."""
    if os.getpid() == caller:
        return function(task), ([], [])
    kept = _Kept()
    log.addHandler(kept)
    log.setLevel(level)
    log.propagate = False
    try:
        with threadpool_limits(1, "blas"), warnings.catch_warnings(record=True) as caught:
            result = function(task)
    finally:
        log.removeHandler(kept)
    return result, (kept.kept, [(str(one.message), one.category) for one in caught])
