"""Pictures at addresses of object storage: listed and read. What a store refuses is an error of one line."""

import io
from functools import partial

from cache.errors import UserError
from cache.remote.file_systems import described, driver_errors
from cache.remote.objects import list_objects, read_object, read_range, size_of
from featurize.pictures.find_images import ImageError, Listing
from featurize.pictures.places.names import Entry, listing_of


def list_address(url: str) -> Listing:
    """As `find_images`, of the objects below an address. Raises UserError where they cannot be listed."""
    return listing_of(Entry(name, path) for name, path in list_objects(url))


def read_address(url: str, most: int) -> bytes:
    """The bytes of an object. Raises ImageError where it cannot be read, or has more than `most` bytes."""
    try:
        data = read_object(url, most)
    except UserError as error:
        raise ImageError(str(error)) from None
    except driver_errors() as error:
        raise ImageError(f"cannot be read: {described(error)}") from None
    if len(data) > most:
        raise ImageError(f"object of more than {most // 1024**2} MiB")
    return data


class ObjectFile(io.RawIOBase):
    """The object at an address as a file that is read in parts: each read is a request. `size` in bytes."""

    def __init__(self, url: str):
        size = size_of(url)
        if size is None:
            raise ImageError("cannot be read: no such object, or one of unknown size")
        self.size = size
        self._read = partial(read_range, url)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        self._place = start + offset
        return self._place

    def read(self, size: int = -1, /) -> bytes:
        end = self.size if size < 0 else min(self.size, self._place + size)
        if end <= self._place:
            return b""
        data = self._read(self._place, end)
        self._place += len(data)
        return data
