"""Fit a head on cached features and score it honestly: split, search, fit, score, cross-validate, refit."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from cache.errors import log
from classify.data.dataset import Dataset
from classify.data.duplicates import announce_duplicates
from classify.data.split import enough_groups, folds, holdout
from classify.heads.head_table import fit_head, make_head
from classify.hyperparameter_search import SEARCH_FOLDS, search_head
from classify.labels.label_options import DEFAULT_SCORING
from classify.scoring.metrics import Leaked, Scores, score
from classify.scoring.outliers import OutlierDetector
from featurize.extract.outcome import Progress


@dataclass
class Training:
    """A fitted head and how it did on pictures that it was not fitted on."""

    estimator: Any
    scores: Scores
    head_params: dict[str, Any]
    training_counts: list[int]  # pictures of each class that it was scored after
    trained_on: np.ndarray  # digests (n, 32) of the pictures that the estimator was fitted on
    leaked: Leaked  # scored pictures that are in the training part too, or near-duplicates of some there
    outliers: OutlierDetector | None = None  # None of maps
    validation_accuracy: float | None = None
    cv_scores: list[float] = field(default_factory=list)
    scoring: str | None = None  # what a search went by
    search_table: list[dict[str, Any]] = field(default_factory=list)
    cv_search: list[list[dict[str, Any]]] = field(default_factory=list)  # the table of the search in each fold
    history: dict[str, list[float]] | None = None  # of heads that learn by epochs: values after each
    seconds: dict[str, float] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Scores and circumstances as JSON types. cv_accuracy, cv_std: mean and standard deviation over the folds."""
        return {
            **self.scores.to_json(),
            **self.leaked.to_json(),
            "head_params": self.head_params,
            "validation_accuracy": self.validation_accuracy,
            "cv_accuracy": float(np.mean(self.cv_scores)) if self.cv_scores else None,
            "cv_std": float(np.std(self.cv_scores)) if self.cv_scores else None,
            "cv_scores": self.cv_scores,
            "scoring": self.scoring,
            "search": self.search_table,
            "cv_search": self.cv_search,
            "history": self.history,
            "stage_seconds": self.seconds,
        }


def check_split(labels: Sequence[str], parts: Sequence[str], test_size: float, cv: int, seed: int) -> None:
    """Raise UserError, before features are computed, where the pictures cannot be split as requested.

    Every picture is taken for a different one here: `train_head` looks again, with the duplicates known.
    """
    chosen = np.array([label for label, part in zip(labels, parts, strict=True) if part in ("all", "train")])
    each = np.arange(len(chosen))
    if "all" in parts:
        holdout(chosen, each, test_size, seed)
    if cv:
        folds(chosen, each, cv, seed)


def train_head(
    data: Dataset,
    head: str,
    params: dict[str, Any],
    *,
    test_size: float = 0.2,
    seed: int = 0,
    cv: int = 0,
    search: bool = False,
    refit: bool = False,
    progress: Progress | None = None,
    scoring: str = DEFAULT_SCORING,
) -> Training:
    """Fit `head` on the training part of `data` and score it on the rest.

    The training part is the data's own `train`, else a stratified 1 - `test_size` of the pictures, near-duplicates kept
    together (see `classify.data.duplicates`), but in classes that would then be too small to be split. What the head
    itself holds out is held out with its near-duplicates, too.

    `cv` > 0 cross-validates as well, over all pictures or, under an own split, over `train` alone. `search` tunes
    the head by cross-validation inside whatever it is fitted on, so that no candidate sees a picture that is scored.
    `refit` fits the returned estimator once more, on all pictures, after it was scored. `progress` is called with
    the fits of each search.

    Raises UserError for parameters, shares and folds that cannot be used with these pictures.
    """
    seconds: dict[str, float] = {}
    own_split, everything = data.has_own_split, np.arange(len(data.labels))
    pool = data.own_train_part() if own_split else everything
    with _timed(seconds, "near-duplicates"):
        duplicates, exact = data.duplicates()
        # What is fitted on an own training part, and its folds, must not depend on what is scored.
        of_pool = data.duplicates(pool) if own_split else (duplicates, exact)
    announce_duplicates(duplicates, exact, data.paths)
    groups = duplicates.copy()
    needed = groups_needed(test_size, cv, search) if cv or search or not own_split else 0
    groups[pool] = enough_groups(data.labels[pool], *of_pool, needed)
    test_part = data.own_test_part() if own_split else "all"
    train, test = (pool, data.part(test_part)) if own_split else holdout(data.labels, groups, test_size, seed)
    leaking = np.isin(duplicates[test], duplicates[train])
    cv_folds = folds(data.labels[pool], groups[pool], cv, seed) if cv else []  # refused before anything is fitted
    searched = head, params, seed, search
    with _timed(seconds, "train"):
        estimator, best, table = fit_on(data, train, groups, *searched, stage_progress(progress, "search"), scoring)
        outliers = outlier_detector(data, train, groups)
    with _timed(seconds, "score"):
        counts = [int((data.labels[train] == name).sum()) for name in estimator.classes_]
        scores, leaked = score_part(estimator, data, counts, test, leaking)
    training = Training(
        estimator=estimator,
        scores=scores,
        head_params=params | best,
        training_counts=counts,
        trained_on=data.digests[train],
        leaked=leaked,
        outliers=outliers,
        scoring=scoring if search else None,
        search_table=table,
        history=getattr(estimator, "history_", None),
        seconds=seconds,
    )
    if test_part == "test" and len(validation := data.part("validation")):
        training.validation_accuracy = score_head(estimator, data, counts, validation).accuracy
    if cv:
        with _timed(seconds, "cross-validation"):
            for number, (inner_train, inner_test) in enumerate(cv_folds, start=1):
                tell = stage_progress(progress, f"search in fold {number} of {cv}")
                fitted, _, inner = fit_on(data, pool[inner_train], groups, *searched, tell, scoring)
                training.cv_search += [inner] if search else []
                held_out = pool[inner_test]
                right = fitted.predict(data.scored(held_out)) == data.labels[held_out]
                training.cv_scores.append(float(right.mean()))
    if refit:
        with _timed(seconds, "refit"):
            copies = duplicates if own_split else groups  # under an own split `groups` number each part for itself
            training.estimator, _, _ = fit_on(data, everything, copies, head, training.head_params, seed, search=False)
            training.outliers = outlier_detector(data, everything, duplicates)
        training.trained_on = data.digests
    return training


def groups_needed(test_size: float, cv: int, search: bool) -> int:
    """How many different pictures of each class the requested splits need."""
    if not search:
        return max(2, cv)
    kept = 1 - max(test_size, 1 / cv if cv else 0)  # of the pictures, when the search begins
    return max(2, cv, math.ceil((SEARCH_FOLDS + 1) / max(kept, 0.01)))


def score_part(
    estimator: Any, data: Dataset, training_counts: list[int], rows: np.ndarray, leaking: np.ndarray
) -> tuple[Scores, Leaked]:
    """Scores of a fitted head on all pictures `rows` (m,), and beside them what it gives without the leaking ones.

    leaking: (m,) bool, whether one is trained on as it is or has a near-duplicate that is; announced.
    """
    scores = score_head(estimator, data, training_counts, rows)
    if not leaking.any():
        return scores, Leaked()
    paths = [data.paths[i] for i in rows[leaking]]
    log.warning(
        "scored pictures that are near-duplicates of training pictures: %d, the first is %s", len(paths), paths[0]
    )
    without = None if leaking.all() else score_head(estimator, data, training_counts, rows[~leaking])
    return scores, Leaked(paths, without)


def score_head(estimator: Any, data: Dataset, training_counts: list[int], rows: np.ndarray) -> Scores:
    """Scores of a fitted head on `rows`; the number of training pictures of each class gives the baseline."""
    probabilities = estimator.predict_proba(data.scored(rows))
    classes = estimator.classes_
    predicted = classes[probabilities.argmax(axis=1)]
    return score(data.labels[rows], predicted, probabilities, classes, training_counts=training_counts)


def stage_progress(progress: Progress | None, stage: str) -> Callable[[int, int], None]:
    """`progress` for one stage: a function (done, total)."""
    return partial(progress, stage) if progress else lambda *_: None


def fit_on(
    data: Dataset,
    rows: np.ndarray,
    groups: np.ndarray,
    head: str,
    params: dict[str, Any],
    seed: int,
    search: bool,
    tell: Callable[[int, int], None] = lambda *_: None,
    scoring: str = DEFAULT_SCORING,
) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """Fit `head` on the pictures `rows` (m,) of `data`, by a search among these alone if `search`.

    groups: (n,), of all pictures; neither the search nor the head itself parts copies. Returns (fitted estimator,
    parameters that the search chose, one row for each candidate of the search, as `search_head` has it). `tell` is
    called with the fits of the search, (done, total).
    """
    if data.tail:
        params = params | {"tail": data.tail}
    labels = data.labels[rows]
    if search:
        views: tuple[int | None, int | None] = (data.views, data.predict_views) if data.has_views else (None, None)
        return search_head(head, params, seed, data.features[rows], labels, groups[rows], *views, tell, scoring)
    return fit_head(make_head(head, params, seed), data.fitted(rows), labels, groups[rows]), {}, []


def outlier_detector(data: Dataset, rows: np.ndarray, groups: np.ndarray) -> OutlierDetector | None:
    """What finds pictures unlike those of `rows`; None of maps."""
    return None if data.tail else OutlierDetector.of(data.originals(rows), groups[rows])


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
