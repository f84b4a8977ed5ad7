"""The other side of a push or pull: objects below an address of object storage, or files below a mounted folder.

Both are the same few calls. An object is written in one request and is there whole or not at all.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from cache.errors import UserError
from cache.files.atomic import PIECE, write_atomically
from cache.files.path_kinds import EXTRAS, is_url, is_web
from cache.files.plain_file import open_plain
from cache.remote.file_systems import described, driver_errors, file_system, without_secrets
from cache.remote.objects import again

R = TypeVar("R")


class StorageError(UserError):
    """Object storage refuses a request, or does not answer after several tries."""


class Entry(NamedTuple):
    """An object or a folder right below another folder. `size` in bytes; None for a folder."""

    name: str
    size: int | None


class Objects(Protocol):
    """Objects below an address. Paths are relative to it and have "/" between their parts."""

    address: str

    def entries(self, folder: str) -> list[Entry]:
        """What lies right below `folder`, "" being the address itself, in order of names; nothing where it is missing.

        Always asked afresh. Raises StorageError.
        """
        ...

    def read(self, path: str, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`, fewer where the object ends before. One request.

        Raises FileNotFoundError where there is no such object, and StorageError.
        """
        ...

    def write(self, path: str, data: bytes) -> None:
        """Store an object, whole or not at all; an older one of that name is replaced. Raises StorageError, OSError."""
        ...

    def delete(self, path: str) -> None:
        """Delete an object, if it is there. Raises StorageError, OSError."""
        ...


def open_objects(address: str) -> Objects:
    """The objects below "s3://bucket/features", an address of another scheme, or a folder.

    Raises UserError for an empty address and for one whose driver is not installed.
    """
    if not address:
        raise UserError("the address is empty: give one such as s3://bucket/features, or a mounted folder")
    if address.lower().startswith("file://"):
        address = address[len("file://") :]
    if "://" in address and not is_url(address):
        accepted = f"give one of {', '.join(EXTRAS)}, or a folder"
        raise UserError(f"{without_secrets(address)}: no driver has such addresses: {accepted}")
    return Bucket(address) if is_url(address) else MountedFolder(address)


class MountedFolder:
    """Files below a folder."""

    def __init__(self, address: str):
        self.address = address

    def _path(self, path: str) -> str:
        return os.path.join(self.address, *path.split("/")) if path else self.address

    def entries(self, folder: str) -> list[Entry]:
        """As `Objects.entries`. Links are left out: they may lead anywhere."""
        found = []
        try:
            with os.scandir(self._path(folder)) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        found.append(Entry(entry.name, None))
                    elif entry.is_file(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                            found.append(Entry(entry.name, entry.stat(follow_symlinks=False).st_size))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self._path(folder)} cannot be listed: {error.strerror}") from error
        return sorted(found)

    def read(self, path: str, start: int, stop: int) -> bytes:
        """As `Objects.read`."""
        try:
            with open_plain(self._path(path)) as file:
                file.seek(start)
                parts = []
                while start < stop and (part := file.read(stop - start)):
                    parts.append(part)
                    start += len(part)
                return b"".join(parts)
        except ValueError as error:
            raise StorageError(f"{self._path(path)} is {error}") from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"{self._path(path)} cannot be read: {error.strerror}") from error

    def write(self, path: str, data: bytes) -> None:
        """As `Objects.write`."""
        write_atomically(self._path(path), data)

    def delete(self, path: str) -> None:
        """As `Objects.delete`."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(path))


class Bucket:
    """Objects that a driver of fsspec reaches; it may be asked by several threads at once."""

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self._web = is_web(address)
        self._system, root = file_system(self.address)
        self._root = root.rstrip("/")

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _ask(self, path: str, request: Callable[[], R]) -> R:
        """The answer to a request. Raises FileNotFoundError and StorageError."""
        where = f"{self.address}/{path}" if path else self.address
        try:
            return again(self.address, request)
        except FileNotFoundError:
            raise
        except NotImplementedError as error:
            raise StorageError(f"{where} cannot be written, its driver only reads") from error
        except driver_errors() as error:
            raise StorageError(f"{where}: {described(error)}") from error

    def entries(self, folder: str) -> list[Entry]:
        """As `Objects.entries`."""
        path = self._path(folder)

        def request() -> list[dict[str, Any]]:
            self._system.invalidate_cache()
            return self._system.ls(path, detail=True)

        try:
            listed = self._ask(folder, request)
        except FileNotFoundError:
            return []
        return sorted(self._entries(path, listed))

    def _entries(self, folder: str, listed: list[dict[str, Any]]) -> Iterator[Entry]:
        for entry in listed:
            path = str(entry["name"]).rstrip("/")
            name = path.rpartition("/")[2]
            if not name or path == folder.rstrip("/"):  # some stores have an object for a folder
                continue
            size = entry["size"] if entry["type"] == "file" else None
            if entry["type"] == "file" and size is None:  # a page of links has no sizes
                size = self._ask(name, functools.partial(self._size, path))
            yield Entry(name, size)

    def _size(self, path: str) -> int:
        try:
            return self._system.size(path) or 0
        except FileNotFoundError as error:  # what the driver makes of any failure, and it has just been listed
            raise OSError("its size is not known") from error

    def read(self, path: str, start: int, stop: int) -> bytes:
        """As `Objects.read`."""
        if start >= stop:
            return b""
        if self._web:
            return self._ask(path, functools.partial(self._read_page, path, stop))[start:]
        return self._ask(path, lambda: bytes(self._system.cat_file(self._path(path), start=start, end=stop)))

    def _read_page(self, path: str, stop: int) -> bytes:
        """The first `stop` bytes and no more: a web server may send the whole file, or have no end."""
        parts: list[bytes] = []
        count = 0
        with self._system.open(self._path(path), block_size=0, size=1) as file:  # without a request for the size
            while count < stop and (part := file.read(min(PIECE, stop - count))):
                parts.append(part)
                count += len(part)
        return b"".join(parts)[:stop]

    def write(self, path: str, data: bytes) -> None:
        """As `Objects.write`."""
        try:
            self._ask(path, lambda: self._system.pipe_file(self._path(path), data))
        except FileNotFoundError as error:
            raise StorageError(f"{self.address} cannot be written, there is no such bucket") from error

    def delete(self, path: str) -> None:
        """As `Objects.delete`."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(path, lambda: self._system.rm_file(self._path(path)))
