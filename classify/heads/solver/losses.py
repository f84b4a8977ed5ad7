"""What a wrong decision costs: the slopes and curvatures that `classify.heads.solver.descent` follows."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from scipy.special import expit

from classify.heads.base import Labels
from classify.heads.numerics import Floats

# A softmax that is sure of everything must not look as if it had no curvature: the next step would be endless.
SATURATED = 1e-6


class Loss(ABC):
    """A convex loss of decisions (n, k) about labels (n,), rows weighted by `weights` (n,).

    outputs: k, and 1 for two classes. coupled: whether the k decisions about a row cost something together, or each
    for itself.
    """

    coupled: ClassVar[bool]
    outputs: int

    @abstractmethod
    def slopes(self, decisions: Floats) -> tuple[Floats, Floats]:
        """First derivatives (n, k), and the sums over the rows of the second ones, (k,)."""


class SoftmaxLoss(Loss):
    """Cross-entropy of a softmax over k > 2 classes, or, of one decision about the second of two, of a logistic."""

    coupled = True

    def __init__(self, labels: Labels, weights: Floats) -> None:
        self.labels = labels
        self.weights = weights
        self.each = np.arange(len(labels))
        self.outputs = outputs(labels)
        self.binary = self.outputs == 1

    def slopes(self, decisions: Floats) -> tuple[Floats, Floats]:
        if self.binary:
            chances = expit(decisions)
        else:
            chances = decisions - decisions.max(axis=1, keepdims=True)
            np.exp(chances, out=chances)
            chances /= chances.sum(axis=1, keepdims=True)
        curvature = self.weights @ (chances * (1 - chances)) + SATURATED * self.weights.sum()
        if self.binary:
            chances[:, 0] -= self.labels
        else:
            chances[self.each, self.labels] -= 1
        chances *= self.weights[:, None]
        return chances, curvature


class SquaredHingeLoss(Loss):
    """Squared hinge of one class against the rest: max(0, 1 - decision)^2 where it is the class, else of -decision."""

    coupled = False

    def __init__(self, labels: Labels, weights: Floats) -> None:
        self.outputs = outputs(labels)
        self.sides = sides(labels).astype(weights.dtype)
        self.weights = weights

    def slopes(self, decisions: Floats) -> tuple[Floats, Floats]:
        lacking = np.maximum(1 - self.sides * decisions, 0)
        curvature = 2 * (self.weights @ (lacking > 0).astype(lacking.dtype))
        lacking *= self.sides
        lacking *= -2 * self.weights[:, None]
        return lacking, curvature


def outputs(labels: Labels) -> int:
    """How many decisions tell the classes apart: one each, or a single one for the second of two."""
    return 1 if labels.max() == 1 else int(labels.max()) + 1


def sides(labels: Labels) -> Floats:
    """(n, outputs): 1 where a row is of the class that a decision is for, and -1 where not."""
    decided = np.arange(labels.max() + 1)[-outputs(labels) :]
    return np.where(labels[:, None] == decided, 1.0, -1.0)
