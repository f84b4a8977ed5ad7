"""One answer for each group of pictures, such as a burst: the mean of their probabilities."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cache.arguments import at_home
from cache.errors import UserError, log
from classify.answers import Answers
from classify.data.split import Indices
from classify.heads.numerics import Floats
from classify.labels.label_options import AnyTable
from classify.labels.label_tables import Table, bare, read_table
from classify.labels.named_groups import (
    Groups,
    announced_groups,
    bursts,
    capture_times_of,
    group_option,
    names_of_paths,
)
from classify.labels.row_pictures import match_rows
from featurize.pictures.find_images import Listing
from featurize.pictures.places.paths import absolute, common_folder, is_folder, join
from featurize.pictures.sources import Source, nfc, slashed


@dataclass(frozen=True)
class GroupAnswers:
    """Answers about g groups of n pictures. A picture in no group is a group of its own, whose name is "".

    names: (g,), in the order of their first pictures. numbers: (n,), which group each picture is in. probabilities:
    (g, k) float64, the mean of those pictures that have an answer and are not rejected; NaN where none has.
    answered: (g,), how many these are.
    """

    names: list[str]
    numbers: Indices
    probabilities: Floats
    answered: Indices

    def first(self, group: int, classes: Sequence[str]) -> tuple[str | None, float]:
        """The most probable label of a group and its probability; None and NaN without an answer."""
        if not self.answered[group]:
            return None, float("nan")
        best = int(self.probabilities[group].argmax())
        return classes[best], float(self.probabilities[group, best])

    def answer_about(self, picture: int, classes: Sequence[str]) -> tuple[str, str | None, float]:
        """The group of a picture, and what `first` says of it."""
        group = int(self.numbers[picture])
        return (self.names[group], *self.first(group, classes))

    def rows(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """One row a group: group, pictures, answered, label, probability, margin."""
        sizes = np.bincount(self.numbers, minlength=len(self.names))
        found = []
        for group, name in enumerate(self.names):
            label, probability = self.first(group, classes)
            second = float(np.sort(self.probabilities[group])[-2]) if len(classes) > 1 else float("nan")
            counts = {"pictures": int(sizes[group]), "answered": int(self.answered[group])}
            found.append(
                {"group": name, **counts, "label": label, "probability": probability, "margin": probability - second}
            )
        return found


def group_answers(answers: Answers, groups: Sequence[str]) -> GroupAnswers:
    """The answers about groups of pictures; groups: (n,) names, "" for none. Groups without an answer are announced."""
    numbers: dict[Any, int] = {}
    of = np.array([numbers.setdefault(name or position, len(numbers)) for position, name in enumerate(groups)], np.intp)
    known = ~np.isnan(answers.probabilities).any(axis=1)
    known[list(answers.unknown)] = False
    sums = np.zeros((len(numbers), answers.probabilities.shape[1]))
    np.add.at(sums, of[known], answers.probabilities[known])
    answered = np.bincount(of[known], minlength=len(numbers))
    means = np.full_like(sums, np.nan)
    np.divide(sums, answered[:, None], out=means, where=answered[:, None] > 0)
    names = [name if isinstance(name, str) else "" for name in numbers]
    if silent := [name for name, count in zip(names, answered, strict=True) if name and not count]:
        log.warning("groups without an answer: %d, such as %r; none of their pictures has one", len(silent), silent[0])
    return GroupAnswers(names, of, means, answered)


def groups_of_pictures(
    sources: Sequence[Source],
    given: Any,
    groups: Groups,
    labels: AnyTable | None = None,
    path_column: str = "path",
) -> list[str]:
    """The group of each of n pictures to predict, announced; "" for none, and for a picture without a path.

    given: what was asked for, such as a folder or a list. A pattern is searched in paths below a folder that is given,
    and in others as they are. groups: as in `classify.labels.label_options.LabelOptions`; "folder" is the one that a
    picture lies in. labels, path_column: a table, where a column names groups or times. Raises UserError for options
    that cannot be used, and where no picture is in a group.
    """
    option = group_option(groups, has_table=labels is not None)
    if option is None:
        raise UserError("no groups named: give --group-column, --group-pattern or --group-by; in Python groups=")
    numbers = [number for number, source in enumerate(sources) if isinstance(source, str)]
    paths = [str(sources[number]) for number in numbers]
    folders = [os.path.dirname(path) or "." for path in paths]
    asked = given if isinstance(given, list | tuple) else [given]
    roots = [at_home(path) for path in asked if isinstance(path, str | os.PathLike) and is_folder(at_home(path))]
    root = roots[0] if len(roots) == 1 else None
    table: Table | None = None
    rows: dict[str, int] = {}
    if option.kind == "folder":
        named = folders
    elif option.kind in ("pattern", "mapping"):
        named = names_of_paths([_below(path, roots) for path in paths], paths, root or ".", option)
    else:
        column = option.value if option.kind == "column" else None
        if labels is not None:
            table = read_table(labels, path_column, path_column, column)
            rows = _rows_of(paths, root, table)
        if table and table.groups:
            named = [table.groups[rows[path]] if path in rows else "" for path in paths]
        else:
            named = bursts(folders, capture_times_of(paths, table, rows), option.value)
    found = [""] * len(sources)
    for number, name in zip(numbers, named, strict=True):
        found[number] = name
    return announced_groups(found, sources, option, table, rows)


def _rows_of(paths: Sequence[str], root: str | None, table: Table) -> dict[str, int]:
    """path -> the row of a table that names it, if one does.

    Paths of the table are relative to `root`, by default the common folder of `paths`; to the table's own folder or to
    the current one; else they are the end of one of `paths` alone, such as its name.
    """
    places = {path: absolute(path) for path in paths}
    folder = absolute(root if root is not None else _common(places.values(), table.folder))
    inside = [place for place in places.values() if place.startswith(join(folder, ""))]
    named = replace(table, paths=_spelled(table, places.values(), folder))
    matched = match_rows(named, None, folder, Listing(inside, [], Counter()), max_missing=1)
    rows = {absolute(path): row for path, row in matched.row_of.items()}
    return {path: rows[place] for path, place in places.items() if place in rows}


def _common(places: Iterable[str], otherwise: str) -> str:
    """The innermost folder that has all `places`, absolute paths; `otherwise` where none has."""
    try:
        return common_folder([os.path.dirname(place) for place in places])
    except ValueError:  # no path, or several drives of Windows
        return otherwise


def _spelled(table: Table, places: Iterable[str], folder: str) -> list[str]:
    """The paths of a table; one that no folder has, and that is the end of one of `places` alone, as that place."""
    called: defaultdict[str, list[str]] = defaultdict(list)
    for place in dict.fromkeys(places):
        called[_name_of(place)].append(place)
    spelled = [*table.paths]
    for row, path in enumerate(table.paths):
        end = "/" + nfc(bare(path)).replace("\\", "/")
        fitting = [place for place in called.get(_name_of(end), []) if slashed(nfc(place)).endswith(end)]
        if len(fitting) == 1 and not any(os.path.isfile(where + end) for where in (folder, table.folder, ".")):
            spelled[row] = fitting[0]
    if moved := [path for path, place in zip(table.paths, spelled, strict=True) if path != place]:
        log.info("%r names %d pictures by the end of their paths alone, such as %r", table.name, len(moved), moved[0])
    return spelled


def _name_of(path: str) -> str:
    return slashed(nfc(path)).rpartition("/")[2]


def _below(path: str, roots: Sequence[str]) -> str:
    """A path with / between its names, relative to the innermost of `roots` that it lies in; else as it is."""
    inside = [len(prefix) for root in roots if path.startswith(prefix := join(root, ""))]
    return slashed(path[max(inside, default=0) :])
