"""A trained head and its scores as files: the model, and tables beside it."""

import contextlib
import csv
import io
import json
import logging
import os
from typing import Any

from cache.files.atomic import write_atomically
from classify.data.dataset import Dataset
from classify.saved.persist import locked, save
from classify.saved.previous import forget_evaluation, keep_previous, replaced
from classify.scoring.metrics import Scores
from classify.train import Training

log = logging.getLogger("bottleneck")

NOT_RECORDED = ("failures", "confusion_matrix", "cv_search")  # in a model's record: long, the latter two in its tables


def save_training(
    model: str, training: Training, report: dict[str, Any], origin: dict[str, Any], dataset: Dataset
) -> None:
    """Save what was trained on `dataset` as `model`, with its tables and learning curves.

    `origin` is what its record says besides of where it comes from: head, data (`source_of`), views and
    `Extractor.record`. A model of other data or classes that has this name is kept, see `classify.saved.previous`.
    """
    record = origin | {
        "head_params": training.head_params,
        "training_counts": training.training_counts,
        "metrics": {name: value for name, value in report.items() if name not in NOT_RECORDED},
    }
    with locked(model):
        other = replaced(model, origin["data"], dataset) is not None  # once more: others may have saved meanwhile
        if other:
            keep_previous(model)
        save(model, training.estimator, training.trained_on, record, training.known)
        write_training(model, training)
        if other:
            forget_evaluation(model)


def write_training(model: str, training: Training) -> None:
    """Write what a training has found beside the model: its tables, and of heads that have them curves and a search."""
    write_tables(model, training.scores)
    for kind in ("history", "search"):  # those of a model that had this name before
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{os.path.splitext(model)[0]}.{kind}.csv")
    if training.history:
        write_curves(model, training.history)
    if training.search_table:
        write_search(model, training.scoring, training.search_table, training.cv_search)


def write_tables(model: str, scores: Scores, infix: str = "") -> None:
    """Write the per-class table and the confusion matrix as CSV (UTF-8): NAME.classes.csv and NAME.confusion.csv."""
    stem = os.path.splitext(model)[0] + infix
    for name, rows in (("classes", scores.class_rows()), ("confusion", scores.confusion_rows())):
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        write_atomically(f"{stem}.{name}.csv", text.getvalue().encode(errors="surrogateescape"))


def write_curves(model: str, history: dict[str, list[float]]) -> None:
    """Write what was measured after each epoch as CSV: NAME.history.csv."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["epoch", *history])
    writer.writerows([epoch, *values] for epoch, values in enumerate(zip(*history.values(), strict=True), start=1))
    write_atomically(f"{os.path.splitext(model)[0]}.history.csv", text.getvalue().encode())


def write_search(
    model: str, scoring: str | None, table: list[dict[str, Any]], of_folds: list[list[dict[str, Any]]]
) -> None:
    """Write every score of a search as CSV: NAME.search.csv, one line a candidate, its score in each inner fold.

    The column `scoring` names the scorer, `chosen` marks the candidate that was taken; a score that is not defined in a
    fold is empty.

    Those of the search that has tuned the model come first (search "model"), then those of each fold of a
    cross-validation ("fold 1" and so on).
    """
    names = [*table[0]["params"]]
    splits = [f"split {number}" for number in range(1, len(table[0]["scores"]) + 1)]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["search", "chosen", *names, "scoring", "score", "std", "accuracy", *splits])
    for number, rows in enumerate([table, *of_folds]):
        of = f"fold {number}" if number else "model"
        for row in rows:
            values = [row["params"][name] for name in names]
            measured = [scoring, row["score"], row["std"], row["accuracy"], *row["scores"]]
            writer.writerow([of, "yes" if row["chosen"] else "", *values, *measured])
    write_atomically(f"{os.path.splitext(model)[0]}.search.csv", text.getvalue().encode())


def write_evaluation(model: str, scores: Scores, report: dict[str, Any]) -> None:
    """Write the tables and the whole report of an evaluation beside the model: NAME.evaluation.json and so on.

    Where that folder cannot be written (a model may be everybody's to read), the scores are still the caller's.
    """
    try:
        write_tables(model, scores, ".evaluation")
        write_atomically(os.path.splitext(model)[0] + ".evaluation.json", json.dumps(report, indent=2).encode())
    except OSError as error:
        log.warning("the evaluation is not saved beside the model: %s: %s", error.filename, error.strerror)
