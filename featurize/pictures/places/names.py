"""Which of many names in an archive, or below an address, are pictures: the rules of `find_images` for a disk."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from featurize.pictures.find_images import SUFFIXES, SYSTEM_FOLDERS, Failure, Listing, kind_of_suffix, suffix_of


class Entry(NamedTuple):
    """Something that is no folder: its name, with / between folders; its path; why it can be no picture, or ""."""

    name: str
    path: str
    reason: str = ""


def listing_of(entries: Iterable[Entry]) -> Listing:
    """Sort entries as `find_images` does the files below a folder, by their names alone; ordered as there."""
    listing = Listing([], [], Counter())
    folders: dict[str, str] = {}  # what is not looked into -> its kind in `passed_over`, or "" for a failure
    for name, path, reason in entries:
        *above, last = name.split("/")
        if outside := outside_names(name):
            if suffix_of(last) in SUFFIXES:
                listing.failures.append(Failure(path, outside))
            else:
                listing.passed_over[kind_of_suffix(suffix_of(last))] += 1
        elif (barred := _barred(above)) is not None:
            folder, kind = barred
            if folder not in folders:
                folders[folder] = kind
                if kind:
                    listing.passed_over[kind] += 1
                else:
                    base = path[: len(path) - len(name)] + folder
                    listing.failures.append(Failure(base, "folder with an image's name"))
        elif last.startswith("."):
            listing.passed_over["._ files" if last.startswith("._") else "hidden"] += 1
        elif suffix_of(last) not in SUFFIXES:
            listing.passed_over[kind_of_suffix(suffix_of(last))] += 1
        elif reason:
            listing.failures.append(Failure(path, reason))
        else:
            listing.images.append(path)
    listing.images.sort(key=os.fsencode)
    listing.failures.sort(key=lambda failure: os.fsencode(failure.path))
    return listing


def outside_names(name: str) -> str:
    """Why a name is no path below the archive or address that it is in; "" where it is one."""
    names = name.split("/")
    if name.startswith(("/", "\\")) or name[1:3] in (":/", ":\\"):
        return "its name is an absolute path"
    if ".." in names or "..\\" in name:
        return "its name leads outside"
    if "" in names or "." in names or "\0" in name:
        return "its name is no path"
    return ""


def _barred(folders: list[str]) -> tuple[str, str] | None:
    """The first of nested folders that `find_images` does not look into, with those above it, and its kind."""
    for number, name in enumerate(folders, start=1):
        if name.startswith("."):
            return "/".join(folders[:number]), "._ files" if name.startswith("._") else "hidden"
        if suffix_of(name) in SUFFIXES:
            return "/".join(folders[:number]), ""
        if name.lower() in SYSTEM_FOLDERS:
            return "/".join(folders[:number]), "system folders"
    return None
