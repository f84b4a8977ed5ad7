"""Do the engines agree, and what does bfloat16 cost: a Markdown table, one row for each set of photographs.

    python benchmarks/accuracy/engines.py FOLDER --weights FILE

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`. Features of OpenVINO and of TensorFlow, both in
float32, each in a cache of its own: the smallest cosine between the two rows of a picture, and how many pictures of a
set are given another label by the default logistic regression, each while it is held out of the five folds: fitted on
the rows of the one engine, applied to those of both. Accuracy in float32 and in bfloat16 as in accuracy.py: on the
set's own split, else in five folds; bfloat16 only where the processor has it.
"""

import argparse
import datetime
import os
import tempfile
from typing import Any

import h5py
import numpy as np
from heads_on_sets import SETS
from sklearn.model_selection import StratifiedKFold

import pipeline
from classify.heads.head_table import fit_head, make_head
from featurize.engines.openvino_engine import has_bf16

ENGINES = {"openvino": {"engine": "openvino"}, "tensorflow": {"engine": "tensorflow"}}
HALF = {"engine": "openvino", "precision": "bf16"}
HEADINGS = ["set", "photographs", "smallest cosine", "other labels", "float32", "bfloat16", "difference", "bf16 cosine"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights")
    parser.add_argument("--sets", default=",".join(SETS), help="names of sets, parted by commas")
    given = parser.parse_args()
    spec = {"backbone": given.backbone, "weights": given.weights}
    half = has_bf16()
    print(f"{given.backbone}, {datetime.date.today()}\n")
    print(f"| {' | '.join(HEADINGS)} |")
    print("|---" * len(HEADINGS) + "|")
    with tempfile.TemporaryDirectory() as caches:
        for name in given.sets.split(","):
            cells = compare(os.path.join(given.folder, name), SETS[name], spec, caches, half=half)
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def compare(data: str, options: dict[str, Any], spec: dict[str, Any], caches: str, half: bool) -> list[str]:
    """The cells of one set's row."""
    labels = {name: value for name, value in options.items() if name != "cv"}
    rows = {
        name: features(data, os.path.join(caches, name), spec | engine | labels) for name, engine in ENGINES.items()
    }
    one, y = rows["openvino"]
    other, _ = rows["tensorflow"]
    cells = [str(len(y)), f"{smallest_cosine(one, other):.9f}", str(other_labels(one, other, y))]
    full = accuracy(data, os.path.join(caches, "openvino"), spec | ENGINES["openvino"] | options)
    cells.append(f"{full:.4f}")
    if half:
        halved = accuracy(data, os.path.join(caches, "half"), spec | HALF | options)
        low, _ = features(data, os.path.join(caches, "half"), spec | HALF | labels)
        return [*cells, f"{halved:.4f}", f"{halved - full:+.4f}", f"{smallest_cosine(one, low):.5f}"]
    return [*cells, "-", "-", "-"]


def features(data: str, cache: str, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) float32 and labels (n,) of str of all labelled pictures of a set."""
    with tempfile.TemporaryDirectory() as folder:
        exported = os.path.join(folder, "features.h5")
        pipeline.export(data, exported, cache_dir=cache, **options)
        with h5py.File(exported) as file:
            return file["features"][:].astype(np.float32), file["labels"].asstr()[:].astype(str)


def accuracy(data: str, cache: str, options: dict[str, Any]) -> float:
    """That of the default logistic regression, in five folds where the set has no split of its own."""
    with tempfile.TemporaryDirectory() as models:
        report = pipeline.train(data, cache_dir=cache, model=os.path.join(models, "logreg.joblib"), **options)
    return report["cv_accuracy"] or report["accuracy"]


def smallest_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Between the rows (n, d) of a picture, over all pictures; in float64, or its own rounding would show."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / norms).min())


def other_labels(one: np.ndarray, other: np.ndarray, labels: np.ndarray) -> int:
    """How many pictures get another label from `other` than from `one`, by heads fitted on `one` without them."""
    differences = 0
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(one, labels):
        head = fit_head(make_head("logreg"), one[train], labels[train])
        differences += int((head.predict(one[test]) != head.predict(other[test])).sum())
    return differences


if __name__ == "__main__":
    main()
