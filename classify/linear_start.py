"""The hyperplanes that fine-tuning starts from: the logistic regression that does best on the pooled features."""

import logging

import numpy as np
from numpy.typing import NDArray

from classify.base import ClassWeight
from classify.heads import search_grid
from classify.linear import LogRegHead
from classify.numerics import Floats
from classify.split import GroupedFolds, Indices

log = logging.getLogger("bottleneck")

FOLDS = 5
USUAL_C = LogRegHead().C


def linear_start(features: Floats, y: NDArray[np.str_], C: float, class_weight: ClassWeight) -> tuple[Floats, Floats]:
    """(kernel (d, k), bias (k,)) of a logistic regression on pooled features (n, K, d) of pictures of K views."""
    ((kernel, bias),) = LogRegHead(C=C, class_weight=class_weight).fit(features, y).arrays().layers
    if kernel.shape[1] == 1:  # of two classes the second
        kernel, bias = np.column_stack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
    return kernel, bias


def best_C(features: Floats, y: NDArray[np.str_], groups: Indices, class_weight: ClassWeight) -> float:
    """The C among those that a search of `logreg` tries that is most often right about features (n, d) held out.

    Of those as good as the best, by less than its standard error, it is the nearest to the default of `logreg`: on easy
    pictures all are equally right, and the smallest would start from planes that hardly decide. The rule is that of
    Breiman et al., "Classification and Regression Trees", 1984. In 5 folds that part no copies (`groups`, (n,)), fewer
    where a class has fewer different pictures; with a single one nothing can be held out, and the default is taken.
    """
    labels = np.unique(y, return_inverse=True)[1]
    different = np.bincount(labels[np.unique(groups, return_index=True)[1]], minlength=labels.max() + 1)
    if different.min() < 2:
        log.info("no search of C for the start: a class has a single picture that is no copy")
        return USUAL_C
    values: list[float] = search_grid("logreg")["C"]
    count = min(FOLDS, int(different.min()))
    splits = GroupedFolds(count).split(None, y, groups)
    accuracies = LogRegHead(class_weight=class_weight).path_accuracies(features, y, values, splits)
    mean, error = accuracies.mean(axis=1), accuracies.std(axis=1, ddof=1) / np.sqrt(count)
    best = mean.argmax()
    as_good = [value for value, found in zip(values, mean, strict=True) if found >= mean[best] - error[best]]
    return min(as_good, key=lambda value: abs(np.log(value / USUAL_C)))
