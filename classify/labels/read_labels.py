"""Which picture has which label, and which part of the data's own split it belongs to."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from cache.errors import AT_ONCE, UserError, listed, log
from classify.labels.label_names import announce_alike, label_of
from classify.labels.label_options import AnyTable, LabelOptions
from classify.labels.label_sources import Source, first_folder, from_folders, from_names, from_table
from classify.labels.label_tables import table_name
from classify.labels.named_groups import GroupOption, Groups, group_option, labelled_groups, mention_column
from featurize.pictures.find_images import SUFFIXES, Failure, describe_passed_over
from featurize.pictures.places.paths import inside_archive
from featurize.pictures.sources import on_disk

SHOWN_COUNTS = 6  # classes; of more the numbers alone are said


@dataclass
class LabelledImages:
    """Pictures and their labels in byte order of the paths; paths, labels and parts are of one length."""

    paths: list[str]
    labels: list[str]
    parts: list[str]  # "all", or under the data's own split "train", "validation" or "test"
    failures: list[Failure]  # what the folder or the table names as a picture and is no readable file
    unlabelled: list[str]
    left_out: list[str]  # pictures beside the parts of the data's own split
    passed_over: Counter[str]  # other files, by kind
    doubt: str | None = None  # why the folders that the labels are taken from may be the wrong ones, in one line
    groups: list[str] | None = None  # of each picture the group that people named, "" for none; None: nobody did
    groups_by: str | None = None  # how these were found, such as "column:site"

    @property
    def classes(self) -> list[str]:
        """The distinct labels, sorted as strings."""
        return sorted(set(self.labels))

    @property
    def all_images(self) -> list[str]:
        """Every picture, labelled or not, in byte order of the paths."""
        return sorted([*self.paths, *self.unlabelled, *self.left_out], key=os.fsencode)

    @property
    def has_own_split(self) -> bool:
        """Whether the data's own folders say what to train on and what to test on."""
        return any(part != "all" for part in self.parts)

    def of(self, rows: Iterable[int]) -> "LabelledImages":
        """The pictures of these numbers alone; the others are left out."""
        chosen = [*rows]
        paths, labels, parts = ([values[row] for row in chosen] for values in (self.paths, self.labels, self.parts))
        left_out = [*self.left_out, *sorted({*self.paths} - {*paths})]
        groups = None if self.groups is None else [self.groups[row] for row in chosen]
        return replace(self, paths=paths, labels=labels, parts=parts, left_out=left_out, groups=groups)

    def named_as(self, classes: Sequence[str]) -> "LabelledImages":
        """The same with each label as the class of a model that looks the same, which may be spelled otherwise."""
        spelled = {label_of(name): name for name in classes} | {name: name for name in classes}
        return replace(self, labels=[spelled.get(label, label) for label in self.labels])


def read_labels(data: str | None, *, for_training: bool = True, **label_source: Unpack[LabelOptions]) -> LabelledImages:
    """Find the pictures of a folder, or of a table, and their labels.

    data: folder of pictures. label_source: see `classify.labels.label_options.LabelOptions`. Labels are spelled as
    `classify.labels.label_names.label_of` says.

    Folders whose names say train, validation or test (see `classify.labels.own_split`) are the data's own split:
    classes are below them, and pictures beside them are left out. One such folder alone is no split, and is looked
    through as if it were `data`; nor is there one where only `train` has labels. Pictures without label and those left
    out are announced with their number, and are no error.

    Raises UserError for options that cannot be used, where no picture has a label, and where folders that are taken
    for classes hold the same folders as each other, unless `label_from` says that they are; if for_training also
    where there is only one class to train on, or a class to test on that `train` lacks. (Not for_training: a
    model may well be evaluated on pictures of one class.)
    """
    source = _source(data, **label_source)
    labelled = _in_parts(source)
    if not labelled.paths:
        raise UserError(_why_nothing_is_labelled(labelled, source.root, label_source))
    if labelled.doubt:
        raise UserError(labelled.doubt)
    _announce(labelled, source)
    if for_training:
        _require_classes(labelled)
    option = group_option(label_source.get("groups"), has_table=label_source.get("labels") is not None)
    return _with_groups(labelled, source, option)


def announced_labels(data: str | None, for_training: bool, label_source: LabelOptions) -> LabelledImages:
    """As `read_labels`, and how many pictures each class has is announced."""
    return announced(read_labels(data, for_training=for_training, **label_source))


def find_labelled(data: str | None, **label_source: Unpack[LabelOptions]) -> LabelledImages:
    """As `read_labels`, for those who need no labels: pictures without one are no matter, and labels may be in doubt.

    Raises UserError for options that cannot be used, and where there is neither a picture nor a failure.
    """
    source = _source(data, **label_source)
    found = _in_parts(source)
    if not found.all_images and not found.failures:
        raise UserError(_why_nothing_is_labelled(found, source.root, label_source))
    return found


def announced(found: LabelledImages) -> LabelledImages:
    """`found`; says how many pictures each class has (in each part, under an own split), and what was passed over."""
    if found.doubt:
        log.warning("the classes are not clear: %s", found.doubt, extra=AT_ONCE)
    elif found.labels:
        for part in sorted(set(found.parts), key=["all", "train", "validation", "test"].index):
            counts = Counter(label for label, own in zip(found.labels, found.parts, strict=True) if own == part)
            named = "" if part == "all" else f"{part}: "
            log.info("%s%d pictures%s", named, counts.total(), _by_class(counts))
    if found.passed_over:
        log.info("%s", describe_passed_over(found.passed_over))
    return found


def _by_class(counts: Counter[str]) -> str:
    """How many pictures each class has; of many classes the fewest and the most."""
    if len(counts) <= SHOWN_COUNTS:
        return ": " + ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
    *_, (rarest, fewest) = ordered = counts.most_common()
    usual, most = ordered[0]
    span = f"{most} of each" if fewest == most else f"from {fewest} of {rarest} to {most} of {usual}"
    return f" of {len(counts)} classes, {span}"


def _source(
    data: str | None,
    *,
    labels: AnyTable | None = None,
    path_column: str = "path",
    label_column: str = "label",
    max_missing: float = 0.1,
    label_pattern: str | None = None,
    label_from: str | None = None,
    train_folder: str | Sequence[str] = (),
    validation_folder: str | Sequence[str] = (),
    test_folder: str | Sequence[str] = (),
    groups: Groups = None,
) -> Source:
    given = {"--labels": labels, "--label-pattern": label_pattern, "--label-from": label_from}
    sources = [option for option, value in given.items() if value is not None]
    if len(sources) > 1:
        raise UserError(f"{sources[0]} and {sources[1]} are two sources of labels: give one of them")
    folders = {"train": train_folder, "validation": validation_folder, "test": test_folder}
    named = {part: [names] if isinstance(names, str) else [*names] for part, names in folders.items()}
    data = inside_archive(on_disk(data)) if data is not None else None
    if labels is not None:
        option = group_option(groups, has_table=True)
        group_column = option.value if option and option.kind == "column" else None
        return from_table(data, labels, path_column, label_column, named, max_missing, group_column)
    group_option(groups, has_table=False)
    if data is None:
        raise UserError("no pictures given: name their folder with --data, or a table with --labels")
    if label_pattern is not None:
        return from_names(data, label_pattern, named)
    return from_folders(data, label_from, named)


def _in_parts(source: Source) -> LabelledImages:
    images = sorted(source.images, key=os.fsencode)
    part_of = dict.fromkeys(images, "all") if source.part_of is None else source.part_of
    inside = [path for path in images if path in part_of]
    paths = [path for path in inside if path in source.label_of]
    parts = [part_of[path] for path in paths]
    if set(parts) == {"train"}:
        log.info("no picture outside train has a label, so a part of train is held out for testing")
        parts = ["all"] * len(parts)
    return LabelledImages(
        paths,
        labels=[source.label_of[path] for path in paths],
        parts=parts,
        failures=source.failures,
        unlabelled=[path for path in inside if path not in source.label_of],
        left_out=[path for path in images if path not in part_of],
        passed_over=source.passed_over,
        doubt=source.doubt,
    )


def _with_groups(labelled: LabelledImages, source: Source, option: GroupOption | None) -> LabelledImages:
    if option is None:
        mention_column(source, labelled.paths, labelled.labels)
        return labelled
    return replace(labelled, groups=labelled_groups(source, labelled.paths, option), groups_by=str(option))


def _announce(labelled: LabelledImages, source: Source) -> None:
    announce_alike(labelled.labels)
    if labelled.unlabelled:
        log.warning(
            "pictures without label, left out: %d, the first is %r",
            len(labelled.unlabelled),
            labelled.unlabelled[0],
        )
    if labelled.left_out:
        beside = Counter(first_folder(path, source.root) or "." for path in labelled.left_out)
        log.warning(
            "pictures beside %s, left out: %d (%s)",
            source.beside,
            len(labelled.left_out),
            ", ".join(f"{count} in {folder!r}" for folder, count in sorted(beside.items())),
        )


def _why_nothing_is_labelled(labelled: LabelledImages, root: str, label_source: LabelOptions) -> str:
    pictures = len(labelled.unlabelled) + len(labelled.left_out)
    failed = "".join(
        f"; files that failed: {len(labelled.failures)}, the first is {first.path!r} ({first.reason})"
        for first in labelled.failures[:1]
    )
    if (table := label_source.get("labels")) is not None:
        return (
            f"{table_name(table)!r} gives no picture a label; its paths are relative to {root!r}, "
            f"pictures without label there: {pictures}{failed}"
        )
    if not pictures:
        other = f" (other files: {labelled.passed_over.total()})" if labelled.passed_over else ""
        return f"there is no image in {root!r}{other}{failed}; these count: {' '.join(sorted(SUFFIXES))}"
    if (label_pattern := label_source.get("label_pattern")) is not None:
        first_name = os.path.basename(labelled.unlabelled[0])
        return f"--label-pattern {label_pattern!r} fits none of {pictures} file names, such as {first_name!r}"
    return (
        f"no image in {root!r} has a label (images: {pictures}): label them with `review --data {root}`, put each "
        "class into a folder of its name, or give --labels or --label-pattern"
    )


def _require_classes(labelled: LabelledImages) -> None:
    """Raise UserError where no classifier can be trained on the labels, or not be tested on them."""
    by_part: defaultdict[str, set[str]] = defaultdict(set)
    for label, part in zip(labelled.labels, labelled.parts, strict=True):
        by_part[part].add(label)
    name, where = ("train", "train") if labelled.has_own_split else ("all", "the data")
    trained = by_part.pop(name, set())
    if not trained:
        raise UserError(f"there is no labelled picture in train, only in {' and '.join(sorted(by_part))}")
    if len(trained) == 1:
        raise UserError(f"the only class in {where} is {min(trained)!r}: a classifier needs two or more")
    for part, tested in sorted(by_part.items()):
        if unknown := sorted(tested - trained):
            named = listed(map(repr, unknown), 5)
            raise UserError(f"the {part} part has classes that train lacks: {named}")
