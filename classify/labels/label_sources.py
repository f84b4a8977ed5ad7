"""The three sources of labels: a table, the names of the files, the names of the folders."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from cache.errors import UserError, log
from classify.labels.class_folders import LABEL_FROM, doubt
from classify.labels.label_names import announce_one_class, label_of
from classify.labels.label_options import AnyTable
from classify.labels.label_tables import Table, read_table
from classify.labels.own_split import Named, Parts, find_parts, folders_below, part_and_rest, parts_of_values
from classify.labels.row_pictures import match_rows
from featurize.pictures.find_images import Failure, Listing, find_images
from featurize.pictures.places.paths import join
from featurize.pictures.sources import nfc, slashed

PATTERN_EXAMPLE = r"(?P<label>cat|dog)\.\d+\.jpg"


@dataclass
class Source:
    """What one source of labels gives, before the pictures are sorted into the parts of a split."""

    root: str
    images: Collection[str]  # every picture found, labelled or not
    failures: list[Failure]
    passed_over: Counter[str]
    label_of: dict[str, str]  # path -> label
    part_of: dict[str, str] | None = None  # path -> part of the own split; None without one
    beside: str = ""  # what pictures that are left out lie beside
    doubt: str | None = None  # why the labels may be wrong, in one line
    parts: Parts = field(default_factory=lambda: Parts({"": "all"}))  # the folders of the data's own split
    class_at: int | None = None  # which folder below these is the class: 0 the first, -1 the last; None: none is
    table: Table | None = None
    row_of: dict[str, int] = field(default_factory=dict)  # path of a labelled picture -> its row of the table

    def folders(self, paths: Iterable[str]) -> list[list[str]]:
        """The names of the folders that each of the paths lies in, below those of the data's own split."""
        relatives = below(paths, self.root).values()
        inside = (relative[len(self.parts.base_of(relative) or "") :].split("/")[:-1] for relative in relatives)
        return [[name for name in names if name not in ("", "..")] for names in inside]


def from_table(
    data: str | None,
    labels: AnyTable,
    path_column: str,
    label_column: str,
    named: Named,
    max_missing: float,
    group_column: str | None = None,
) -> Source:
    """Labels listed in a table; without `data` its own folder is the root, and only listed pictures count."""
    table = read_table(labels, path_column, label_column, group_column)
    root = data if data is not None else table.folder
    found = find_images(data) if data is not None else None
    parts = _parts_of_rows(table, named)
    matched = match_rows(table, parts, root, found, max_missing)
    found = found or Listing([], [], Counter())
    images = {*found.images, *matched.labels, *matched.unlabelled}
    # A listed file that the folder shows to be broken is in both lists.
    broken = {failure.path: failure for failure in [*matched.failures, *found.failures]}
    failures = sorted(broken.values(), key=lambda failure: os.fsencode(failure.path))
    source = Source(root, images, failures, found.passed_over, matched.labels, table=table, row_of=matched.row_of)
    if parts is None:
        return _with_parts(source, find_parts(below(matched.labels, root).values(), named, root))
    part_of = dict.fromkeys(images - matched.labels.keys(), "train") | matched.parts  # the first have no label
    return replace(source, part_of=part_of, beside=f"the parts that {table.name!r} names")


def from_names(data: str, label_pattern: str, named: Named) -> Source:
    """Labels that a regular expression finds in the names of the files."""
    try:
        pattern = re.compile(nfc(label_pattern))
    except (re.error, OverflowError, RecursionError) as error:  # the last two of numbers and brackets without end
        raise UserError(
            f"--label-pattern {label_pattern!r:.200} is no regular expression: {error}; example: {PATTERN_EXAMPLE}"
        ) from None
    if "label" not in pattern.groupindex:
        raise UserError(f"--label-pattern {label_pattern!r:.200} has no group named label; example: {PATTERN_EXAMPLE}")
    found = find_images(data)
    spelled = {
        path: match["label"]
        for path in found.images
        if (match := pattern.search(nfc(os.path.basename(path)))) and match["label"]
    }
    labels = _labels(spelled, "the names of files")
    source = Source(data, found.images, found.failures, found.passed_over, labels)
    return _with_parts(source, find_parts(below(labels, data).values(), named, data))


def from_folders(data: str, label_from: str | None, named: Named) -> Source:
    """Labels that are folders below `data`, or below its parts: the outermost ones, unless `label_from` is innermost.

    Where nothing is said of `label_from` and either may be meant, the source's `doubt` says so.
    """
    if label_from not in (None, *LABEL_FROM):
        raise UserError(f"--label-from {label_from!r}: give {' or '.join(LABEL_FROM)}")
    found = find_images(data)
    relatives = below(found.images, data)
    parts = find_parts(relatives.values(), named, data)
    folders = {
        path: relative[len(f"{base}/" if base else "") :].split("/")[:-1]
        for path, relative in relatives.items()
        if (base := parts.base_of(relative)) is not None
    }
    number = -1 if label_from == "innermost" else 0
    labels = _labels({path: names[number] for path, names in folders.items() if names}, "the folders")
    source = Source(data, found.images, found.failures, found.passed_over, labels, class_at=number)
    if label_from is None:
        source.doubt = parts.doubt or doubt(folders.values())
    classes = folders_below(relatives.values(), "") if not source.doubt and parts.bases == {"": "all"} else ()
    if named_as_parts := sorted(name for name in classes if part_and_rest(name)[0]):
        log.warning(
            "the folder %r is taken for a class; an own split needs train and val, validation or test",
            named_as_parts[0],
        )
    return _with_parts(source, parts)


def first_folder(path: str, root: str) -> str:
    """The first folder of `path` below `root`; "" for a file directly in it."""
    folder, slash, _ = below([path], root)[path].partition("/")
    return folder if slash else ""


def below(paths: Iterable[str], root: str) -> dict[str, str]:
    """path -> path relative to `root`, with / between the names on every system."""
    prefix = join(root, "")
    # A table may list pictures elsewhere: "../elsewhere/a.jpg".
    return {
        path: slashed(path[len(prefix) :] if path.startswith(prefix) else os.path.relpath(path, root)) for path in paths
    }


def _labels(spelled: dict[str, str], of: str) -> dict[str, str]:
    """path -> label, for paths whose label is spelled so; says which spellings become one label."""
    announce_one_class(set(spelled.values()), of)
    return {path: label for path, name in spelled.items() if (label := label_of(name))}


def _with_parts(source: Source, parts: Parts) -> Source:
    """`source` with the parts of its pictures, where folders are the data's own split."""
    source.parts = parts
    if parts.own_split:
        bases = {path: parts.base_of(relative) for path, relative in below(source.images, source.root).items()}
        source.part_of = {path: parts.bases[base] for path, base in bases.items() if base is not None}
        source.beside = f"the folders {', '.join(map(repr, sorted(parts.bases)))}"
        for part in sorted(set(parts.bases.values()) - {"all"}):
            folders = sorted(folder for folder in parts.bases if parts.bases[folder] == part)
            if folders != [part]:
                log.info("the data's own split: %s is %s", part, ", ".join(map(repr, folders)))
    elif parts.doubt and not source.doubt:
        log.warning("no split of the data's own is used: %s", parts.doubt)
    return source


def _parts_of_rows(table: Table, named: Named) -> list[str | None] | None:
    """The part of each row, None for rows of no part, by the first column that names parts; None without such.

    Folders that the user names count more than a column.
    """
    for column, values in table.splits.items():
        part_of = {} if any(named.values()) else parts_of_values(values)
        if part_of:
            parts = [part_of.get(value) for value in values]
            shown = ", ".join(f"{part} {count}" for part, count in sorted(Counter(filter(None, parts)).items()))
            log.info("the column %r of %r is the data's own split: %s", column, table.name, shown)
            return parts
        shown = ", ".join(f"{value!r:.40}" for value in sorted(set(values))[:5])
        log.warning(
            "the column %r of %r is ignored: %s",
            column,
            table.name,
            "the parts are named" if any(named.values()) else f"its values, {shown}, do not tell train from test",
        )
    return None
