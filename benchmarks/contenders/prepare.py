"""Before any clock starts: tables of the pictures to take, 1% new ones, and a trained head for each way to predict.

Writes into the cache folder all.csv (the job's table); more.csv, the same and 1% mirrored pictures; grid.csv and
slow.csv, every nth of all; and the heads ours.joblib and tutorials.joblib, fitted on the same features. Without data:
the photographs of `classify.data.surfaces`.
"""

import csv
import os
from collections.abc import Sequence
from typing import Any

import h5py
import joblib
from job import answer, read_job
from PIL import Image, ImageOps

import pipeline
from classify.data.surfaces import surfaces_folder
from classify.labels.read_labels import read_labels

GRID = 100  # pictures
SLOW = 64  # pictures for those that take a second for a few

Rows = Sequence[tuple[str, str]]  # of (path, label)


def main() -> None:
    job = read_job()
    data = job.data or surfaces_folder(os.path.join(job.cache_dir, "surfaces"))
    found = read_labels(data, label_pattern=job.label_pattern)
    rows = list(zip(map(os.path.abspath, found.paths), found.labels, strict=True))
    if job.limit:
        rows = _spread(rows, job.limit)
    write_table(job.table, rows)
    spec = job.spec | {"cache_dir": job.cache_dir, "labels": job.table}
    pipeline.train(head="logreg", model=os.path.join(job.cache_dir, "ours.joblib"), **spec)
    _tutorials_head(job.cache_dir, spec)
    mirrored = _mirrored(_spread(rows, max(1, len(rows) // 100)), os.path.join(job.cache_dir, "mirrored"))
    tables = {"more": [*rows, *mirrored], "grid": _spread(rows, GRID), "slow": _spread(rows, SLOW)}
    for name, chosen in tables.items():
        write_table(os.path.join(job.cache_dir, f"{name}.csv"), chosen)
    answer(job, all=len(rows), **{name: len(chosen) for name, chosen in tables.items()})


def write_table(path: str, rows: Rows) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])


def _spread(rows: Rows, count: int) -> Rows:
    """`count` of the rows, or all, evenly from the first to the last."""
    return [rows[position * len(rows) // count] for position in range(count)] if count < len(rows) else rows


def _mirrored(rows: Rows, folder: str) -> Rows:
    os.makedirs(folder, exist_ok=True)
    result = []
    for number, (path, label) in enumerate(rows):
        result.append((os.path.join(folder, f"{number:04}.jpg"), label))
        with Image.open(path) as picture:
            ImageOps.mirror(picture.convert("RGB")).save(result[-1][0], quality=90)
    return result


def _tutorials_head(folder: str, spec: dict[str, Any]) -> None:
    """A scikit-learn estimator, pickled, as the tutorials keep it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    exported = os.path.join(folder, "features.h5")
    pipeline.export(None, exported, **spec)
    with h5py.File(exported) as file:
        head = make_pipeline(Normalizer(), LogisticRegression(max_iter=1000))
        head.fit(file["features"][:], file["labels"].asstr()[:])
    joblib.dump(head, os.path.join(folder, "tutorials.joblib"))


if __name__ == "__main__":
    main()
