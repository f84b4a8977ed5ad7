"""Losses: the slopes and curvatures that `classify.heads.solver.descent` follows."""

import numpy as np
from scipy.special import expit

from classify.heads.base import Labels
from classify.heads.numerics import Floats

# The least curvature, as a share: a saturated softmax has none, and the next step would be endless.
SATURATED = 1e-6


class SoftmaxLoss:
    """Cross-entropy of a softmax over k > 2 classes, or, of one decision about the second of two, of a logistic."""

    coupled = True

    def __init__(self, labels: Labels, weights: Floats) -> None:
        self.outputs = outputs(labels)
        self.targets = (sides(labels) > 0).astype(weights.dtype)
        self.weights = weights

    def slopes(self, decisions: Floats) -> tuple[Floats, Floats]:
        if self.outputs == 1:
            chances = expit(decisions)
        else:
            chances = decisions - decisions.max(axis=1, keepdims=True)
            np.exp(chances, out=chances)
            chances /= chances.sum(axis=1, keepdims=True)
        curvature = self.weights @ (chances * (1 - chances)) + SATURATED * self.weights.sum()
        chances -= self.targets
        chances *= self.weights[:, None]
        return chances, curvature


class SquaredHingeLoss:
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


# A convex loss of decisions (n, outputs) about labels (n,), rows weighted by `weights` (n,). outputs: k, or 1 for two
# classes. coupled: whether the decisions about a row have one loss together, or one each. slopes: the first derivatives
# (n, outputs), and the sums over the rows of the second ones (outputs,).
Loss = SoftmaxLoss | SquaredHingeLoss


def outputs(labels: Labels) -> int:
    """The number of decisions a row: one a class, or a single one for the second of two."""
    return 1 if labels.max() == 1 else int(labels.max()) + 1


def sides(labels: Labels) -> Floats:
    """Targets (n, outputs): 1 where a row is of the class of a decision, else -1."""
    decided = np.arange(labels.max() + 1)[-outputs(labels) :]
    return np.where(labels[:, None] == decided, 1.0, -1.0)
