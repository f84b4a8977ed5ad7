"""The memory that pictures share while they are decoded: those for which there is no room wait for their turn.

Without it a few huge pictures, decoded in as many threads as there are cores, would take all the memory there is.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from featurize.pictures.find_images import ImageError

# Bytes that one picture may take to decode, with its file: 16-bit RGB of 60 megapixels in a TIFF, or 89 megapixels in
# a PNG, need less. Ordinary photographs need far less than a thread's part.
MOST = 850 * 10**6
PART = 64 * 10**6
LARGE_FILE = 32 * 1024**2  # smaller files are read at once, whatever is being decoded

Reserve = Callable[[int], None]  # asks for bytes of memory; returns when they may be taken, raises ImageError if never


def within_limit(size: int) -> None:
    """Room for one picture by itself. Raises ImageError for what would take more than `MOST` bytes."""
    if size > MOST:
        raise ImageError(f"takes {size / 1e6:.0f} MB of memory to decode, more than {MOST / 1e6:.0f} MB")


def trim() -> None:
    """Give free memory back to the system: glibc keeps much of it for later, and the next picture comes on top."""
    if _malloc_trim:
        _malloc_trim(0)


_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class MemoryGate:
    """`MOST` bytes, or `PART` for each of many threads, that pictures take from and give back."""

    def __init__(self, threads: int):
        self._left = max(MOST, threads * PART)
        self._given_back = threading.Condition()
        self._large_file = threading.Lock()

    @contextmanager
    def picture(self) -> Iterator["Reservation"]:
        """The shares of one picture, given back at the end."""
        shares = Reservation(self)
        try:
            yield shares
        finally:
            shares.give_back()

    def take(self, size: int) -> None:
        with self._given_back:
            self._given_back.wait_for(lambda: self._left >= size)
            self._left -= size

    def give_back(self, size: int) -> None:
        with self._given_back:
            self._left += size
            self._given_back.notify_all()


class Reservation:
    """What one picture has taken.

    A large file takes room before it is read, and the picture more when its header is known. Only one picture at a
    time may be between the two, so that there is always one that gets all it wants: no two wait for each other.
    """

    def __init__(self, memory: MemoryGate):
        self._memory = memory
        self._taken = 0
        self._between = False

    def file(self, size: int) -> None:
        """Wait for the room of a file of `size` bytes."""
        if size > LARGE_FILE:
            self._memory._large_file.acquire()
            self._between = True
            self._take(size)

    def picture(self, size: int) -> None:
        """Wait for the room of a picture that takes `size` bytes with its file. Raises ImageError as `within_limit`."""
        within_limit(size)
        self._take(max(0, size - self._taken))
        self._settled()

    def give_back(self) -> None:
        if self._taken > PART:
            trim()
        self._memory.give_back(self._taken)
        self._settled()

    def _take(self, size: int) -> None:
        self._memory.take(size)
        self._taken += size

    def _settled(self) -> None:
        if self._between:
            self._between = False
            self._memory._large_file.release()
