"""Accuracy, log loss and training time of every head, by cross-validation over several draws of the folds.

    python -m pipeline cache export --data photos --output photos.h5
    python benchmarks/accuracy/heads.py photos.h5 [more.h5 ...] [--heads logreg,svm] [--seeds 3] [--head-params 'C=1.0']

A file holds `features` (n, d) and `labels` (n,). The folds do not keep copies of one picture together.
"""

import argparse
import time

import h5py
import numpy as np
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from classify.heads.head_table import HEADS, fit_head, make_head, parse_params


def main() -> None:
    """Print one row for each file and head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="HDF5 files written by `cache export`")
    parser.add_argument(
        "--heads",
        default=",".join(name for name, row in HEADS.items() if not row.maps),
        help="names of heads, parted by commas",
    )
    parser.add_argument("--head-params", default="", help="parameters for every head that is tried")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3, help="how many draws of the folds")
    options = parser.parse_args()
    params = parse_params(options.head_params)
    print(f"{'file':24} {'head':10} {'accuracy':>8} {'+-':>6} {'lowest':>7} {'log loss':>9} {'s a fit':>8}")
    for path in options.files:
        with h5py.File(path) as file:
            features, labels = file["features"][:], file["labels"].asstr()[:]
        features = features.reshape(len(features), -1)
        for head in options.heads.split(","):
            runs = [cross_validate(head, params, features, labels, options.folds, s) for s in range(options.seeds)]
            accuracy, loss, seconds = np.array(runs).T
            print(
                f"{path[-24:]:24} {head:10} {accuracy.mean():8.4f} {accuracy.std():6.4f} {accuracy.min():7.4f} "
                f"{loss.mean():9.4f} {np.median(seconds):8.3f}",
                flush=True,
            )


def cross_validate(
    head: str, params: dict, features: np.ndarray, labels: np.ndarray, folds: int, seed: int
) -> tuple[float, float, float]:
    """(accuracy, log loss, seconds for one fit) of out-of-fold predictions for all rows."""
    classes = np.unique(labels)
    probabilities = np.empty((len(labels), len(classes)))
    seconds = 0.0
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, labels):
        start = time.perf_counter()
        estimator = fit_head(make_head(head, params, seed), features[train], labels[train])
        seconds += time.perf_counter() - start
        probabilities[test] = estimator.predict_proba(features[test])
    accuracy = float(np.mean(classes[probabilities.argmax(axis=1)] == labels))
    return accuracy, float(log_loss(labels, probabilities)), seconds / folds


if __name__ == "__main__":
    main()
