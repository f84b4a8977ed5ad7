"""joblib's Dask backend, which answers for every task: also for one whose workers died, or that was cancelled."""

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from distributed.scheduler import KilledWorker
from joblib._dask import DaskDistributedBackend

from featurize.cluster.tasks import Lost


class GivingBack(DaskDistributedBackend):
    """A backend whose answer to a task that Dask has given up is `Lost`.

    joblib 1.6 tells the caller of no task that failed outside of its function, such as by `KilledWorker`.
    """

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        """As joblib's, noting which task it is."""
        ((_, (task,), _),) = func.items
        return super().submit(func, _Called(callback, task.number))

    async def _collect(self) -> None:
        while self._continue:
            async for future, result in self.waiting_futures:
                answered = self._results.pop(future)
                called = self._callbacks.pop(future)
                answer = result if future.status == "finished" else _given_up(called.number, result)
                answered.set_result(answer)
                called(answer)
            await asyncio.sleep(0.01)


class _Called:
    """The callback of the task with this number."""

    def __init__(self, callback: Callable[[Any], Any] | None, number: int):
        self.number = number
        self._callback = callback

    def __call__(self, result: Any) -> None:
        if self._callback:
            self._callback(result)


def _given_up(number: int, result: Any) -> Any:
    """`Lost` of the task that no worker could end; the error where it could not even begin."""
    error = result[1] if isinstance(result, tuple) and len(result) == 3 else result
    return [Lost(number)] if isinstance(error, KilledWorker | CancelledError | type(None)) else error
