"""Read objects of storage before they are asked for: an answer takes long, and many can be on their way at once.

Files of a disk and archives are read as they are asked for: the system reads those ahead itself.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from cache.files.path_kinds import is_url
from cache.remote.file_systems import IN_FLIGHT
from featurize.machine.parallel import THREADS
from featurize.pictures.sources import Reserve, Source, bytes_of

AT_ONCE = 16  # pictures that a thread takes at once, which are those of a place apart from the other threads'
MOST_OBJECTS = IN_FLIGHT + AT_ONCE * (THREADS + 1)  # on their way, or here and not asked for yet
MOST_BYTES = 256 * 1024**2  # of these together
GUESS = 4 * 1024**2  # bytes of an object whose size is not known
LARGE = 32 * 1024**2  # an object of so many bytes waits until there is memory for it: `MemoryGate`

ReadAt = Callable[[int, Reserve], bytes]  # (position, reserve) -> the bytes of the source there, as `bytes_of`


@contextmanager
def reading_ahead(sources: Sequence[Source]) -> Iterator[ReadAt]:
    """Within the body: a function that gives the bytes of the source at a position, to be asked once for each.

    It may be called from several threads, best about in order. Raises ImageError as `bytes_of`.
    """
    order = [number for number, source in enumerate(sources) if isinstance(source, str) and is_url(source)]
    if len(order) < 2:
        yield lambda position, reserve: bytes_of(sources[position], reserve)
        return
    ahead = _Ahead(sources, order)
    try:
        yield ahead.read
    finally:
        ahead.close()


class _Ahead:
    def __init__(self, sources: Sequence[Source], order: list[int]):
        self._sources = sources
        self._waiting = iter(order)
        self._next = next(self._waiting, None)
        self._lock = threading.Lock()
        self._started: dict[int, tuple[Future[bytes], int]] = {}  # position -> its bytes, and the size they count as
        self._taken: set[int] = set()  # asked for before they were started
        self._bytes = 0
        self._pool = ThreadPoolExecutor(IN_FLIGHT)
        with self._lock:
            self._start_more()

    def read(self, position: int, reserve: Reserve) -> bytes:
        with self._lock:
            started = self._started.get(position)
            if started is None:
                self._taken.add(position)
        if started is None:
            return bytes_of(self._sources[position], reserve)
        future, size = started
        try:
            data = future.result()
            reserve(len(data))
            return data
        finally:
            with self._lock:
                del self._started[position]
                self._bytes -= size
                self._start_more()

    def close(self) -> None:
        with self._lock:
            self._next = None
        self._pool.shutdown(cancel_futures=True)

    def _start_more(self) -> None:
        while self._next is not None and len(self._started) < MOST_OBJECTS:
            position = self._next
            size = self._size(position)
            if self._started and self._bytes + size > MOST_BYTES:
                return
            self._next = next(self._waiting, None)
            if position in self._taken:
                self._taken.discard(position)
            elif size < LARGE:
                self._bytes += size
                self._started[position] = self._pool.submit(bytes_of, self._sources[position]), size

    def _size(self, position: int) -> int:
        from cache.remote.objects import ObjectPath

        source = self._sources[position]
        known = source.size if isinstance(source, ObjectPath) else None
        return GUESS if known is None else known
