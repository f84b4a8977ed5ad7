"""Labels from folders or another table into the table of labels, and out of it as folders of classes."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from bottleneck_features.review.growing_gallery import name_of
from cache.errors import UserError, log
from cache.files.path_kinds import is_elsewhere
from classify.labelling.label_log import Entry, LabelLog
from classify.labels.read_labels import LabelledImages

KINDS = ("copies", "links")
FORBIDDEN = frozenset('<>:"/\\|?*')  # in the name of a folder, on one system or another


def adoptable(table: LabelLog, found: LabelledImages, data: str, how: str) -> dict[str, Entry]:
    """What a folder's or another table's labels say of pictures that `table` says nothing of, by their names.

    What was said and then undone is nothing.
    """
    said = {name for name, entry in table.entries.items() if entry.label or entry.how}
    names = [name_of(path, data) for path in found.paths]
    return {
        name: Entry(label, how=how)
        for name, label in zip(names, found.labels, strict=True)
        if name not in said and not name.startswith("../")
    }


@dataclass(frozen=True)
class Exported:
    """How many pictures are in the folders now, and how many are gone."""

    written: int
    missing: int


def export_folders(data: str, labels: Mapping[str, str], destination: str, kind: str = "copies") -> Exported:
    """A folder for each class below `destination`, with copies of its pictures or links to them.

    labels: path, relative to `data` -> label. The name of a picture below a folder says its folders too, `a/b.jpg` is
    `a_b.jpg`, so that no two are one. Raises UserError for a destination that is there and not empty, or is inside of
    `data`, where two classes would be one folder, and where no picture has a label.
    """
    if not labels:
        raise UserError("no picture has a label yet: there is nothing to export")
    if kind not in KINDS:
        raise UserError(f"kind {kind!r:.80}: give one of {', '.join(KINDS)}")
    if is_elsewhere(data) or os.path.isfile(data):
        raise UserError(f"{data!r} is no folder of a disk: pictures are copied and linked from folders alone")
    data, destination = os.path.realpath(data), os.path.realpath(os.path.expanduser(destination))
    if os.path.lexists(destination) and (not os.path.isdir(destination) or os.listdir(destination)):
        raise UserError(f"{destination!r} is there and is no empty folder: give a new one")
    if os.path.commonpath([data, destination]) == data:
        raise UserError(f"{destination!r} is inside of the pictures' folder {data!r}: give one beside it")
    folders = _folders(sorted({*labels.values()}))
    taken: set[str] = set()
    written = missing = 0
    for name, label in labels.items():
        source = os.path.realpath(os.path.join(data, name))
        if os.path.commonpath([data, source]) != data or not os.path.isfile(source):
            missing += 1
            continue
        folder = os.path.join(destination, folders[label])
        os.makedirs(folder, exist_ok=True)
        target = _free(folder, name.replace("/", "_"), taken)
        if kind == "links":
            os.symlink(source, target)
        else:
            shutil.copy2(source, target)
        written += 1
    if missing:
        log.warning("%d labelled pictures are not in %s any more, and are not exported", missing, data)
    return Exported(written, missing)


def _folders(classes: list[str]) -> dict[str, str]:
    """The folder of each class: its name, without what some system forbids in one."""
    found = {name: "".join("_" if sign in FORBIDDEN else sign for sign in name).strip(". ") or "_" for name in classes}
    if len({folder.casefold() for folder in found.values()}) < len(found):
        raise UserError("two classes would be one folder: rename one of them")
    return found


def _free(folder: str, name: str, taken: set[str]) -> str:
    """A path for a picture that no other one has."""
    stem, suffix = os.path.splitext(name)
    number = 1
    path = os.path.join(folder, name)
    while path.casefold() in taken:
        number += 1
        path = os.path.join(folder, f"{stem}_{number}{suffix}")
    taken.add(path.casefold())
    return path
