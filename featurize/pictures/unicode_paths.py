"""Paths that are spelled in another Unicode form than the disk spells them: "é" may be one character, or two."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

Names = Mapping[str, Sequence[str]]


def nfc(text: str) -> str:
    """`text` in Unicode's composed form (NFC), in which the same letters are the same characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def names_in(folder: str) -> Names:
    """Every name in a folder by its composed form; empty for what is no folder, or not to be read."""
    names = defaultdict(list)
    try:
        for name in os.listdir(folder):
            names[nfc(name)].append(name)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        pass
    return names


def on_disk(path: str, names_in: Callable[[str], Names] = names_in) -> str:
    """`path` as the disk spells it, if that differs in nothing but the Unicode form of its names.

    A path that is there is returned as it is; so is one that fits nothing there, or several names. names_in: as the
    function of this name, for callers who ask for many paths and keep its answers.
    """
    if path.isascii() or os.path.lexists(path):
        return path
    found = "/" if path.startswith("/") else ""
    for name in filter(None, path.split("/")):
        step = os.path.join(found, name)
        if not os.path.lexists(step):
            alike = [] if name.isascii() else names_in(found or ".").get(nfc(name), [])
            if len(alike) != 1:
                return path
            step = os.path.join(found, alike[0])
        found = step
    return found
