"""Heads that draw hyperplanes: logistic regression and ridge. Support vector machines: `classify.heads.svm`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cache.arguments import number, whole
from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    NORMALIZE,
    RANDOM_STATE,
    ClassWeight,
    Examples,
    Labels,
    Seed,
    parameter,
)
from classify.heads.numerics import Floats
from classify.heads.solver.descent import Fit
from classify.heads.solver.losses import SoftmaxLoss, sides
from classify.heads.solver.regularisation_path import DescentHead, PathHead
from classify.heads.solver.whitening import Coordinates, coordinates


@dataclass(eq=False, repr=False)
class LogRegHead(DescentHead):
    """Logistic regression, with the optimum of scikit-learn's, on normalised features.

    Parameters
    ----------
    C : float
        Inverse strength of the regularisation.
    class_weight : "balanced", dict of class: weight, optional
        As scikit-learn's, so {class: 2} for all classes is twice the C.
    max_iter : int
        The most steps of the solver.
    tol : float
        How far from the optimal hyperplanes, as a share of their length, the solver may stop. Below 1e-4 it computes in
        float64.
    normalize : {"l2", "standard", "none"}
        What is done to a row first: length 1, mean 0 and deviation 1 of each feature, or nothing.

    Attributes
    ----------
    coef_, intercept_ : arrays (k, d) and (k,), or (1, d) and (1,) for two classes
    n_iter_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> head = LogRegHead(C=30.0).fit(X[:1000], y[:1000])
    >>> head.predict_proba(X[1000:]).shape
    (797, 10)
    >>> head.score(X[1000:], y[1000:]) > 0.9
    True
    """

    walked = "C"
    calibrated = False
    loss = SoftmaxLoss
    free_intercept = True

    C: float = parameter(10.0, number(0, open_end=True))
    class_weight: ClassWeight = parameter(None, CLASS_WEIGHT)
    max_iter: int = parameter(1000, whole(1))
    tol: float = parameter(0.01, number(0, open_end=True))
    normalize: str = parameter("l2", NORMALIZE)

    def _fit(self, training: Examples, groups: Indices, validation: Examples | None) -> None:
        super()._fit(training, groups, validation)
        if len(self.intercept_) > 1:  # only their differences count, and nothing else holds them
            self.intercept_ = self.intercept_ - self.intercept_.mean()


@dataclass(eq=False, repr=False)
class RidgeHead(PathHead):
    """Ridge regression on -1 / +1 targets, as scikit-learn's RidgeClassifier, with probabilities from a temperature.

    Parameters
    ----------
    alpha : float
        Strength of the regularisation.
    class_weight : "balanced", dict of class: weight, optional
        As scikit-learn's.
    normalize : {"l2", "standard", "none"}
        What is done to a row first: length 1, mean 0 and deviation 1 of each feature, or nothing.
    random_state : int or numpy RandomState, optional
        Draws the folds that the temperature is fitted in.

    Attributes
    ----------
    coef_, intercept_ : arrays (k, d) and (k,), or (1, d) and (1,) for two classes
    temperature_ : float

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> head = RidgeHead(alpha=0.3, random_state=0).fit(X[:1000], y[:1000])
    >>> head.score(X[1000:], y[1000:]) > 0.85
    True
    """

    walked = "alpha"
    alpha: float = parameter(1.0, number(0, open_end=True))
    class_weight: ClassWeight = parameter(None, CLASS_WEIGHT)
    normalize: str = parameter("l2", NORMALIZE)
    random_state: Seed = parameter(None, RANDOM_STATE)

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
            # Of numpy: that of scipy, which knows a positive matrix, stops every other thread of Python meanwhile.
            planes = np.linalg.solve(products + np.diag(alpha * points.penalised), sums)
            yield Fit(planes, n_iter=1, converged=True)
