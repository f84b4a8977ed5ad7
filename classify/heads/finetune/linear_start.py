"""The hyperplanes that fine-tuning starts from: the logistic regression that does best on the pooled features."""

import numpy as np
from numpy.typing import NDArray

from cache.errors import log
from classify.data.group_split import inner_folds_of_groups
from classify.data.inner_split import hold_several
from classify.data.split import GroupedFolds, Indices
from classify.heads.base import ClassWeight
from classify.heads.head_table import search_grid
from classify.heads.linear import LogRegHead
from classify.heads.numerics import Floats
from classify.hyperparameter_search import SEARCH_FOLDS, held_out_scores, nearest_of_best

DEFAULT_C = LogRegHead().C


def linear_start(
    features: Floats, y: NDArray[np.str_], C: float, class_weight: ClassWeight, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """(kernel (d, k), bias (k,)) of a logistic regression on pooled features (n, K, d) of pictures of K views.

    weights: (n,), the `sample_weight` of the pictures.
    """
    fitted = LogRegHead(C=C, class_weight=class_weight).fit(features, y, sample_weight=weights)
    kernel, bias = fitted.coef_.T, fitted.intercept_
    if kernel.shape[1] == 1:  # of two classes the second
        kernel, bias = np.column_stack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
    return kernel, bias


def best_C(features: Floats, y: NDArray[np.str_], groups: Indices, class_weight: ClassWeight) -> float:
    """The C that a search of `logreg` by accuracy takes for features (n, d), see `nearest_of_best`.

    By accuracy, not by log loss: on easy pictures that is the default C. The least loss is there that of planes so
    confident that hardly a gradient is left to learn from.

    In 5 folds that split no group (`groups`, (n,)), fewer where a class has fewer different pictures. A class with a
    single one cannot be held out: then the default is taken.
    """
    labels = np.unique(y, return_inverse=True)[1]
    if hold_several(labels, groups):
        splits = inner_folds_of_groups(labels, groups, SEARCH_FOLDS, 0)
    else:
        different = np.bincount(labels[np.unique(groups, return_index=True)[1]], minlength=labels.max() + 1)
        k = min(SEARCH_FOLDS, int(different.min()))
        splits = [*GroupedFolds(k).split(None, y, groups)] if k > 1 else []
    if not splits:
        log.info("no search of C for the start: a class has a single picture that is no copy")
        return DEFAULT_C
    grid = search_grid("logreg")
    candidates = [{"C": C} for C in grid["C"]]
    head = LogRegHead(class_weight=class_weight)
    answers = head.path_probabilities(features, y, grid["C"], splits)
    scores, _ = held_out_scores(answers, len(candidates), y, splits, "accuracy")
    return candidates[nearest_of_best(candidates, scores, grid, head.get_params())]["C"]
