"""Limit the memory of concurrent decoding: a picture that does not fit now waits.

Without this limit a few huge pictures, decoded in one thread per core, take all the memory of the machine.
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
    """Raise ImageError for a picture that takes more than `MOST` bytes."""
    if size > MOST:
        raise ImageError(f"takes {size / 1e6:.0f} MB of memory to decode, more than {MOST / 1e6:.0f} MB")


def trim() -> None:
    """Give free memory back to the system: glibc keeps much of it for later, and the next picture comes on top."""
    if _malloc_trim:
        _malloc_trim(0)


_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class MemoryGate:
    """A budget of `MOST` bytes, or of `PART` for each of many threads. Pictures take from it and give back."""

    def __init__(self, threads: int):
        self._left = max(MOST, threads * PART)
        self._given_back = threading.Condition()
        self._large_file = threading.Lock()

    @contextmanager
    def picture(self) -> Iterator["Reservation"]:
        """The reservation of one picture, given back at the end."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            reservation.give_back()

    def take(self, size: int) -> None:
        with self._given_back:
            self._given_back.wait_for(lambda: self._left >= size)
            self._left -= size

    def give_back(self, size: int) -> None:
        with self._given_back:
            self._left += size
            self._given_back.notify_all()


class Reservation:
    """The bytes that one picture has taken.

    A large file reserves its size before it is read, and the rest when its header is known. Only one picture at a time
    may be between the two steps: otherwise two of them could wait for each other.
    """

    def __init__(self, memory: MemoryGate):
        self._memory = memory
        self._taken = 0
        self._between = False

    def file(self, size: int) -> None:
        """Wait for the memory of a file of `size` bytes."""
        if size > LARGE_FILE:
            self._memory._large_file.acquire()
            self._between = True
            self._take(size)

    def picture(self, size: int) -> None:
        """Wait for the memory of a picture, `size` bytes with its file. Raises ImageError as `within_limit`."""
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
