"""Tune a head by cross-validation: every candidate of its grid is scored on pictures that it was not fitted on.

Of candidates that are as good as the best, the one nearest to the head's defaults is taken. On easy pictures all are as
good, and the probabilities of the first would be far too unsure or too sure.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.errors import UserError, log
from cache.stored_rows import Rows
from classify.data.grouping import Grouping
from classify.data.split import Split
from classify.heads.head_table import fit_head, make_head, search_grid
from classify.heads.numerics import Floats
from classify.labels.label_options import DEFAULT_SCORING
from classify.scoring.parallel_folds import in_parallel, jobs_for
from classify.scoring.scorers import Scoring, score_by

if TYPE_CHECKING:
    from classify.heads.base import Validation

SEARCH_FOLDS = 5

Grid = dict[str, list[Any]]


def search_head(
    head: str,
    params: dict[str, Any],
    seed: int,
    features: Rows,
    labels: np.ndarray,
    groups: Grouping,
    views: int | None = None,
    predict_views: int | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
    scoring: str | Scoring = DEFAULT_SCORING,
    validation: "Validation | None" = None,
    n_jobs: int | None = 1,
) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """Tune `head` by cross-validation in 5 folds that never split a group, and fit it with the best values.

    features: (n, d) or (n, V, d); labels: (n,). views: how many of the V views are fitted on; predict_views:
    how many decide about held-out pictures; by default all. `progress` is called with (fits done, fits in all).
    scoring: a scorer of scikit-learn that `classify.scoring.scorers.check_scoring` accepts. validation: what the last
    fit is validated on, see `classify.heads.base.FeatureHead.fit`; it has no part in the search. n_jobs: how many folds
    run at once, None for one a core; not more than one where TensorFlow trains or rows stay on the disk.

    Returns (fitted estimator, parameters that were chosen by `nearest_of_best`, a row for each candidate: its
    parameters; mean and deviation of its score, and its score in each fold, None where that is not defined; the mean of
    its accuracy; whether it was chosen). Raises UserError where nothing is left to search.
    """
    from sklearn.model_selection import ParameterGrid

    estimator = make_head(head, params, seed)
    grid = {name: values for name, values in search_grid(head).items() if name not in params}
    if not grid:
        raise UserError(f"nothing to search: every parameter that --search tunes for {head} is given in --head-params")
    splits = groups.search_folds(labels, SEARCH_FOLDS, seed)
    candidates = [*ParameterGrid(grid)]
    of_heads = groups.numbers
    jobs = jobs_for(head, params, features, labels, n_jobs)
    held_out = _held_out_probabilities(
        estimator, candidates, features, labels, of_heads, splits, views, predict_views, jobs
    )
    scores, accuracies = held_out_scores(held_out, len(candidates), labels, splits, scoring, progress)
    chosen = nearest_of_best(candidates, scores, grid, estimator.get_params())
    table = [
        {
            "params": candidate,
            "score": float(np.nanmean(of)),
            "std": float(np.nanstd(of)),
            "scores": [score if np.isfinite(score) else None for score in of.tolist()],
            "accuracy": float(accuracy.mean()),
            "chosen": number == chosen,
        }
        for number, (candidate, of, accuracy) in enumerate(zip(candidates, scores, accuracies, strict=True))
    ]
    estimator.set_params(**candidates[chosen])
    fitted = fit_head(estimator, features[:, :views], labels, of_heads, validation)
    return fitted, candidates[chosen], table


def held_out_scores(
    held_out: Iterable[tuple[int, int, Floats]],
    candidates: int,
    labels: np.ndarray,
    splits: list[Split],
    scoring: str | Scoring = DEFAULT_SCORING,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[Floats, Floats]:
    """Scores and accuracies of candidates on the pictures held out in each fold: (candidates, folds) each.

    held_out: (index of the fold, index of the candidate, probabilities (m, k)). labels: (n,). A fold in which the
    score of a candidate is not defined (some are not where a class has no picture there) is NaN for all, as is
    announced. Raises UserError where no fold is left.
    """
    classes = np.unique(labels)
    scores, accuracies = np.empty((2, candidates, len(splits)))
    progress(0, scores.size)
    for done, (fold, number, probabilities) in enumerate(held_out, start=1):
        truth = labels[splits[fold][1]]
        scores[number, fold] = score_by(scoring, classes, truth, probabilities)
        accuracies[number, fold] = np.mean(classes[probabilities.argmax(axis=1)] == truth)
        progress(done, scores.size)
    undefined = ~np.isfinite(scores).all(axis=0)
    if undefined.all():
        raise UserError(f"scoring {str(scoring)!r} is not defined in any fold of these pictures: give another one")
    if undefined.any():
        log.warning(
            "scoring %r is not defined in %d of %d folds: the others decide", str(scoring), undefined.sum(), len(splits)
        )
        scores[:, undefined] = np.nan
    return scores, accuracies


def nearest_of_best(candidates: list[dict[str, Any]], scores: Floats, grid: Grid, defaults: dict[str, Any]) -> int:
    """The index of the candidate to take: of those as good as the best, the nearest to the defaults.

    scores: (candidates, folds), the higher the better, NaN in folds that do not count. As good as the best are those
    whose mean is within one standard error of its mean: the rule of Breiman et al., "Classification and Regression
    Trees", 1984. How near a candidate is to the defaults (parameters of the head, among the values of the grid) is
    counted in steps in the grid, over all parameters; of equally near ones the better is taken.
    """
    counted = scores[:, np.isfinite(scores).all(axis=0)]
    mean, folds = counted.mean(axis=1), counted.shape[1]
    best = mean.argmax()
    error = counted[best].std(ddof=1) / np.sqrt(folds) if folds > 1 else 0.0
    steps = [
        sum(abs(values.index(candidate[name]) - values.index(defaults[name])) for name, values in grid.items())
        for candidate in candidates
    ]
    as_good = np.flatnonzero(mean >= mean[best] - error)
    return int(min(as_good, key=lambda number: (steps[number], -mean[number])))


def _held_out_probabilities(
    estimator: Any,
    candidates: list[dict[str, Any]],
    features: Rows,
    labels: np.ndarray,
    groups: np.ndarray,
    splits: list[Split],
    views: int | None,
    predict_views: int | None,
    n_jobs: int,
) -> Iterator[tuple[int, int, Floats]]:
    """Probabilities of the pictures held out in each fold, by every candidate, see `held_out_scores`.

    A candidate whose solver stopped early is announced only if it is chosen, by the fit that follows.
    """
    from sklearn.base import clone

    from classify.heads.solver.regularisation_path import PathHead

    if isinstance(estimator, PathHead) and {*candidates[0]} == {estimator.walked}:
        values = [candidate[str(estimator.walked)] for candidate in candidates]
        yield from estimator.path_probabilities(features, labels, values, splits, views, predict_views, n_jobs)
        return
    classes = np.unique(labels)

    def answers(task: tuple[int, int]) -> tuple[int, int, Floats]:
        fold, number = task
        train, held_out = splits[fold]
        fitted = clone(estimator).set_params(**candidates[number])
        fitted.learn(features[train, :views], labels[train], groups[train])
        found = np.zeros((len(held_out), len(classes)))  # a class without a training picture keeps 0
        found[:, np.searchsorted(classes, fitted.classes_)] = fitted.predict_proba(features[held_out, :predict_views])
        return fold, number, found

    yield from in_parallel(answers, [*np.ndindex(len(splits), len(candidates))], n_jobs)
