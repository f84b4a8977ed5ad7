"""How a worker knows the cache of a run: by a random word in a file there, whatever the paths on its machine mean."""

import os
import secrets

from cache.files.atomic import make_folder, write_atomically
from cache.files.plain_file import open_plain
from featurize.extract.writable import can_be_written

FILE = ".cluster"  # in the cache
LENGTH = 32


def token_of(cache_dir: str) -> str:
    """The word of a cache, which is made where it has none."""
    if found := _read(cache_dir):
        return found
    make_folder(cache_dir)
    write_atomically(os.path.join(cache_dir, FILE), secrets.token_hex(LENGTH // 2).encode())
    return _read(cache_dir)  # of two runs that begin at once the last one's


def reaches(cache_dir: str, token: str) -> bool:
    """Whether this process can write to the cache with this word at this path."""
    return _read(cache_dir) == token and can_be_written(cache_dir)


def _read(cache_dir: str) -> str:
    """The word, or "" where there is none."""
    try:
        with open_plain(os.path.join(cache_dir, FILE)) as file:
            word = file.read(LENGTH + 1)
    except OSError:
        return ""
    return word.decode("ascii", "replace") if len(word) == LENGTH else ""
