"""Honest probabilities for heads that only decide: a temperature fitted on decisions about held-out pictures.

Decisions about the pictures that a head was fitted on look surer than they are, so each picture is decided by a
copy of the head that has not seen it. Exact duplicates may lie on both sides of these inner folds; a set with many
of them gives probabilities that are a little too sure. The decisions themselves are not changed by a temperature,
nor is a `class_weight` undone.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedKFold

from cache.errors import UserError
from classify.base import Labels, Seed
from classify.numerics import Floats, by_class
from classify.pictures import as_pictures

# Fits the head on the pictures numbered by the first argument, and decides about the views of those numbered by the
# second: (m * K, outputs), those of a picture side by side.
Decide = Callable[[np.ndarray, np.ndarray], Floats]

INNER_FOLDS = 5


def out_of_fold_temperature(decide: Decide, labels: Labels, weights: Floats, seed: Seed) -> float:
    """The temperature of a head, from decisions about pictures that it was not fitted on; labels and weights are (n,).

    A picture's decisions are the means of those about its views. Uses 5 stratified folds, fewer where the smallest
    class has fewer pictures. Raises UserError for a class with one picture.
    """
    smallest = np.bincount(labels).min()
    if smallest < 2:
        raise UserError(
            "probabilities of this head need at least 2 pictures of each class, and one class has 1: "
            "add pictures, or use the head logreg"
        )
    splitter = StratifiedKFold(min(INNER_FOLDS, smallest), shuffle=True, random_state=seed)
    decisions = np.empty((len(labels), labels.max() + 1))
    for train, held_out in splitter.split(labels, labels):
        decisions[held_out] = by_class(as_pictures(decide(train, held_out), len(held_out)).mean(axis=1))
    return fit_temperature(decisions, labels, weights)


def fit_temperature(decisions: Floats, labels: Labels, weights: Floats | None = None) -> float:
    """The temperature with the least cross-entropy of decisions (n, k) about labels (n,).

    Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. The targets are not 1 and
    0 but, after Platt ("Probabilistic Outputs for Support Vector Machines", 1999), (n + 1) / (n + 2) for the label
    and the rest in equal parts for the others, so that a few pictures, all decided rightly, do not make the head
    certain.
    """
    n, k = decisions.shape
    targets = np.full((n, k), 1 / (n + 2) / (k - 1))
    targets[np.arange(n), labels] = (n + 1) / (n + 2)
    spread = float(decisions.std()) or 1.0

    def loss(log_temperature: float) -> float:
        losses = -(targets * log_softmax(decisions / (spread * np.exp(log_temperature)), axis=1)).sum(axis=1)
        return float(np.average(losses, weights=weights))

    return spread * float(np.exp(minimize_scalar(loss, bounds=(-7, 7), method="bounded").x))
