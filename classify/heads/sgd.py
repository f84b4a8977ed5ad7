"""Logistic regression by stochastic gradient descent: also on features that do not fit into memory."""

import warnings
from typing import ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from cache.stored_rows import Rows
from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    NORMALIZE,
    RANDOM_STATE,
    Allowed,
    ClassWeight,
    Labels,
    LayeredHead,
    Seed,
    generator,
    number,
    whole,
)
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Floats, probabilities
from classify.heads.streaming import chunks, mapped, moments
from classify.heads.view_axis import by_row

# Of rows of mean square length 1 the loss has a curvature of at most about 1/2; steps up to 2 / (1/2) do not diverge.
STEP = 4.0
# The weights of the epochs count in their average as the 7th power of the epoch's number: Shamir and Zhang, "Stochastic
# gradient descent for non-smooth optimization", ICML 2013.
POWER = 7


class SGDHead(LayeredHead):
    """Logistic regression, the model of `LogRegHead`, by mini-batches: softmax, L2 regularisation, averaged weights.

    Rows are centred, which changes nothing of the model (the intercept is not regularised) and much of the speed. Of
    pictures with K views a step takes all views of a batch of pictures. C: inverse strength of the regularisation.
    class_weight: as scikit-learn's, with the C of `logreg`. max_iter: the most epochs. tol: training stops when an
    epoch changes the averaged weights by less than this share of their length. With `normalize="none"` a few rows much
    longer than the others (a thousand times) make steps that are too small for these. Rows that stay on the disk are
    read once for their mean, once more before that with `normalize="standard"`, and then once an epoch, in an order
    that `random_state` decides. Fitted: `coef_` (k, d), or (1, d) for two classes, `intercept_`, `n_iter_`.
    """

    allowed: ClassVar[dict[str, Allowed]] = {
        "C": number(0, open_end=True),
        "class_weight": CLASS_WEIGHT,
        "max_iter": whole(1),
        "tol": number(0),
        "batch_size": whole(1),
        "normalize": NORMALIZE,
        "random_state": RANDOM_STATE,
    }

    def __init__(
        self,
        C: float = 10.0,
        class_weight: ClassWeight = None,
        max_iter: int = 200,
        tol: float = 2e-3,
        batch_size: int = 32,
        normalize: str = "l2",
        random_state: Seed = None,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.normalize = normalize
        self.random_state = random_state

    def _fit(self, pictures: Rows, labels: Labels, groups: Indices) -> None:  # noqa: ARG002 - holds nothing out
        random = generator(self.random_state)
        weights = self._row_weights(self.class_weight, labels)
        # The optimum of weights and C is that of the same weights with mean 1 and of C times their mean.
        C = self.C * weights.mean()
        weights = (weights / weights.mean()).astype(np.float32)
        mean, variance = moments(pictures)
        size = float(np.sqrt(variance.sum())) or 1.0
        shift, shrink = mean.astype(np.float32), np.float32(size)
        pictures = mapped(pictures, lambda block: (block - shift) / shrink)
        # What scikit-learn's C means, for the mean loss of a row: and of weights that grow as the rows shrink.
        decay = 1 / (C * len(labels) * size**2)
        rate = STEP / max(1.0, float(weights.max()) / self.batch_size, decay * STEP)
        columns = 1 if len(self.classes_) == 2 else len(self.classes_)
        training = _Training(pictures.shape[-1], columns, rate, decay, self.batch_size)
        average, self.n_iter_ = np.zeros((pictures.shape[-1] + 1, columns)), 0
        while self.n_iter_ < self.max_iter:
            epoch = training.epoch(pictures, labels, weights, random)
            self.n_iter_ += 1
            change = (POWER + 1) / (self.n_iter_ + POWER) * (epoch - average)
            average += change
            if np.linalg.norm(change) <= self.tol * np.linalg.norm(average):
                break
        else:
            warnings.warn(f"max_iter={self.max_iter} epochs reached", ConvergenceWarning, stacklevel=2)
        self.coef_ = average[:-1].T / size
        self.intercept_ = average[-1] - self.coef_ @ mean

    def arrays(self) -> ArrayHead:
        return self._array_head([(self.coef_.T, self.intercept_)])


class _Training:
    """Weights (d, columns) and intercepts on their way; one column, that of the second of two classes, or k."""

    def __init__(self, features: int, columns: int, rate: float, decay: float, batch_size: int) -> None:
        self.plane = np.zeros((features + 1, columns), np.float32)
        self.weights, self.intercept = self.plane[:-1], self.plane[-1]
        self.targets = np.eye(max(2, columns), dtype=np.float32)
        self.rate, self.decay, self.batch_size = np.float32(rate), np.float32(1 - rate * decay), batch_size

    def epoch(self, pictures: Rows, labels: Labels, weights: Floats, random: np.random.RandomState) -> Floats:
        """One step for each batch of pictures; the mean of weights and, below them, intercepts: (d + 1, columns)."""
        total, steps = np.zeros(self.plane.shape), 0
        for members, chunk in chunks(pictures, random):
            batches = -(-len(members) // self.batch_size)
            passed = np.zeros_like(self.plane)
            for batch in np.array_split(random.permutation(len(members)), batches):
                self._step(chunk[batch], labels[members[batch]], weights[members[batch]])
                passed += self.plane
            total += passed
            steps += batches
        return total / steps

    def _step(self, pictures: Floats, labels: Labels, weights: Floats) -> None:
        rate = self.rate / np.float32(len(pictures))
        rows, labels, weights = by_row(pictures, labels, weights)
        wrong = probabilities(rows @ self.weights + self.intercept) - self.targets[labels]
        slope = (wrong * weights[:, None])[:, -len(self.intercept) :] * rate
        self.weights *= self.decay
        self.weights -= rows.T @ slope
        self.intercept -= slope.sum(axis=0)
