"""Logistic regression by stochastic gradient descent: also on features that do not fit into memory."""

from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from threadpoolctl import threadpool_limits

from cache.arguments import number, whole
from cache.stored_rows import Rows
from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    NORMALIZE,
    RANDOM_STATE,
    ClassWeight,
    Examples,
    Labels,
    Seed,
    generator,
    parameter,
)
from classify.heads.deciding_head import DecidingHead
from classify.heads.numerics import Floats, by_row, probabilities
from classify.heads.streaming import chunks, mapped, moments

# Of rows of mean square length 1 the loss has a curvature of at most about 1/2; steps up to 2 / (1/2) do not diverge.
STEP = 4.0
# Where no direction has all of that length, the first steps are up to so many times as long: see `_curvature`.
MOST_STEPS = 16.0
LEAST_DECAY = 1e-3  # by which such a step shrinks the weights, at most
# An epoch of many pictures, so many at C=10, lowers what is minimised by at least this share, or is the last one.
MANY, LEAST_GAIN = 6400, 0.01
SAMPLE = 2048  # pictures that the curvature and the loss are estimated from
POWER_STEPS = 20  # of the power iteration: an estimate that is a little too small does no harm
# The weights of the epochs count in their average as the 7th power of the epoch's number: Shamir and Zhang, "Stochastic
# gradient descent for non-smooth optimization", ICML 2013.
POWER = 7


@dataclass(eq=False, repr=False)
class SGDHead(DecidingHead):
    """Logistic regression, the model of `LogRegHead`, by mini-batches: softmax, L2 regularisation, averaged weights.

    Rows are centred: that changes nothing of the model (the intercept is not regularised), and training takes fewer
    epochs. Of pictures with K views a step takes all views of a batch of pictures. Stored rows are read once for their
    mean, once more before that with `normalize="standard"`, and then once an epoch. With `normalize="none"` a few rows
    that are a thousand times longer than the others make the steps too small for these.

    Parameters
    ----------
    C : float
        Inverse strength of the regularisation.
    class_weight : "balanced", dict of class: weight, optional
        As scikit-learn's, with the C of `LogRegHead`.
    max_iter : int
        The most epochs.
    tol : float
        Training stops when an epoch changes the averaged weights by less than this share of their length. Of 6,400
        pictures and more (at C=10) also when it lowers what is minimised by less than 1%.
    batch_size : int
        Pictures a step.
    normalize : {"l2", "standard", "none"}
        What is done to a row first: length 1, mean 0 and deviation 1 of each feature, or nothing.
    random_state : int or numpy RandomState, optional
        Decides the order of the pictures.

    Attributes
    ----------
    coef_, intercept_ : arrays (k, d) and (k,), or (1, d) and (1,) for two classes
    n_iter_ : int
        Epochs.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> head = SGDHead(random_state=0).fit(X[:1000], y[:1000])
    >>> head.score(X[1000:], y[1000:]) > 0.9
    True
    """

    C: float = parameter(10.0, number(0, open_end=True))
    class_weight: ClassWeight = parameter(None, CLASS_WEIGHT)
    max_iter: int = parameter(200, whole(1))
    tol: float = parameter(2e-3, number(0))
    batch_size: int = parameter(32, whole(1))
    normalize: str = parameter("l2", NORMALIZE)
    random_state: Seed = parameter(None, RANDOM_STATE)

    def _fit(self, training: Examples, groups: Indices, validation: Examples | None) -> None:  # noqa: ARG002
        # Holds nothing out.
        random = generator(self.random_state)
        pictures, labels = training.pictures, training.labels
        weights = self._row_weights(self.class_weight, labels, training.weights)
        # The optimum of weights and C is that of the same weights with mean 1 and of C times their mean.
        C = self.C * weights.mean()
        weights = (weights / weights.mean()).astype(np.float32)
        mean, variance = moments(pictures, training.weights)
        size = float(np.sqrt(variance.sum())) or 1.0
        shift, shrink = mean.astype(np.float32), np.float32(size)
        pictures = mapped(pictures, lambda block: (block - shift) / shrink)
        # What scikit-learn's C means, for the mean loss of a row: and of weights that grow as the rows shrink.
        decay = 1 / (C * len(labels) * size**2)
        many = 10 * MANY * decay < 1
        sample = _sample(pictures, labels, weights)
        times = 1.0  # as long as `STEP` the steps of the first epoch are, a half of that those of the second, and so on
        if (most := LEAST_DECAY / (decay * STEP)) > 1:  # of few pictures, longer steps would not average out
            times = min(most, MOST_STEPS, 1 / _curvature(sample[0], self.batch_size))
        columns = 1 if len(self.classes_) == 2 else len(self.classes_)
        plane = np.zeros((pictures.shape[-1] + 1, columns), np.float32)
        average, minimised, self.n_iter_ = np.zeros(plane.shape), np.inf, 0
        while self.n_iter_ < self.max_iter:
            step = STEP * max(1.0, times / (self.n_iter_ + 1))
            rate = step / max(1.0, float(weights.max()) / self.batch_size, decay * step)
            # Of steps this small the threads of the library wait for each other: 20 times the time on a busy machine.
            with threadpool_limits(1, "blas"):
                epoch = _epoch(plane, pictures, labels, weights, rate, decay, self.batch_size, random)
            self.n_iter_ += 1
            change = (POWER + 1) / (self.n_iter_ + POWER) * (epoch - average)
            average += change
            before, minimised = minimised, _loss(average, decay, *sample)
            if np.linalg.norm(change) <= self.tol * np.linalg.norm(average):
                break
            if many and abs(before - minimised) <= LEAST_GAIN * minimised:
                break
        else:
            self.converged_ = False
        self.coef_ = average[:-1].T / size
        self.intercept_ = average[-1] - self.coef_ @ mean


def _sample(pictures: Rows, labels: Labels, weights: Floats) -> tuple[Floats, Labels, Floats]:
    """Rows (m, d), labels and weights (m,) of up to `SAMPLE` pictures that have a weight."""
    # of stored ones from a chunk, of which each block is read once
    members = np.arange(len(pictures)) if isinstance(pictures, np.ndarray) else next(pictures.chunks(RandomState(0)))
    if (weights[members] > 0).any():
        members = members[weights[members] > 0]
    some = members[np.linspace(0, len(members) - 1, min(SAMPLE, len(members))).astype(np.intp)]
    rows = pictures[some] if isinstance(pictures, np.ndarray) else pictures.read(some)
    return by_row(rows, labels[some], weights[some])


def _loss(plane: Floats, decay: float, rows: Floats, labels: Labels, weights: Floats) -> float:
    """What is minimised, of these rows (m, d), labels and weights (m,), at a plane (d + 1, columns)."""
    found = probabilities(rows @ plane[:-1] + plane[-1])[np.arange(len(rows)), labels]
    penalty = decay / 2 * np.square(plane[:-1]).sum()
    losses = -np.log(np.maximum(found, np.finfo(np.float64).tiny))
    return float(weights @ losses / max(weights.sum(), np.finfo(np.float64).tiny) + penalty)


def _curvature(rows: Floats, batch_size: int) -> float:
    """The share of the mean square length of rows (m, d) that a batch may have in one direction.

    That is the largest eigenvalue of their covariance and, of the picture itself in its batch, its share of the batch.
    """
    direction = rows.sum(axis=0) + 1e-3
    for _ in range(POWER_STEPS):
        direction = rows.T @ (rows @ (direction / np.linalg.norm(direction)))
    return float(np.linalg.norm(direction)) / len(rows) + float(np.square(rows).sum(axis=1).max()) / batch_size


def _epoch(
    plane: Floats,
    pictures: Rows,
    labels: Labels,
    weights: Floats,
    rate: float,
    decay: float,
    batch_size: int,
    random: RandomState,
) -> Floats:
    """One step for each batch of pictures, in place; the mean of the planes after each step, (d + 1, columns).

    plane: float32, weights (d, columns) and, below them, intercepts; one column, that of the second of two classes, or
    one a class.
    """
    targets = np.eye(max(2, plane.shape[1]), dtype=np.float32)
    total, steps, shrink = np.zeros(plane.shape), 0, np.float32(1 - rate * decay)
    for members, chunk in chunks(pictures, random):
        batches = -(-len(members) // batch_size)
        passed = np.zeros_like(plane)
        for batch in np.array_split(random.permutation(len(members)), batches):
            chosen = members[batch]
            rows, row_labels, row_weights = by_row(chunk[batch], labels[chosen], weights[chosen])
            wrong = probabilities(rows @ plane[:-1] + plane[-1]) - targets[row_labels]
            slope = (wrong * row_weights[:, None])[:, -plane.shape[1] :] * (np.float32(rate) / np.float32(len(batch)))
            plane[:-1] *= shrink
            plane[:-1] -= rows.T @ slope
            plane[-1] -= slope.sum(axis=0)
            passed += plane
        total += passed
        steps += batches
    return total / steps
