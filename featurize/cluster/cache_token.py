"""How a worker knows the cache of a run: by a random word in a file there, whatever the paths on its machine mean.

So it knows the other side through which rows go, be it a folder or object storage.
"""

import os
import secrets

from cache.errors import UserError
from cache.files.atomic import make_folder, write_atomically
from cache.files.plain_file import open_plain
from cache.remote.other_side import Objects, open_objects
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


def token_there(there: Objects) -> str:
    """As `token_of`, of the other side. It is written each time: raises UserError where that is impossible."""
    word = _read_there(there) or secrets.token_hex(LENGTH // 2)
    try:
        there.write(FILE, word.encode())
    except OSError as error:
        raise UserError(f"{there.address} cannot be written: {error.strerror or error}") from None
    return _read_there(there)


def require_token(address: str, token: str) -> None:
    """Raise UserError where the other side has another word at this address, or none, for this process."""
    if _read_there(open_objects(address)) != token:
        raise UserError(f"{address} is not the place here that it is for the run: is the disk mounted?")


def _read_there(there: Objects) -> str:
    try:
        return _checked(there.read(FILE, 0, LENGTH + 1))
    except FileNotFoundError:
        return ""


def _read(cache_dir: str) -> str:
    """The word, or "" where there is none."""
    try:
        with open_plain(os.path.join(cache_dir, FILE)) as file:
            return _checked(file.read(LENGTH + 1))
    except OSError:
        return ""


def _checked(word: bytes) -> str:
    return word.decode("ascii", "replace") if len(word) == LENGTH else ""
