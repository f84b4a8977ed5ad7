"""Scores as files beside the model file."""

import csv
import io
import json
import os
from typing import Any

from cache.atomic import write_atomically
from classify.metrics import Scores


def write_tables(model: str, scores: Scores, infix: str = "") -> None:
    """Write the per-class table and the confusion matrix as CSV (UTF-8): NAME.classes.csv and NAME.confusion.csv."""
    stem = os.path.splitext(model)[0] + infix
    for name, rows in (("classes", scores.class_rows()), ("confusion", scores.confusion_rows())):
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        write_atomically(f"{stem}.{name}.csv", text.getvalue().encode(errors="surrogateescape"))


def write_evaluation(model: str, scores: Scores, report: dict[str, Any]) -> None:
    """Write the tables and the whole report of an evaluation beside the model: NAME.evaluation.json and so on."""
    write_tables(model, scores, ".evaluation")
    write_atomically(os.path.splitext(model)[0] + ".evaluation.json", json.dumps(report, indent=2).encode())
