"""Work in threads, results in order, memory bounded."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# The cores that this process may use: in a container fewer than the machine has, and fewer still where it is told its
# part, beside other processes.
THREADS = int(os.environ.get("BOTTLENECK_THREADS", "0")) or (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int, threads: int = THREADS
) -> Iterator[Result]:
    """`function(item)` for each item, computed in threads, yielded in the order of `items`.

    At most `ahead` results exist before they are asked for. An exception of `function` is raised at its place;
    leaving early cancels what has not begun, and waits for what has.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
