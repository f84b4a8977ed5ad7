"""The three places a label may come from: a table, the file's name, the folder it lies in."""

import logging
import os
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from cache.errors import UserError
from classify.tables import match_rows, printable, read_rows
from featurize.images import Failure, Listing, find_images

log = logging.getLogger("bottleneck")

PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
PATTERN_EXAMPLE = r"(?P<label>cat|dog)\.\d+\.jpg"


@dataclass
class Source:
    """What one source of labels gives, before the parts are told from each other."""

    root: str
    images: Collection[str]  # every picture found, labelled or not
    failures: list[Failure]
    passed_over: Counter[str]
    label_of: dict[str, str]  # path -> label
    part_of: dict[str, str]  # first folder below root -> part; empty without an own split


def from_table(data: str | None, table: str, path_column: str, label_column: str) -> Source:
    """Labels listed in a table; without `data` its own folder is the root, and only listed pictures count."""
    root = data if data is not None else os.path.dirname(table) or "."
    found = find_images(data) if data is not None else None
    matched = match_rows(read_rows(table, path_column, label_column), table, root, found)
    found = found or Listing([], [], Counter())
    images = {*found.images, *matched.labels, *matched.unlabelled}
    # A listed file that the folder shows to be broken is in both lists.
    broken = {failure.path: failure for failure in [*matched.failures, *found.failures]}
    failures = sorted(broken.values(), key=lambda failure: os.fsencode(failure.path))
    part_of = _own_split({first_folder(path, root) for path in matched.labels})
    return Source(root, images, failures, found.passed_over, matched.labels, part_of)


def from_names(data: str, label_pattern: str) -> Source:
    """Labels that a regular expression finds in the names of the files."""
    try:
        pattern = re.compile(label_pattern)
    except (re.error, OverflowError, RecursionError) as error:  # the last two of numbers and brackets without end
        raise UserError(
            f"--label-pattern {label_pattern!r:.200} is no regular expression: {error}; example: {PATTERN_EXAMPLE}"
        ) from None
    if "label" not in pattern.groupindex:
        raise UserError(f"--label-pattern {label_pattern!r:.200} has no group named label; example: {PATTERN_EXAMPLE}")
    found = find_images(data)
    label_of = {}
    for path in found.images:
        match = pattern.search(os.path.basename(path))
        if match and match["label"]:
            label_of[path] = printable(match["label"])
    part_of = _own_split({first_folder(path, data) for path in label_of})
    return Source(data, found.images, found.failures, found.passed_over, label_of, part_of)


def from_folders(data: str) -> Source:
    """Labels that are the first folder below `data`, or below its parts."""
    found = find_images(data)
    start = len(os.path.join(data, ""))
    folders = {folder for folder, slash, _ in (path[start:].partition("/") for path in found.images) if slash}
    part_of = _own_split(folders)
    part_names = sorted(folder for folder in folders if folder.lower() in PARTS)
    if part_of or len(part_names) == len(folders):
        depth = 1
    else:
        depth = 0
        if part_names:
            log.warning(
                "the folder %r is taken for a class; an own split needs train and val, validation or test",
                part_names[0],
            )
    label_of = {}
    text_of: dict[str, str] = {}
    for path in found.images:
        parts = path[start:].split("/", depth + 1)
        if len(parts) > depth + 1:
            name = parts[depth]
            if name not in text_of:
                text_of[name] = printable(name)
            label_of[path] = text_of[name]
    return Source(data, found.images, found.failures, found.passed_over, label_of, part_of)


def first_folder(path: str, root: str) -> str:
    """The first folder of `path` below `root`; "" for a file directly in it."""
    folder, slash, _ = _below(path, root).partition("/")
    return folder if slash else ""


def _below(path: str, root: str) -> str:
    prefix = os.path.join(root, "")
    # A table may list pictures elsewhere: "../elsewhere/a.jpg".
    return path[len(prefix) :] if path.startswith(prefix) else os.path.relpath(path, root)


def _own_split(folders: set[str]) -> dict[str, str]:
    """The part of every folder that is one; empty where the folders are no split."""
    part_of = {folder: PARTS[folder.lower()] for folder in folders if folder.lower() in PARTS}
    parts = set(part_of.values())
    # val and test without train are parts too, unless there are other folders: then all are classes.
    if len(parts) > 1 and ("train" in parts or len(part_of) == len(folders - {""})):
        return part_of
    return {}
