"""Cross-validate one head on one dataset: its predictions out of fold, and what they cost."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from classify.data.dataset import Dataset
from classify.data.split import Split
from classify.heads.head_table import HEADS
from classify.heads.numerics import Floats
from classify.labels.label_options import DEFAULT_SCORING
from classify.saved.persist import save
from classify.scoring.metrics import Scores, score
from classify.scoring.outliers import OutlierDetector
from classify.train import fit_on, outlier_detector


@dataclass(frozen=True)
class Folds:
    """What is the same for all heads: groups (n,) of copies, the folds, whether each is searched, and by what."""

    groups: np.ndarray
    splits: list[Split]
    search: bool
    seed: int
    scoring: str = DEFAULT_SCORING


@dataclass(frozen=True)
class HeldOut:
    """Scores over all pictures, each decided by the fit without its fold. bytes: of the model file and its arrays.

    probabilities: (n, k), columns in the order of `scores.classes`. right: (n,) bool.

    Each of `folds` has: accuracy, of the pictures held out; train_seconds, of the fit, a search included;
    predict_seconds, of one picture, its row being there, all of the fold predicted at once and the head warm; params,
    what the search has chosen among the other folds' pictures; search, its table as
    `classify.hyperparameter_search.search_head` has it.
    """

    scores: Scores
    probabilities: Floats
    right: np.ndarray
    folds: list[dict[str, Any]]
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """As JSON types; seconds are medians over the folds, which are beside them."""
        scores = self.scores.to_json()
        return {
            **{name: scores[name] for name in ("n", "accuracy", "accuracy_interval", "log_loss", "per_class")},
            **{
                name: float(np.median([fold[name] for fold in self.folds]))
                for name in ("train_seconds", "predict_seconds")
            },
            "bytes": self.bytes,
            "folds": self.folds,
        }


def held_out(
    data: Dataset,
    head: str,
    folds: Folds,
    record: dict[str, Any],
    fold_done: Callable[[int], None] = lambda _: None,
    search_progress: Callable[[int, int], None] = lambda *_: None,
) -> HeldOut:
    """Fit `head` with its defaults on each fold of `data` and score it on the rest.

    record: what a model's record says of its features, for its size. `fold_done` is called with the number of folds
    that are done, `search_progress` with the fits of a search, (done, total). Raises what the head raises.
    """
    classes, counts = np.unique(data.labels, return_counts=True)
    probabilities = np.empty((len(data.labels), len(classes)))
    done: list[dict[str, Any]] = []
    silent = {"verbose": 0} if HEADS[head].maps else {}  # a line an epoch is too much of so many fits
    searched = head, silent, folds.seed, folds.search, search_progress, folds.scoring
    for train, test in folds.splits:
        start = time.perf_counter()
        estimator, params, table = fit_on(data, train, folds.groups, *searched)
        train_seconds = time.perf_counter() - start
        rows = data.scored(test)
        estimator.predict_proba(rows[:1])
        start = time.perf_counter()
        probabilities[test] = estimator.predict_proba(rows)
        predict_seconds = (time.perf_counter() - start) / len(test)
        right = classes[probabilities[test].argmax(axis=1)] == data.labels[test]
        fold = {"accuracy": float(right.mean()), "train_seconds": train_seconds, "predict_seconds": predict_seconds}
        done.append(fold | {"params": params, "search": table})
        fold_done(len(done))
    predicted = classes[probabilities.argmax(axis=1)]
    counted = [int((data.labels[train] == name).sum()) for name in classes]
    about = {"head": head, "head_params": params, "training_counts": counted, "metrics": {}, **record}
    return HeldOut(
        scores=score(data.labels, predicted, probabilities, classes, training_counts=counts),
        probabilities=probabilities,
        right=predicted == data.labels,
        folds=done,
        bytes=_saved_bytes(estimator, data.digests[train], about, outlier_detector(data, train, folds.groups)),
    )


def _saved_bytes(
    estimator: Any, trained_on: np.ndarray, record: dict[str, Any], outliers: OutlierDetector | None
) -> int:
    """Bytes of what a model of this estimator is on disk: the model file and its arrays."""
    with tempfile.TemporaryDirectory() as folder:
        save(os.path.join(folder, "model.joblib"), estimator, trained_on, record, outliers)
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name in ("model.joblib", "model.npz"))
