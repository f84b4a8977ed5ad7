"""Opening what is a plain file of the cache's own, and nothing else: a cache may come from anybody."""

import io
import os
import stat

from cache.files.system_calls import NO_LINK


def open_plain(path: str) -> io.FileIO:
    """`path` opened for reading, unbuffered, if it is a regular file itself.

    Raises `ValueError` for anything else (a link could lead out of the cache, a pipe would wait for ever), and
    `OSError` where there is none or it cannot be opened.
    """
    return io.FileIO(descriptor_of_plain(path))


def descriptor_of_plain(path: str) -> int:
    """As `open_plain`, the file descriptor."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise ValueError("not a regular file")
    return os.open(path, os.O_RDONLY | NO_LINK)
