"""Files that are there whole or not at all, even when the process is killed or the power fails."""

import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Iterator

from cache.files.system_calls import AT_ONCE, replace_durably, sync, sync_path

TEMPORARY_SUFFIX = ".tmp"
PIECE = 1024**2  # bytes written at once: Ctrl-C and tests of torn files get in between


def write_atomically(path: str, data: bytes | memoryview, check: Callable[[str], None] | None = None) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a part.

    Temporary file beside it, fsync, `check(temporary)` where given, rename, fsync of the folder. Plain
    `os.write` rather than HDF5's own file driver, so that a full disk is an ordinary `OSError` with its errno.

    Raises `OSError` (naming `path`) when the data cannot be written, and what `check` raises; the temporary
    file is then gone and an older file of that name unharmed.
    """
    with replacing(path) as temporary:
        _write_and_sync(temporary, memoryview(data).cast("B"))
        if check:
            check(temporary)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """The name of a temporary file, for the body to write and fsync, that becomes `path` when the body is done.

    After an exception it is deleted and `path` is as before; an `OSError` comes out naming `path`.
    """
    folder = os.path.dirname(path) or "."
    made = make_folder(folder)
    temporary = _temporary(path)
    try:
        yield temporary
        replace_durably(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        remove_empty(made)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), path) from error
        raise
    sync_file(folder)  # a rename is durable once its folder is synced


def _temporary(path: str) -> str:
    """A new name beside `path`. Raises `OSError` for a device or a pipe: a file must not take its place."""
    to_process = os.path.islink(path) and os.readlink(path).startswith("/proc/")  # /dev/stdout
    if to_process or (os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return f"{path}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}"


def require_writable(path: str) -> None:
    """Check that a file can be written to `path`, whose folder need not be there, before hours of other work.

    Raises `OSError` naming `path`.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    temporary, made = _temporary(path), []
    try:
        made = make_folder(os.path.dirname(path))
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.unlink(temporary)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        remove_empty(made)


def sync_file(path: str) -> None:
    """Make a file durable, or the renames in a folder. Raises `OSError` naming `path`."""
    try:
        sync_path(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _write_and_sync(path: str, data: memoryview) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | AT_ONCE, 0o666)
    try:
        while data:
            data = data[os.write(file, data[:PIECE]) :]
        sync(file)
    finally:
        os.close(file)


def make_folder(folder: str) -> list[str]:
    """Create `folder` and its missing parents, each entry made durable; returns those that were made, inner ones last.

    For `remove_empty`, where what they were made for fails.
    """
    missing, made = [], []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for created in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(created)
            made.append(created)
        sync_file(os.path.dirname(created) or ".")
    return made


def remove_empty(folders: list[str]) -> None:
    """Remove those that are empty, the last one first."""
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
