"""Which weights files were given for a cache: nobody names them twice, and a model that has moved finds them again.

`weights.json` in the folder of the cache: backbone, identity of the weights as specs name them, path. A path proves
nothing: whoever takes a file from here compares its digest. The file may be deleted at any time.
"""

import contextlib
import json
import os
from typing import NamedTuple

from cache.files.atomic import write_atomically

FILE_NAME = "weights.json"
MOST_BYTES = 1_000_000


class Remembered(NamedTuple):
    """A weights file that was given for a cache."""

    backbone: str
    weights: str
    path: str


def remembered(cache_dir: str) -> list[Remembered]:
    """The files that were given, the last one first; none where there is no such record, or a damaged one."""
    path = os.path.join(cache_dir, FILE_NAME)
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > MOST_BYTES:
            return []
        with open(path, encoding="utf-8") as file:
            entries = json.load(file)
        found = [Remembered(**entry) for entry in entries]
    except (OSError, ValueError, TypeError, RecursionError):
        return []
    return [one for one in found if all(isinstance(value, str) for value in one)]


def remember(cache_dir: str, given: Remembered) -> None:
    """Put a file first in the record of a cache. Failing to costs no more than that it is named again."""
    before = remembered(cache_dir)
    if before[:1] == [given]:
        return
    entries = [given, *(one for one in before if one.path != given.path)]
    with contextlib.suppress(OSError):
        write_atomically(
            os.path.join(cache_dir, FILE_NAME), json.dumps([one._asdict() for one in entries], indent=1).encode()
        )
