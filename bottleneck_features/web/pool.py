"""A bounded pool of threads, each of which takes a picture from its bytes to its answer.

A thread takes as many waiting pictures as the engine computes fastest together, and waits for no more. Other functions
wait in the same line.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Together = Callable[[Sequence[Any]], Sequence[Any]]  # the items of several jobs -> the result of each, in order
RETRY_AFTER = 2  # seconds


class Full(Exception):
    """More waits than may wait."""


@dataclass(slots=True, eq=False)
class Job:
    """One item for `function`, which takes up to `most` of them together; whoever asked waits in `loop`."""

    function: Together
    most: int
    item: Any
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class Pool:
    """`threads` threads and a line of at most `queue` jobs. `close` answers what is in the line, then ends them."""

    def __init__(self, threads: int, queue: int):
        self._queue = queue
        self._line: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"answers-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs are in the line."""
        return len(self._line)

    def put(self, function: Together, most: int, items: Sequence[Any]) -> "list[asyncio.Future[Any]]":
        """A future for each item, in order. Raises Full where the line has no room for all of them."""
        loop = asyncio.get_running_loop()
        jobs = [Job(function, most, item, loop.create_future(), loop) for item in items]
        with self._changed:
            if len(self._line) + len(jobs) > self._queue:
                self._line = deque(job for job in self._line if not job.future.cancelled())
            if self._closed or len(self._line) + len(jobs) > self._queue:
                raise Full
            self._line.extend(jobs)
            self._changed.notify(len(jobs))
        return [job.future for job in jobs]

    def close(self) -> None:
        """Let the threads finish what is in the line, and wait for their end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            try:
                results: Sequence[Any] = jobs[0].function([job.item for job in jobs])
                error = None
            except BaseException as raised:  # noqa: BLE001  # it is raised again where the answer is waited for
                results, error = [None] * len(jobs), raised
            _deliver(jobs, results, error)

    def _next(self) -> list[Job]:
        """The jobs to do next, all of one function; none once the pool is closed and the line is empty."""
        with self._changed:
            while True:
                while self._line and self._line[0].future.cancelled():  # nobody waits for it any more
                    self._line.popleft()
                if self._line:
                    break
                if self._closed:
                    return []
                self._changed.wait()
            first = self._line.popleft()
            if first.most == 1:
                return [first]
            same = [job for job in self._line if job.function == first.function and not job.future.cancelled()]
            # An engine pads what is short of its batch: below half of it one at a time is faster.
            if 2 * (1 + len(same)) < first.most:
                return [first]
            taken = same[: first.most - 1]
            if taken:
                left = {*map(id, taken)}
                self._line = deque(job for job in self._line if id(job) not in left)
            return [first, *taken]


def _deliver(jobs: list[Job], results: Sequence[Any], error: BaseException | None) -> None:
    """Wake those who wait, each loop once."""
    for loop in dict.fromkeys(job.loop for job in jobs):
        own = [(job.future, result) for job, result in zip(jobs, results, strict=True) if job.loop is loop]
        try:
            loop.call_soon_threadsafe(_settle, own, error)
        except RuntimeError:  # the loop has ended, and whoever waited with it
            continue


def _settle(own: "list[tuple[asyncio.Future[Any], Any]]", error: BaseException | None) -> None:
    for future, result in own:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
