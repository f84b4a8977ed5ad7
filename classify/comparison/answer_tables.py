"""Held-out answers as a table: one row a picture, written beside a model, read again to be compared."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError, listed
from cache.files.atomic import replacing, sync_file
from classify.data.split import Indices
from classify.heads.numerics import Floats
from classify.saved.record import read_regular
from classify.scoring.held_out_answers import HeldOutAnswers

COLUMNS = ("path", "group", "part", "label", "answer", "probability", "margin", "correct")
MOST_BYTES = 2**31  # of a table that is read


def answer_rows(several: Sequence[HeldOutAnswers], paths: Sequence[str]) -> Iterator[list[Any]]:
    """Header and one row an answer, each made when it is asked for: `COLUMNS`, then the probability of each class.

    paths: (n,), of the dataset that the answers' `rows` count. A class called as one of the columns is "class NAME".
    group is empty where nobody named groups.
    """
    classes = several[0].classes
    yield [*COLUMNS, *(f"class {name}" if name in COLUMNS else name for name in classes)]
    for answers in several:
        confidence, margin = answers.confidence, answers.margin
        for i, row in enumerate(answers.rows.tolist()):
            name = "" if answers.names is None else str(answers.names[i])
            answer, truth = classes[answers.predicted[i]], classes[answers.truth[i]]
            sure = [f"{confidence[i]:.6f}", f"{margin[i]:.6f}", "yes" if answer == truth else "no"]
            shown = [f"{probability:.6f}" for probability in answers.probabilities[i].tolist()]
            yield [paths[row], name, str(answers.parts[i]), truth, answer, *sure, *shown]


def write_rows(path: str, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as a CSV file in UTF-8, whole or not at all, a row at a time; names that are none keep their bytes.

    Raises `OSError` naming `path`.
    """
    with replacing(path) as temporary:
        with open(temporary, "x", encoding="utf-8", errors="surrogateescape", newline="") as file:
            csv.writer(file).writerows(rows)
        sync_file(temporary)


@dataclass(frozen=True)
class AnswerTable:
    """A table that `answer_rows` made, of m pictures: each has one row."""

    name: str
    paths: list[str]
    groups: list[str]
    labels: NDArray[np.str_]
    classes: list[str]
    probabilities: Floats

    def of(self, rows: Indices) -> "AnswerTable":
        """Some of the pictures, in this order."""
        chosen = rows.tolist()
        paths, groups = [self.paths[i] for i in chosen], [self.groups[i] for i in chosen]
        return AnswerTable(self.name, paths, groups, self.labels[rows], self.classes, self.probabilities[rows])


def read_answers(path: str) -> AnswerTable:
    """Read a table of held-out answers.

    Of a picture with several rows, as of a test part and a fold, the rows of the folds count, else the first part.
    Raises UserError for a file that is no such table.
    """
    try:
        text = read_regular(path, MOST_BYTES).decode("utf-8-sig", "surrogateescape")
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: {reason}; `train` writes NAME.predictions.csv beside a model") from None
    if tuple(header[: len(COLUMNS)]) != COLUMNS or len(header) < len(COLUMNS) + 2:
        raise UserError(
            f"{path} is no table of held-out answers: its columns are {listed(header, 12)}, those begin with "
            f"{', '.join(COLUMNS)}; `train` writes NAME.predictions.csv beside a model"
        )
    rows = [row for row in rows if row]
    if wrong := [number for number, row in enumerate(rows, start=2) if len(row) != len(header)]:
        raise UserError(f"{path}: row {wrong[0]} has another number of fields than the header")
    if not rows:
        raise UserError(f"{path} has no answers")
    part = [row[COLUMNS.index("part")] for row in rows]
    folds = {name for name in part if name.startswith("fold ")}
    chosen = folds or {part[0]}
    rows = [row for row, name in zip(rows, part, strict=True) if name in chosen]
    try:
        probabilities = np.array([[float(cell) for cell in row[len(COLUMNS) :]] for row in rows])
    except ValueError as error:
        raise UserError(f"{path}: {error}: a probability is a number") from None
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise UserError(f"{path}: a probability is a finite number of 0 or more")
    classes = [name.removeprefix("class ") if name[6:] in COLUMNS else name for name in header[len(COLUMNS) :]]
    columns = dict(zip(COLUMNS, zip(*(row[: len(COLUMNS)] for row in rows), strict=True), strict=True))
    if unknown := sorted({*columns["label"]} - {*classes}):
        raise UserError(f"{path}: label {unknown[0]!r} has no column of probabilities")
    if len({*columns["path"]}) < len(rows):
        raise UserError(f"{path}: a picture has several rows in {', '.join(sorted(chosen))}: keep one")
    labels = np.array(columns["label"])
    order = np.argsort(classes, kind="stable")  # as scorers want them
    classes = [classes[i] for i in order]
    return AnswerTable(
        os.fspath(path), [*columns["path"]], [*columns["group"]], labels, classes, probabilities[:, order]
    )
