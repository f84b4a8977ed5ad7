"""The picture that each row of a table means, however the table spells its path."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from cache.errors import UserError, log
from cache.files.path_kinds import is_url, is_web
from classify.labels.label_names import label_of
from classify.labels.label_tables import Table, bare
from featurize.pictures.find_images import SUFFIXES, Failure, Listing, find_images
from featurize.pictures.places.paths import absolute, is_file, join
from featurize.pictures.sources import names_in, nfc, on_disk, slashed

ANCHORED = re.compile("[A-Za-z]:|/")  # a path of a drive, of a server or from the root

Names = tuple[str, ...]  # of the folders and the file that a path leads through


@dataclass
class TableLabels:
    """What a table says about the pictures."""

    labels: dict[str, str]  # path of a picture that is there -> its label
    parts: dict[str, str]  # path of a labelled picture -> its part, as far as the table names one
    unlabelled: list[str]  # pictures that are there, in rows with an empty label
    failures: list[Failure]  # listed, but not there
    row_of: dict[str, int]  # path of a labelled picture -> the first row that names it


def match_rows(
    table: Table, parts: Sequence[str | None] | None, folder: str, listing: Listing | None, max_missing: float
) -> TableLabels:
    """Find the picture of every row.

    A path is absolute, or relative to `folder`, to the table's own folder or to the current one: the first of these
    that has it. It may be an address of object storage. One without an image suffix is the stem of a picture in
    `folder`: of its relative path, else of its name alone. Backslashes may stand for slashes. Unicode form, invisible
    characters and case may differ where only one picture fits then. Paths below a folder that is not here are looked
    for below `folder`, see `_Pictures.find_moved`. parts: of each row, or None. listing: the pictures of `folder`; None
    searches the folder only if a row asks for it.

    Rows whose picture is not there are failures. Raises UserError where they are more than a share `max_missing` of
    the rows, where a row fits several pictures, and where one picture has two labels, parts or groups.
    """
    pictures = _Pictures(folder, table, listing)
    found = {value: pictures.find(value) for value in dict.fromkeys(table.paths)}
    missing = [value for value, path in found.items() if path is None]
    found |= pictures.find_moved(missing, relative=len(missing) == len(found))
    nothing = [None] * len(table.paths)
    columns: dict[str, Sequence[str | None]] = {
        "parts": parts or nothing, "groups": table.groups or nothing, "labels": table.labels
    }  # fmt: skip
    paths = [found[value] for value in table.paths]
    usable = [(row, path) for row, path in enumerate(paths) if path is not None and path not in pictures.broken]
    row_of: dict[str, int] = {}
    for row, path in usable:
        before = row_of.setdefault(path, row) if table.labels[row] else row
        for what, column in columns.items():
            if column[row] != column[before]:
                both = f"{column[before]!r:.80} and {column[row]!r:.80}"
                raise UserError(f"{table.name!r} gives {path!r:.300} two {what}, {both}: keep one")
    _check_missing(table, [value for value in table.paths if found[value] is None], pictures.folders, max_missing)
    absent = f"listed in {table.name} but there is no such file"
    failed = {
        path or join(folder, bare(value)): None
        for value, path in found.items()
        if path is None or path in pictures.broken
    }
    return TableLabels(
        labels={path: table.labels[row] for path, row in row_of.items()},
        parts={path: part for path, row in row_of.items() if (part := columns["parts"][row])},
        unlabelled=[path for _, path in usable if path not in row_of],
        failures=[pictures.broken.get(path, Failure(path, absent)) for path in failed],
        row_of=row_of,
    )


class _Pictures:
    """The pictures of a folder, by every way in which a table may name them."""

    def __init__(self, folder: str, table: Table, listing: Listing | None) -> None:
        self.folders = [*dict.fromkeys((folder, table.folder, "."))]
        self.broken: dict[str, Failure] = {}
        self._table = table.name
        self._names_in = cache(names_in)
        self._by_path: dict[str, str] = {}
        self._by_key: defaultdict[tuple[str, str], list[str]] = defaultdict(list)  # ("form", "stem" or "name", key)
        self._indexed = False
        if listing or is_url(folder):
            self._index(listing or find_images(folder))
        self._look_up([text for value in table.paths if is_url(text := bare(value))])

    def find(self, value: str) -> str | None:
        """The path that `value` means, relative or absolute, or None. Raises UserError where several pictures fit."""
        spellings = [*dict.fromkeys((value, bare(value), _with_slashes(value)))]
        for text in spellings:
            for folder in self.folders:
                path = join(folder, text)
                fitting = self._fitting("form", _key(path))
                if listed := self._by_path.get(absolute(path)) or self._only(value, fitting):
                    return listed
                path = on_disk(path, self._names_in)
                if _has_image_suffix(text) and not is_url(path) and is_file(path):
                    return path
        if not self._indexed:
            self._index(find_images(self.folders[0]))
        for text in spellings:
            path = join(self.folders[0], text)
            if not _has_image_suffix(text):
                if stems := self._fitting("stem", _key(path)) or self._fitting("name", nfc(text)):
                    return self._only(value, stems)
                if not is_url(path) and is_file(path):
                    return path
        relative = os.path.relpath(join(self.folders[0], spellings[-1]), self.folders[0])
        return self._only(value, self._by_tail.get(("", *_names(relative)), []))

    def find_moved(self, values: Sequence[str], relative: bool) -> dict[str, str]:
        """Paths for values that begin with a folder that is not here, such as "C:\\photos": value -> path.

        The rest of the value, as much of it as possible, is the end of the path of one picture alone: of its whole path
        below the folder, or of two names or more. All values that begin with a missing folder are given the same one:
        the one by which most pictures are found. Announced. relative: relative values may begin with one, too.
        """
        found: dict[str, str] = {}
        slashed = {value: _with_slashes(value) for value in values}
        left = {
            value: tuple(name for name in text.split("/") if name not in ("", "."))
            for value, text in slashed.items()
            if relative or ANCHORED.match(text)
        }
        while votes := Counter(names[:cut] for names in left.values() if (cut := self._cut(names))):
            gone = max(votes, key=lambda names: (votes[names], -len(names)))
            below = [value for value, names in left.items() if names[: len(gone)] == gone]
            taken = {value: path for value in below if (path := self._at_tail(left.pop(value)[len(gone) :]))}
            found |= taken
            log.warning(
                "%r names pictures in %r, which is not here: %d of them are taken from %r, the first is %r",
                self._table, "/".join(gone), len(taken), self.folders[0], next(iter(taken.values())),
            )  # fmt: skip
        return found

    def _cut(self, names: Names) -> int:
        """How many names the missing folder has, told by the longest rest that fits one picture; 0 where none does."""
        return next((cut for cut in range(1, len(names)) if self._at_tail(names[cut:])), 0)

    def _at_tail(self, names: Names) -> str | None:
        """The only picture whose path ends in `names`; one name must be the whole path below the folder."""
        names = tuple(map(_folded, names))
        fitting = self._by_tail.get(("", *names)) or self._by_tail.get(names, [])
        return fitting[0] if len(fitting) == 1 else None

    def _index(self, listing: Listing) -> None:
        self._indexed = True
        self.broken = {failure.path: failure for failure in listing.failures}
        for path in [*listing.images, *self.broken]:
            self._by_path[absolute(path)] = path
            key = _key(path)
            stem = key.rpartition(".")[0]
            for which in (("form", key), ("stem", stem), ("name", stem.rpartition("/")[2])):
                self._by_key[which].append(path)

    def _look_up(self, addresses: list[str]) -> None:
        """Add those objects of storage to the index that are there and not in it, by many requests at once.

        Of the web only what lies beside the data or the table: a table from elsewhere may name any server.
        """
        beside = tuple(join(folder, "") for folder in self.folders[:2])
        unknown = [
            address
            for address in dict.fromkeys(addresses)
            if address not in self._by_path and (not is_web(address) or address.startswith(beside))
        ]
        if not unknown:
            return
        from cache.remote.objects import with_stamps

        self._by_path |= {path: path for path in with_stamps(unknown) if path.size is not None}

    def _fitting(self, kind: str, key: str) -> list[str]:
        return self._by_key.get((kind, key), [])

    @cached_property
    def _by_tail(self) -> dict[Names, list[str]]:
        """The pictures by the last two or more names of their paths below the folder; by all names with "" before."""
        by_tail = defaultdict(list)
        prefix = len(join(self.folders[0], ""))
        for path in self._by_path.values():
            names = _names(path[prefix:])
            for tail in (("", *names), *(names[start:] for start in range(len(names) - 1))):
                by_tail[tail].append(path)
        return by_tail

    def _only(self, value: str, paths: list[str]) -> str | None:
        if len(paths) > 1:
            raise UserError(
                f"{value!r:.300} in {self._table!r} fits {len(paths)} pictures, {paths[0]!r} and {paths[1]!r}: "
                "give the relative path with its suffix"
            )
        return paths[0] if paths else None


def _check_missing(table: Table, missing: list[str], folders: list[str], most: float) -> None:
    """Announce the values of the rows without a picture; raise UserError above a share `most` of all rows."""
    if missing:
        what = (
            f"rows of {table.name!r} whose picture is not there: {len(missing)} of {len(table.paths)}, "
            f"the first is {missing[0]!r:.300} (looked for in {', '.join(map(repr, folders))})"
        )
        if len(missing) > most * len(table.paths):
            raise UserError(f"{what}: mend the paths, or allow a larger share than {most:g} with --max-missing")
        log.warning("%s", what)


def _key(path: str) -> str:
    return slashed(nfc(absolute(path)))


def _with_slashes(value: str) -> str:
    """`value` as this system writes paths, if it was written on Windows."""
    return bare(value).replace("\\", "/")


def _names(path: str) -> Names:
    return tuple(map(_folded, slashed(path).split("/")))


def _folded(name: str) -> str:
    """A name as it looks, whatever its case: without invisible characters."""
    return label_of(name).casefold()


def _has_image_suffix(path: str) -> bool:
    return path[path.rfind(".") :].lower() in SUFFIXES
