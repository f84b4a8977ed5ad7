"""The hyperplanes that fine-tuning starts from: the logistic regression that does best on the pooled features."""

import numpy as np
from numpy.typing import NDArray

from classify.base import ClassWeight
from classify.heads import search_grid
from classify.linear import LogRegHead
from classify.numerics import Floats
from classify.split import GroupedFolds, Indices

FOLDS = 5
C_OF_FEW = 10.0  # where a class has a single picture, and nothing can be held out


def linear_start(
    features: Floats, y: NDArray[np.str_], groups: Indices, C: float | None, class_weight: ClassWeight
) -> tuple[Floats, Floats, float]:
    """(kernel (d, k), bias (k,), C) of a logistic regression on pooled features (n, K, d) of pictures of K views.

    y, groups: (n,), equal values of `groups` for copies of one picture. C: None for the best of a search.
    """
    if C is None:
        C = best_C(features[:, 0], y, groups, class_weight)
    ((kernel, bias),) = LogRegHead(C=C, class_weight=class_weight).fit(features, y).arrays().layers
    if kernel.shape[1] == 1:  # of two classes the second
        kernel, bias = np.column_stack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
    return kernel, bias, C


def best_C(features: Floats, y: NDArray[np.str_], groups: Indices, class_weight: ClassWeight) -> float:
    """The C among those that a search of `logreg` tries which is most often right about features (n, d) held out.

    In 5 folds that part no copies, fewer where a class has fewer different pictures; the smallest of equals.
    """
    labels = np.unique(y, return_inverse=True)[1]
    different = np.bincount(labels[np.unique(groups, return_index=True)[1]], minlength=labels.max() + 1)
    if different.min() < 2:
        return C_OF_FEW
    values: list[float] = search_grid("logreg")["C"]
    splits = GroupedFolds(min(FOLDS, int(different.min()))).split(None, y, groups)
    accuracies = LogRegHead(class_weight=class_weight).path_accuracies(features, y, values, splits)
    return values[int(accuracies.mean(axis=1).argmax())]
