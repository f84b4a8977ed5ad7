"""Heads that draw hyperplanes: logistic regression and ridge. Support vector machines: `classify.heads.svm`."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from scipy.linalg import solve

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
    number,
    whole,
)
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Floats
from classify.heads.solver.descent import Fit, precision
from classify.heads.solver.losses import Loss, SoftmaxLoss, sides
from classify.heads.solver.regularisation_path import DescentHead, PathHead
from classify.heads.solver.whitening import Coordinates, coordinates


class LogRegHead(DescentHead, LayeredHead):
    """Logistic regression, with the optimum of scikit-learn's, on normalised features.

    C: inverse strength of the regularisation. class_weight: as scikit-learn's, so {class: 2} for all classes is twice
    the C. tol: how far from the optimal hyperplanes, as a share of their length, the solver may stop; below 1e-4 it
    computes in float64. Fitted: `coef_` (k, d), or (1, d) for two classes, `intercept_`, `n_iter_`.
    """

    walked = "C"
    allowed: ClassVar[dict[str, Allowed]] = {
        "C": number(0, open_end=True),
        "class_weight": CLASS_WEIGHT,
        "max_iter": whole(1),
        "tol": number(0, open_end=True),
        "normalize": NORMALIZE,
    }

    def __init__(
        self,
        C: float = 10.0,
        class_weight: ClassWeight = None,
        max_iter: int = 1000,
        tol: float = 0.01,
        normalize: str = "l2",
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.normalize = normalize

    def _fit(self, pictures: Floats, labels: Labels, groups: Indices) -> None:  # noqa: ARG002 - holds nothing out
        _, _, fit = self._fit_planes(pictures, labels)
        self.n_iter_ = fit.n_iter
        if len(self.intercept_) > 1:  # only their differences count, and nothing else holds them
            self.intercept_ = self.intercept_ - self.intercept_.mean()

    def _coordinates(self, rows: Floats) -> Coordinates:
        return coordinates(rows, free_intercept=True, uncorrelated=True, dtype=precision(self.tol))

    def _loss(self, labels: Labels, weights: Floats) -> Loss:
        return SoftmaxLoss(labels, weights)

    def _held_out_temperature(self, decided: Floats, labels: Labels) -> float:  # noqa: ARG002
        return 1.0

    def arrays(self) -> ArrayHead:
        return self._array_head([(self.coef_.T, self.intercept_)])


class RidgeHead(PathHead, LayeredHead):
    """Ridge regression on -1 / +1 targets, as scikit-learn's RidgeClassifier, with probabilities from a temperature.

    alpha: strength of the regularisation. class_weight: as scikit-learn's. Fitted: `coef_` (k, d), or (1, d) for two
    classes, `intercept_`, `temperature_`.
    """

    walked = "alpha"
    allowed: ClassVar[dict[str, Allowed]] = {
        "alpha": number(0, open_end=True),
        "class_weight": CLASS_WEIGHT,
        "normalize": NORMALIZE,
        "random_state": RANDOM_STATE,
    }

    def __init__(
        self,
        alpha: float = 1.0,
        class_weight: ClassWeight = None,
        normalize: str = "l2",
        random_state: Seed = None,
    ) -> None:
        self.alpha = alpha
        self.class_weight = class_weight
        self.normalize = normalize
        self.random_state = random_state

    def _fit(self, pictures: Floats, labels: Labels, groups: Indices) -> None:
        points, weights, fit = self._fit_planes(pictures, labels)
        self.temperature_ = self._temperature(points, labels, groups, weights, fit, self.random_state)

    def _coordinates(self, rows: Floats) -> Coordinates:
        # The normal equations square the spread of the features: float32 loses the fourth digit of decisions there.
        return coordinates(rows, free_intercept=True, uncorrelated=False, dtype=np.float64)

    def _walk(
        self,
        points: Coordinates,
        rows: Floats,
        labels: Labels,
        weights: Floats,
        values: list[float],
        start: Floats | None = None,  # noqa: ARG002 - found in one step from anywhere
    ) -> Iterator[Fit]:
        weighted = rows * np.sqrt(weights)[:, None]
        products = weighted.T @ weighted
        sums = rows.T @ (weights[:, None] * sides(labels))
        for alpha in values:
            planes = solve(products + np.diag(alpha * points.penalised), sums, assume_a="pos")
            yield Fit(planes, n_iter=1, converged=True)

    def arrays(self) -> ArrayHead:
        return self._array_head([(self.coef_.T, self.intercept_)], self.temperature_)
