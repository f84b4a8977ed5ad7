"""Fit a head on some pictures of a dataset, and what is kept of these to find outliers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from classify.data.dataset import Dataset
from classify.data.grouping import Grouping
from classify.data.split import Indices
from classify.heads.head_table import fit_head, make_head
from classify.hyperparameter_search import search_head
from classify.labels.label_options import DEFAULT_SCORING
from classify.scoring.outliers import OutlierDetector
from classify.scoring.scorers import Scoring


def fit_on(
    data: Dataset,
    rows: np.ndarray,
    groups: Grouping,
    head: str,
    params: dict[str, Any],
    seed: int,
    search: bool,
    tell: Callable[[int, int], None] = lambda *_: None,
    scoring: str | Scoring = DEFAULT_SCORING,
    validation: Indices | None = None,
    n_jobs: int | None = 1,
) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """Fit `head` on the pictures `rows` (m,) of `data`, by a search among these alone if `search`.

    groups: of all pictures; neither the search nor the head itself parts one. Returns (fitted estimator, parameters
    that the search chose, one row for each candidate of the search, as `search_head` has it). `tell` is called with the
    fits of the search, (done, total). validation: what the fit is validated on in place of a part of its own pictures,
    see `classify.heads.base.FeatureHead.fit`; it has no part in the search. n_jobs: how many
    folds of the search run at once, None for one a core.
    """
    if data.tail:
        params = params | {"tail": data.tail}
    labels = data.labels[rows]
    watched = None if validation is None else (data.scored(validation), data.labels[validation])
    if search:
        views: tuple[int | None, int | None] = (data.views, data.predict_views) if data.has_views else (None, None)
        features, of_rows = data.features[rows], groups.of(rows)
        return search_head(head, params, seed, features, labels, of_rows, *views, tell, scoring, watched, n_jobs)
    estimator = make_head(head, params, seed)
    return fit_head(estimator, data.fitted(rows), labels, groups.numbers[rows], watched), {}, []


def outlier_detector(data: Dataset, rows: np.ndarray, groups: Grouping) -> OutlierDetector | None:
    """What finds pictures unlike those of `rows`; None of maps.

    Of near-duplicates one counts. Of named groups every picture does, and is compared with those of other groups: what
    is promised then holds for pictures of a new group.
    """
    if data.tail:
        return None
    if not groups.named:
        return OutlierDetector.of(data.originals(rows), groups.numbers[rows])
    duplicates, _ = data.duplicates(rows)
    return OutlierDetector.of(data.originals(rows), duplicates, groups.numbers[rows])
