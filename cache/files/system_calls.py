"""What POSIX systems, macOS and Windows each have a call of their own for: locks, reads at an offset, lasting renames.

Everything else uses these, so that no other module imports what one system lacks.
"""

import ctypes
import errno
import importlib
import io
import os
import threading
from collections.abc import Callable
from typing import Any

# For `os.open`: bytes as they are (Windows would translate ends of lines), and a pipe is not waited for.
AT_ONCE = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
NO_LINK = AT_ONCE | getattr(os, "O_NOFOLLOW", 0)  # also refuses a link, which could lead out of the folder

# `MoveFileExW` of Windows: replace what is there, and return once the new name is on the disk.
REPLACE_EXISTING, WRITE_THROUGH = 1, 8


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:  # another system
        return None


_fcntl, _msvcrt = _module("fcntl"), _module("msvcrt")
_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True) if hasattr(ctypes, "WinDLL") else None
_position = threading.Lock()


def take_lock(file: int, wait: bool) -> None:
    """Take the kernel's exclusive lock of an open file; it ends with the file or the process.

    Raises BlockingIOError where another holds it and this call is not to wait, and OSError with an errno of
    `cache.files.lock.NO_LOCKS` where the system or the file system has no locks.
    """
    if _fcntl:
        _fcntl.flock(file, _fcntl.LOCK_EX if wait else _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        return
    if not _msvcrt:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    while True:
        try:
            _msvcrt.locking(file, _msvcrt.LK_LOCK if wait else _msvcrt.LK_NBLCK, 1)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):  # the latter: held by another for ten seconds
                raise
            if not wait:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error


def release_lock(file: int) -> None:
    """Give back what `take_lock` took."""
    if _fcntl:
        _fcntl.flock(file, _fcntl.LOCK_UN)
    elif _msvcrt:
        _msvcrt.locking(file, _msvcrt.LK_UNLCK, 1)


def after_fork(function: Callable[[], None]) -> None:
    """Have `function` called in every forked process; where processes do not fork there is nothing to do."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def read_at(file: int, into: memoryview, offset: int) -> int:
    """Read bytes at `offset` into `into`, and return how many; threads may read one file at once."""
    if hasattr(os, "preadv"):
        return os.preadv(file, [into], offset)
    with _position:  # a file has one position for all threads
        os.lseek(file, offset, os.SEEK_SET)
        return io.FileIO(file, closefd=False).readinto(into) or 0


def replace_durably(source: str, target: str) -> None:
    """Rename `source` to `target`, which it replaces. On POSIX systems it lasts once the folder is synced.

    Raises OSError.
    """
    if _kernel32 is None:
        os.replace(source, target)
    elif not _kernel32.MoveFileExW(source, target, REPLACE_EXISTING | WRITE_THROUGH):
        raise ctypes.WinError(ctypes.get_last_error())  # type: ignore[attr-defined,unused-ignore]


def sync(file: int) -> None:
    """Make the content of an open file durable. Raises OSError."""
    if hasattr(_fcntl, "F_FULLFSYNC"):  # macOS, whose `fsync` leaves it in the disk's own memory
        try:
            _fcntl.fcntl(file, _fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):  # what file systems without it answer
                raise
    os.fsync(file)


def sync_path(path: str) -> None:
    """Make a file durable, or the renames in a folder. Raises OSError."""
    if _kernel32 is not None and os.path.isdir(path):
        return  # `replace_durably` has waited for the rename
    file = os.open(path, os.O_RDONLY if _kernel32 is None else os.O_RDWR)  # Windows syncs what can be written only
    try:
        sync(file)
    finally:
        os.close(file)
