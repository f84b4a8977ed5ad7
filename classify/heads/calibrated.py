"""Calibrated probabilities for heads that only decide: a temperature fitted on decisions about held-out pictures.

Decisions about pictures that a head was fitted on, or about copies of such pictures, are overconfident. So a clone of
the head decides about each picture, fitted on no picture of its group. A temperature changes no decision, and does not
undo a `class_weight`.

scikit-learn's `CalibratedClassifierCV(method="temperature")` finds the same temperature where some held-out decisions
are wrong: log loss 0.5466 and 0.5465 (svm), 0.5504 and 0.5505 (ridge) on 300 pictures of five kinds of flowers. Where
few pictures are all decided rightly its probabilities become 1: log loss 0.194 instead of 0.094 (svm), 0.203 instead of
0.094 (ridge) on 12 scanned digits of two classes. And it refits on features, not on the coordinates of the first fit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedKFold

from cache.errors import UserError, log
from classify.data.group_split import inner_folds_of_groups
from classify.data.inner_split import hold_several
from classify.data.split import Indices, Split
from classify.heads.base import Labels, Seed, generator
from classify.heads.numerics import Floats, as_pictures, by_class

# Fits the head on the pictures of the first index, and decides about those of the second: (m * K, outputs), the
# decisions about the views of a picture side by side.
Decide = Callable[[np.ndarray, np.ndarray], Floats]

INNER_FOLDS = 5


def out_of_fold_temperature(decide: Decide, y: NDArray[Any], groups: Indices, weights: Floats, seed: Seed) -> float:
    """The temperature of a head, from decisions about pictures of which it was fitted on no copy.

    y, groups, weights: (n,), groups as of `copies_by_first`. A picture's decisions are the means of those about its
    views. Uses 5 stratified folds of whole groups, fewer where the smallest class has fewer of them. A picture alone in
    its class, and a group that has a class alone, is in every training part, and is not decided about. Where that
    leaves none, each picture is taken for a group, which is announced: a set of much the same pictures is no reason not
    to train. Raises UserError where every class has a single picture.
    """
    labels = np.unique(y, return_inverse=True)[1]
    decisions = np.empty((len(labels), labels.max() + 1))
    several = hold_several(labels, groups)
    for kept in (groups, np.arange(len(labels))):
        splits = _folds_by_label(labels, kept, seed)
        if (several and kept is groups) or splits is None:
            splits = inner_folds_of_groups(labels, kept, INNER_FOLDS, generator(seed).randint(2**31 - 1))
        decided = _decide_in(splits, decide, decisions)
        if decided.any():
            different = int(decided.sum()) if several else len(np.unique(kept[decided]))
            return fit_temperature(decisions[decided], labels[decided], weights[decided], different)
        if np.bincount(labels).max() > 1 and kept is groups:
            announce_parted()
    raise UserError(
        "every class has a single picture, so no probabilities of this head can be fitted: "
        "add pictures, or use the head logreg"
    )


def announce_parted() -> None:
    """Say that probabilities are fitted without regard to groups."""
    log.warning(
        "every class of the training pictures is in one group (near-duplicates of each other, or a named group): their "
        "probabilities are fitted as if each picture were one, and may be too sure"
    )


def _folds_by_label(labels: Labels, groups: Indices, seed: Seed) -> list[Split] | None:
    """Stratified folds of whole groups, each of the label of its first picture; none of single pictures.

    None where a class of several pictures has fewer than two groups of its own.
    """
    originals = np.unique(groups)
    counts = np.bincount(labels[originals], minlength=labels.max() + 1)
    if ((counts < 2) & (np.bincount(labels) > 1)).any():
        return None
    originals = originals[counts[labels[originals]] > 1]
    if not len(originals):
        return []
    splitter = StratifiedKFold(min(INNER_FOLDS, counts[counts > 1].min()), shuffle=True, random_state=seed)
    drawn = [np.isin(groups, originals[chosen]) for _, chosen in splitter.split(originals, labels[originals])]
    return [(np.flatnonzero(~inside), np.flatnonzero(inside)) for inside in drawn]


def held_out_temperature(decisions: Floats, labels: Labels, weights: Floats) -> float:
    """The temperature of a head, from its decisions about n pictures that it was not fitted on.

    decisions: (n * K, outputs), of the views of a picture side by side; labels, weights: (n,).
    """
    return fit_temperature(by_class(as_pictures(decisions, len(labels)).mean(axis=1)), labels, weights)


def _decide_in(splits: list[Split], decide: Decide, decisions: Floats) -> NDArray[np.bool_]:
    """Put the decisions about held-out pictures into `decisions` (n, k); the mask (n,) of those decided about."""
    decided = np.zeros(len(decisions), bool)
    for train, held_out in splits:
        decisions[held_out] = by_class(as_pictures(decide(train, held_out), len(held_out)).mean(axis=1))
        decided[held_out] = True
    return decided


def fit_temperature(
    decisions: Floats, labels: Labels, weights: Floats | None = None, different: int | None = None
) -> float:
    """The temperature with the least cross-entropy of decisions (n, k) about labels (n,).

    different: how many of the n pictures are no copies, by default all.

    Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. The targets are not 1 and
    0 but, after Platt ("Probabilistic Outputs for Support Vector Machines", 1999), (m + 1) / (m + 2) for the label
    and the rest in equal parts for the others, m being `different`, so that a few pictures, all decided rightly, do
    not make the head certain.
    """
    n, k = decisions.shape
    m = n if different is None else different
    targets = np.full((n, k), 1 / (m + 2) / (k - 1))
    targets[np.arange(n), labels] = (m + 1) / (m + 2)
    spread = float(decisions.std()) or 1.0

    def loss(log_temperature: float) -> float:
        losses = -(targets * log_softmax(decisions / (spread * np.exp(log_temperature)), axis=1)).sum(axis=1)
        return float(np.average(losses, weights=weights))

    return spread * float(np.exp(minimize_scalar(loss, bounds=(-7, 7), method="bounded").x))
