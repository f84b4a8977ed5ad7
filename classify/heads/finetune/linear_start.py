"""The hyperplanes that fine-tuning starts from: the logistic regression that does best on the pooled features."""

import logging

import numpy as np
from numpy.typing import NDArray

from classify.data.split import GroupedFolds, Indices
from classify.heads.base import ClassWeight
from classify.heads.head_table import search_grid
from classify.heads.linear import LogRegHead
from classify.heads.numerics import Floats
from classify.search import SEARCH_FOLDS, candidates_of, held_out_scores, nearest_of_best

log = logging.getLogger("bottleneck")

USUAL_C = LogRegHead().C


def linear_start(features: Floats, y: NDArray[np.str_], C: float, class_weight: ClassWeight) -> tuple[Floats, Floats]:
    """(kernel (d, k), bias (k,)) of a logistic regression on pooled features (n, K, d) of pictures of K views."""
    ((kernel, bias),) = LogRegHead(C=C, class_weight=class_weight).fit(features, y).arrays().layers
    if kernel.shape[1] == 1:  # of two classes the second
        kernel, bias = np.column_stack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
    return kernel, bias


def best_C(features: Floats, y: NDArray[np.str_], groups: Indices, class_weight: ClassWeight) -> float:
    """The C that a search of `logreg` by accuracy takes for features (n, d), see `classify.search.nearest_of_best`.

    By accuracy, not by log loss: on easy pictures that is the usual C, where the least loss is that of planes so sure
    that little is left to be learnt from.

    In 5 folds that part no copies (`groups`, (n,)), fewer where a class has fewer different pictures; with a single one
    nothing can be held out, and the default is taken.
    """
    labels = np.unique(y, return_inverse=True)[1]
    different = np.bincount(labels[np.unique(groups, return_index=True)[1]], minlength=labels.max() + 1)
    if different.min() < 2:
        log.info("no search of C for the start: a class has a single picture that is no copy")
        return USUAL_C
    grid = search_grid("logreg")
    candidates = candidates_of(grid)
    head = LogRegHead(class_weight=class_weight)
    splits = [*GroupedFolds(min(SEARCH_FOLDS, int(different.min()))).split(None, y, groups)]
    answers = head.path_probabilities(features, y, grid["C"], splits)
    scores, _ = held_out_scores(answers, len(candidates), y, splits, "accuracy")
    chosen: float = candidates[nearest_of_best(candidates, scores, grid, head.get_params())]["C"]
    return chosen
