"""Scores as CSV files beside the model file."""

import csv
import io
import os

from cache.atomic import write_atomically
from classify.metrics import Scores


def write_tables(model: str, infix: str, scores: Scores) -> list[str]:
    """Write MODEL{infix}.classes.csv and MODEL{infix}.confusion.csv (UTF-8); returns their paths."""
    stem = os.path.splitext(model)[0] + infix
    tables = {f"{stem}.classes.csv": scores.class_rows(), f"{stem}.confusion.csv": scores.confusion_rows()}
    for path, rows in tables.items():
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        write_atomically(path, text.getvalue().encode())
    return list(tables)
