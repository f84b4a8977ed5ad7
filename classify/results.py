"""A trained head and its scores as files: the model, and tables beside it."""

import csv
import io
import json
import logging
import os
from typing import Any

from cache.atomic import write_atomically
from classify.metrics import Scores
from classify.persist import save
from classify.train import Training

log = logging.getLogger("bottleneck")

NOT_RECORDED = ("failures", "confusion_matrix")  # in a model's record: they are long, and the latter is in its table


def save_training(model: str, training: Training, report: dict[str, Any], origin: dict[str, Any]) -> None:
    """Save what was trained as `model`, with its tables and learning curves.

    `origin` is what its record says besides of where it comes from: head, views and `Extractor.record`.
    """
    record = origin | {
        "head_params": training.head_params,
        "training_counts": training.training_counts,
        "metrics": {name: value for name, value in report.items() if name not in NOT_RECORDED},
    }
    save(model, training.estimator, training.trained_on, record)
    write_tables(model, training.scores)
    if training.history:
        write_curves(model, training.history)


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


def write_evaluation(model: str, scores: Scores, report: dict[str, Any]) -> None:
    """Write the tables and the whole report of an evaluation beside the model: NAME.evaluation.json and so on.

    Where that folder cannot be written (a model may be everybody's to read), the scores are still the caller's.
    """
    try:
        write_tables(model, scores, ".evaluation")
        write_atomically(os.path.splitext(model)[0] + ".evaluation.json", json.dumps(report, indent=2).encode())
    except OSError as error:
        log.warning("the evaluation is not saved beside the model: %s: %s", error.filename, error.strerror)
