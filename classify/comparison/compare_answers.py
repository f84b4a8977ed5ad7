"""Compare tables of held-out answers that were saved: the same pictures, answered by several models."""

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from cache.errors import UserError, listed, log
from cache.files.atomic import make_folder
from classify.comparison.answer_tables import AnswerTable, answer_rows, read_answers, write_rows
from classify.comparison.paired_difference import mcnemar
from classify.comparison.score_difference import Scorable, score_differences
from classify.data.split import Indices
from classify.scoring.class_scores import class_scores
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.metrics import uneven
from classify.scoring.scorers import Scoring, announce_unused, check_scoring
from classify.scoring.two_classes import check_positive

ENDING = ".predictions.csv"


def compare_answers(files: Sequence[str], scoring: str | None = None, positive: str | None = None) -> dict[str, Any]:
    """Rank tables of held-out answers on the pictures that all of them have.

    scoring: a scorer of scikit-learn, by default accuracy. positive: the class of two that it is of, such as f1.

    Where tables name groups, whole groups are resampled, and a picture that none of them names one for is a group of
    its own.

    Returns the report: pictures, left_out (pictures that not all tables have), classes, uneven (see
    `classify.scoring.metrics.uneven`), order, positive, groups (count, or None), lines (predictions: the file; score,
    accuracy, balanced_accuracy and macro_f1 with their intervals, difference, difference_interval and
    difference_in_words against the first line; mcnemar: better, worse, p_value), seconds.

    Raises UserError for fewer than two files, for a file that is no such table, for tables without common pictures,
    with other classes, or with another label of the same picture.
    """
    started = time.perf_counter()
    if len(files) < 2:
        raise UserError("give two tables of held-out answers or more: --predictions a.csv b.csv")
    tables, left_out = _of_the_same_pictures([read_answers(file) for file in files])
    labels, classes = tables[0].labels, np.array(tables[0].classes)
    check_positive(tables[0].classes, positive, None)
    check_scoring(order := scoring or "accuracy", tables[0].classes, positive=positive)
    announce_unused(positive, order)
    ordering = Scoring.of(order, positive)
    groups, named = _groups_of(tables)
    answers = [Scorable(classes, labels, table.probabilities) for table in tables]
    support = np.array([np.sum(labels == name) for name in classes])
    scores = np.array([one.score(ordering) for one in answers])
    ranks = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable").tolist()
    best = answers[ranks[0]]
    differences = score_differences(ordering, [answers[number] for number in ranks], best, groups, named)
    lines = [
        {
            "predictions": tables[number].name,
            "score": float(scores[number]) if np.isfinite(scores[number]) else None,
            "accuracy": float(answers[number].right.mean()),
            **_class_means(answers[number], groups if named else None),
            **difference.to_json(),
            "mcnemar": mcnemar(answers[number].right, best.right),
        }
        for number, difference in zip(ranks, differences, strict=True)
    ]
    return {
        "pictures": len(labels),
        "left_out": left_out,
        "classes": classes.tolist(),
        "uneven": uneven(support),
        "order": order,
        "positive": positive,
        "groups": {"count": int(groups.max()) + 1} if named else None,
        "lines": lines,
        "seconds": time.perf_counter() - started,
    }


def write_answers(folder: str, named: Sequence[tuple[str, HeldOutAnswers]], paths: Sequence[str]) -> None:
    """Write `NAME.predictions.csv` of each (name, answers) into `folder`. paths: of the pictures that `rows` count."""
    make_folder(folder)
    for name, answers in named:
        write_rows(os.path.join(folder, name + ENDING), answer_rows([answers], paths))


def _groups_of(tables: list[AnswerTable]) -> tuple[Indices, bool]:
    """(equal numbers (n,) for pictures of one group, whether any table names groups), of tables of the same n pictures.

    A picture has the group of the first table that names one for it; a table that names another is announced.
    """
    names = [next(filter(None, named), "") for named in zip(*(table.groups for table in tables), strict=True)]
    for table in tables[1:]:
        pairs = zip(names, table.groups, strict=True)
        if other := [row for row, (name, its) in enumerate(pairs) if its not in ("", name)]:
            both = f"{names[other[0]]!r} and {table.groups[other[0]]!r}"
            about = f"{tables[0].paths[other[0]]!r} is in {both}; the first table that names a group counts"
            log.warning("%s names other groups for %d pictures, such as %s", table.name, len(other), about)
    number = {name: at for at, name in enumerate(dict.fromkeys(filter(None, names)))}
    groups = [number[name] if name else len(number) + row for row, name in enumerate(names)]
    return np.unique(groups, return_inverse=True)[1], bool(number)


def _class_means(answers: Scorable, groups: Indices | None) -> dict[str, Any]:
    """Balanced accuracy and macro F1 with their intervals, as JSON types."""
    truth, predicted = np.searchsorted(answers.classes, answers.labels), answers.probabilities.argmax(axis=1)
    found = class_scores(truth, predicted, len(answers.classes), groups)
    about: dict[str, Any] = {}
    for name in ("balanced_accuracy", "macro_f1"):
        about[name], *about[f"{name}_interval"] = getattr(found, name).tolist()
    return about


def _of_the_same_pictures(tables: list[AnswerTable]) -> tuple[list[AnswerTable], int]:
    """The rows of the pictures that all tables have, in one order, and how many pictures are left out."""
    first = tables[0]
    row_of = [{path: row for row, path in enumerate(table.paths)} for table in tables]
    common = [path for path in first.paths if all(path in rows for rows in row_of)]
    if not common:
        raise UserError(f"{first.name} and {tables[1].name} have no picture in common (paths must be the same)")
    for table in tables[1:]:
        if table.classes != first.classes:
            classes = f"{listed(first.classes, 6)} and {listed(table.classes, 6)}"
            raise UserError(f"{first.name} and {table.name} are of other classes: {classes}")
    same = [table.of(np.array([rows[path] for path in common])) for table, rows in zip(tables, row_of, strict=True)]
    for table in same[1:]:
        if (other := np.flatnonzero(table.labels != same[0].labels)).size:
            both = f"{same[0].labels[other[0]]!r} and {table.labels[other[0]]!r}"
            raise UserError(f"{first.name} and {table.name} give {common[other[0]]!r} two labels, {both}")
    left_out = len({path for table in tables for path in table.paths}) - len(common)
    if left_out:
        log.warning("pictures that not all tables have are left out: %d", left_out)
    return same, left_out
