"""The data's own split: which folders, or values of a table, are what to train on and what to test on."""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cache.errors import UserError
from classify.labels.label_names import label_of
from featurize.pictures.sources import on_disk, slashed

UNLABELLED = "unlabelled"  # pictures to predict, that come with a set: no part to score
PART_OF_WORD = {
    "train": "train", "training": "train", "trainval": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "eval": "validation", "evaluation": "validation",
    "test": "test", "testing": "test",
    "pred": UNLABELLED, "predict": UNLABELLED, "prediction": UNLABELLED, "predictions": UNLABELLED,
    "unlabelled": UNLABELLED, "unlabeled": UNLABELLED,
}  # fmt: skip
FILLERS = (
    "set", "sets", "data", "dataset", "split", "subset", "part", "partition", "folder",
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "sample", "samples",
)  # fmt: skip
COLUMNS = ("split", "splits", "set", "subset", "part", "partition", "fold", "usage", "phase")
# "trainset" is a word of a part and a filler.
PART_WORD = re.compile(f"({'|'.join(sorted(PART_OF_WORD, key=len, reverse=True))})({'|'.join(FILLERS)})*")
SHOWN = 5

Named = Mapping[str, Sequence[str]]  # part -> the folders that the user says it is


@dataclass(frozen=True)
class Parts:
    """The folders below the root of a set that are not classes.

    bases: folder, relative to the root ("" for itself) -> the part whose classes are below it, or "all".
    own_split: whether these are the data's own split; pictures beside them are then left out.
    doubt: several splits that the names allow, in one line.
    """

    bases: dict[str, str]
    own_split: bool = False
    doubt: str | None = None

    def base_of(self, path: str) -> str | None:
        """The folder of `bases` that `path` (relative to the root) lies in; None where there is none."""
        folder = os.path.dirname(path)
        while folder not in self.bases:
            if not folder:
                return None
            folder = os.path.dirname(folder)
        return folder


def part_and_rest(name: str) -> tuple[str | None, str]:
    """The part that `name` is a name of, and what is left of the name: "seg_train" is ("train", "seg").

    Case, numbers, signs and words such as "set" or "images" make no difference. None where it names no part, or two;
    "train" and "val" in one name is what is trained on.
    """
    split_humps = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label_of(name))
    parts, rest = set(), []
    for word in re.findall(r"[^\W\d_]+", split_humps.casefold()):
        if match := PART_WORD.fullmatch(word):
            parts.add(PART_OF_WORD[match[1]])
        elif word not in FILLERS:
            rest.append(word)
    if parts == {"train", "validation"}:
        parts = {"train"}
    return (parts.pop() if len(parts) == 1 else None), " ".join(rest)


def find_parts(paths: Collection[str], named: Named, root: str) -> Parts:
    """The parts that pictures lie in; paths are relative to `root`.

    Folders that the user has named are parts. So are others directly below the root whose names say so, of parts for
    which none is named: with "val" named as `test`, the folder "test" is left out. Without named folders, names decide:
    of the folders directly below the root, or below its only folder. A part that holds nothing but a folder of the same
    part is that folder. Raises UserError for a named folder that holds no picture.
    """
    top = folders_below(paths, "")
    if any(named.values()):
        bases = {folder: part for folder in top if (part := _scored_part(folder)) and not named.get(part)}
        bases |= {_found(name, part, paths, root): part for part, names in named.items() for name in names}
        own_split, doubt = True, None
    else:
        bases, doubt = _own_split(top)
        if not bases and len(top) == 1:
            (only,) = top
            inner, doubt = _own_split(folders_below(paths, only))
            bases = {f"{only}/{folder}": part for folder, part in inner.items()}
        own_split = bool(bases)
        if not bases and not doubt:  # folders of one part, beside nothing else, are looked through
            others = [folder for folder in top if part_and_rest(folder)[0] != UNLABELLED]
            kinds = {part_and_rest(folder) for folder in others}
            if len(kinds) == 1 and all(map(_scored_part, others)):
                bases = dict.fromkeys(others, "all")
                own_split = len(others) < len(top)
    return Parts({_inside(folder, paths): part for folder, part in bases.items()} or {"": "all"}, own_split, doubt)


def parts_of_values(values: Iterable[str]) -> dict[str, str]:
    """The part that each value of a table's column names; empty where they are no split."""
    values = {value for value in values if value}
    part_of = {value: part for value in values if (part := _scored_part(value))}
    return part_of if _is_split(part_of, values) else {}


def folders_below(paths: Iterable[str], folder: str) -> set[str]:
    """The names of the folders directly below `folder` that paths lead through."""
    prefix = f"{folder}/" if folder else ""
    inner = (path[len(prefix) :].partition("/") for path in paths if path.startswith(prefix))
    return {name for name, slash, _ in inner if slash} - {".."}


def _own_split(folders: set[str]) -> tuple[dict[str, str], str | None]:
    """(the part of every folder that is one, doubt). Their names are of one kind: "seg_train" and "seg_test"."""
    kinds: defaultdict[str, dict[str, str]] = defaultdict(dict)
    others = {folder for folder in folders if part_and_rest(folder)[0] != UNLABELLED}
    for folder in others:
        part, rest = part_and_rest(folder)
        if part:
            kinds[rest][folder] = part
    splits = {rest: kind for rest, kind in kinds.items() if _is_split(kind, others)}
    if len(splits) > 1 and "" not in splits:
        named = ", ".join(map(repr, sorted(folder for split in splits.values() for folder in split)[:SHOWN]))
        return {}, f"the folders {named} look like several splits: move each set into a folder of its own"
    return splits.get("") or next(iter(splits.values()), {}), None


def _is_split(part_of: dict[str, str], names: Collection[str]) -> bool:
    """Whether parts are a split. Without train only if all names are parts: else they may be classes."""
    parts = set(part_of.values())
    return len(parts) > 1 and ("train" in parts or len(part_of) == len(names))


def _scored_part(name: str) -> str | None:
    part = part_and_rest(name)[0]
    return None if part == UNLABELLED else part


def _inside(folder: str, paths: Collection[str]) -> str:
    """`folder`, or the one in it where it holds nothing else and that one is of the same part: "train/train"."""
    part = _scored_part(os.path.basename(folder))
    inner = folders_below(paths, folder)
    if part and len(inner) == 1 and _scored_part(name := min(inner)) == part:
        within = f"{folder}/{name}"
        if all(path.startswith(within + "/") for path in paths if path.startswith(folder + "/")):
            return within
    return folder


def _found(name: str, part: str, paths: Collection[str], root: str) -> str:
    """The named folder, relative to the root. Raises UserError for one without pictures."""
    below = slashed(os.path.relpath(on_disk(os.path.join(root, name)), root))
    if not any(path.startswith(below + "/") for path in paths):
        there = ", ".join(map(repr, sorted(folders_below(paths, ""))[:SHOWN])) or "none"
        raise UserError(
            f"--{part} {name!r}: no such folder of pictures with labels in {root!r}; its folders are {there}"
        )
    return below
