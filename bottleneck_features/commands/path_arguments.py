"""Paths as people write them on a command line or in a make variable."""

import glob
import os
import shlex

from cache.errors import UserError
from featurize.pictures.unicode_paths import on_disk


def existing_paths(words: list[str]) -> list[str]:
    """Each of `words` as the paths it means: itself if it exists, else a pattern, else several paths in one string.

    Raises UserError naming the first word that is none of these.
    """
    return [path for word in words for path in _meant(word)]


def _meant(word: str) -> list[str]:
    if os.path.lexists(path := on_disk(word)):
        return [path]
    if matches := sorted(glob.glob(word, recursive=True), key=os.fsencode):
        return matches
    try:
        parts = shlex.split(word)
    except ValueError:
        parts = [word]
    if len(parts) > 1:
        return existing_paths(parts)
    raise UserError(f"images {word!r}: no such file or folder, and no file matches it as a pattern")
