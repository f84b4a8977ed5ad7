"""Locks of the kernel: they end with the process that holds them, however it dies. The file that is left means nothing.

This is the system's own call, not a library that replaces it where it is missing: a lock that is the presence of a file
stays behind when its holder is killed. Rows are safe without a lock, see `FeatureStore`: a lock spares double work.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator

from cache.errors import log
from cache.files.system_calls import NO_LINK, after_fork, release_lock, take_lock

# What systems answer on file systems without locks.
NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}


# The locks that are held: (thread, device and inode of the lock file) -> whether it is a real one.
_held: dict[tuple[int, int, int], bool] = {}
_files: set[int] = set()  # open lock files of all threads of this process
_announced: set[int] = set()  # devices without locks


@contextlib.contextmanager
def holding(path: str, waiting: str = "") -> Iterator[bool]:
    """Hold the lock file `path` for the body; gives False where the file system has no locks.

    The file is created where it is missing. A thread may take a lock twice; other threads and processes wait, forked
    ones too, and log `waiting` before. Raises `OSError` where the file cannot be opened.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
    _files.add(file)
    try:
        status = os.fstat(file)
        key = (threading.get_ident(), status.st_dev, status.st_ino)
        if key in _held:
            yield _held[key]
            return
        _held[key] = _lock(file, path, waiting)
        try:
            yield _held[key]
        finally:
            if _held.pop(key, False) and file in _files:
                release_lock(file)  # also for a process that was forked before it noted the file
    finally:
        if file in _files:  # else a forked process has closed it, and the number may be another file's
            _files.remove(file)
            os.close(file)


def _lock(file: int, path: str, waiting: str) -> bool:
    try:
        try:
            take_lock(file, wait=False)
        except BlockingIOError:
            if waiting:
                log.info("%s (%s)", waiting, path)
            take_lock(file, wait=True)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise OSError(error.errno, error.strerror, path) from error
        _announce_no_locks(os.path.dirname(os.path.abspath(path)), error)
        return False
    return True


def _announce_no_locks(folder: str, error: OSError) -> None:
    if (device := os.stat(folder).st_dev) not in _announced:
        _announced.add(device)
        log.warning(
            "the file system of %s has no locks (%s): going on without; better one run at a time there, rows that two "
            "have stored are merged by `cache gc`",
            folder,
            error.strerror,
        )


def _release_in_child() -> None:
    """The locks are the parent's, which would keep them as long as a forked process has their files open."""
    for file in _files:
        os.close(file)
    _files.clear()
    _held.clear()


after_fork(_release_in_child)
