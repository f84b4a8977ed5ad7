"""Heads that compare: with the nearest training pictures, with the mean of each class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.arguments import number, or_none, whole
from cache.errors import UserError, log
from classify.data.inner_split import hold_several
from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    NORMALIZE,
    ClassWeight,
    Examples,
    FeatureHead,
    Labels,
    parameter,
)
from classify.heads.calibrated import announce_parted, fit_temperature, held_out_temperature
from classify.heads.deciding_head import DecidingHead
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Floats, as_rows, by_row, unit_rows

# Beside its neighbours' votes every picture gets this much of a vote, spread in the proportions of the classes:
# without it a class with no neighbour would have probability 0.
PRIOR_VOTES = 0.5


@dataclass(eq=False, repr=False)
class KNNHead(FeatureHead):
    """The nearest training pictures, by cosine, vote; a nearer one has more weight.

    Parameters
    ----------
    n_neighbors : int
        How many vote; where there are fewer training pictures all of them do, with a warning. Of pictures with K views
        the nearest K * n_neighbors views vote, each with 1 / K of a vote.
    temperature : float, optional
        A vote weighs exp(cosine / temperature), as in Wu et al., "Unsupervised Feature Learning via Non-Parametric
        Instance Discrimination", CVPR 2018; None gives equal votes.
    class_weight : "balanced", dict of class: weight, optional
        Multiplies votes; its scale has no meaning.
    normalize : {"l2", "standard", "none"}
        What is done to a row first: length 1, mean 0 and deviation 1 of each feature, or nothing.

    Attributes
    ----------
    rows_, labels_, votes_ : arrays (n, d) float32, (n,), (n,)
        Of the n training views.
    prior_ : array (k,)
    n_neighbors_ : int
        How many views vote.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> head = KNNHead(n_neighbors=5).fit(X[:1000], y[:1000])
    >>> head.score(X[1000:], y[1000:]) > 0.9
    True
    """

    n_neighbors: int = parameter(15, whole(1))
    temperature: float | None = parameter(0.07, or_none(number(0, open_end=True)))
    class_weight: ClassWeight = parameter(None, CLASS_WEIGHT)
    normalize: str = parameter("l2", NORMALIZE)

    def _fit(self, training: Examples, groups: Indices, validation: Examples | None) -> None:  # noqa: ARG002
        # Holds nothing out.
        labels = training.labels
        votes = self._row_weights(self.class_weight, labels, training.weights)
        self.prior_ = np.bincount(labels, weights=votes) / len(labels)
        self.rows_, self.labels_, self.votes_ = by_row(unit_rows(training.pictures), labels, votes)
        self.n_neighbors_ = min(self.n_neighbors, len(labels)) * len(self.rows_) // len(labels)
        if self.n_neighbors > len(labels):
            log.warning("n_neighbors=%d, but all %d training pictures vote", self.n_neighbors, len(labels))

    def arrays(self) -> None:
        """None: predicting needs the training rows."""

    def _numbers_per_row(self) -> int:
        return max(self.rows_.shape)

    def _probabilities(self, rows: Floats) -> Floats:
        cosines = unit_rows(rows) @ self.rows_.T.astype(np.float64)
        nearest = np.argpartition(-cosines, self.n_neighbors_ - 1, axis=1)[:, : self.n_neighbors_]
        if self.temperature is None:
            weights = np.ones(nearest.shape)
        else:
            near = np.take_along_axis(cosines, nearest, axis=1)
            weights = np.exp((near - near.max(axis=1, keepdims=True)) / self.temperature)
            weights *= self.n_neighbors_ / weights.sum(axis=1, keepdims=True)
        votes = np.tile(PRIOR_VOTES * self.prior_, (len(rows), 1))
        np.add.at(votes, (np.arange(len(rows))[:, None], self.labels_[nearest]), weights * self.votes_[nearest])
        return votes / votes.sum(axis=1, keepdims=True)


@dataclass(eq=False, repr=False)
class CentroidHead(DecidingHead):
    """The class whose mean direction is nearest, by cosine; every class counts the same, whatever its size.

    Parameters
    ----------
    temperature : float, optional
        Probabilities are softmax(cosine / temperature). None fits it on decisions about each training picture by class
        means that leave it and its copies out.
    normalize : {"l2", "standard", "none"}
        What is done to a row first: length 1, mean 0 and deviation 1 of each feature, or nothing.

    Attributes
    ----------
    centroids_ : array (k, d)
        Of length 1.
    temperature_ : float

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> head = CentroidHead().fit(X[:1000], y[:1000])
    >>> head.score(X[1000:], y[1000:]) > 0.8
    True
    """

    temperature: float | None = parameter(None, or_none(number(0, open_end=True)))
    normalize: str = parameter("l2", NORMALIZE)

    @property
    def validates(self) -> str | None:
        return "the temperature of its probabilities" if self.temperature is None else None

    def _fit(self, training: Examples, groups: Indices, validation: Examples | None) -> None:
        rows, labels, weights = unit_rows(training.pictures), training.labels, training.weights
        if rows.ndim == 3:  # the cosine with their mean is the mean of the views' cosines
            rows = rows.mean(axis=1)
        sums = (np.eye(len(self.classes_))[:, labels] * weights) @ rows
        self.centroids_ = unit_rows(sums)
        if self.temperature is not None:
            self.temperature_ = float(self.temperature)
            return
        if validation:
            decided = unit_rows(as_rows(validation.pictures)) @ self.centroids_.T
            self.temperature_ = held_out_temperature(decided, validation.labels, validation.weights)
            return
        # A picture alone in its class cannot be left out of the class mean.
        paired = np.bincount(labels)[labels] > 1
        if not paired.any():
            raise UserError(
                "every class has a single picture, so no temperature can be fitted: "
                "add pictures, or give one, such as temperature=0.1"
            )
        apart = paired & _in_two_groups(labels, groups)[labels]  # nor can a class that one group has alone
        several = hold_several(labels, groups)
        if apart.any():
            paired = apart
        else:
            announce_parted()
            groups = np.arange(len(labels))
        rows, labels, groups, weights = rows[paired], labels[paired], groups[paired], weights[paired]
        cosines = rows @ self.centroids_.T
        shares = weights[:, None] * rows
        own = sums[labels] - shares
        for copies in _several(groups, labels):
            own[copies] = sums[labels[copies[0]]] - shares[copies].sum(axis=0)
        cosines[np.arange(len(own)), labels] = (rows * unit_rows(own)).sum(axis=1)
        different = len(labels) if several else len(np.unique(groups))
        self.temperature_ = fit_temperature(cosines, labels, weights, different)

    def arrays(self) -> ArrayHead:
        layer = self.centroids_.T, np.zeros(len(self.centroids_))
        return self._array_head([layer], self.temperature_, cosine=True)


def _in_two_groups(labels: Labels, groups: Indices) -> NDArray[np.bool_]:
    """Mask (k,) of the classes that have pictures in two groups or more. labels, groups: (n,)."""
    pairs = np.unique(np.column_stack([labels, groups]), axis=0)
    return np.bincount(pairs[:, 0]) > 1


def _several(groups: Indices, labels: Labels) -> list[Indices]:
    """The numbers of the pictures of each group and label (n,) that are more than one."""
    order = np.lexsort((labels, groups))
    ends = np.flatnonzero((np.diff(groups[order]) != 0) | (np.diff(labels[order]) != 0)) + 1
    return [members for members in np.split(order, ends) if len(members) > 1]
