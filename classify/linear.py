"""Heads that draw hyperplanes: logistic regression, support vector machine, ridge."""

from functools import partial
from typing import ClassVar, TypeAlias

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC, LinearSVC

from classify.base import (
    CLASS_WEIGHT,
    NORMALIZE,
    RANDOM_STATE,
    Allowed,
    ClassWeight,
    FeatureHead,
    Floats,
    Labels,
    Seed,
    choice,
    number,
    whole,
)
from classify.calibrated import out_of_fold_temperature, probabilities

Machine: TypeAlias = LinearSVC | SVC | RidgeClassifier


class LogRegHead(FeatureHead):
    """Logistic regression (scikit-learn's, lbfgs) on normalised features.

    C: inverse strength of the regularisation. Fitted: `coef_` (k, d), or (1, d) for two classes, `intercept_`,
    `n_iter_`.
    """

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
        tol: float = 1e-4,
        normalize: str = "l2",
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.normalize = normalize

    def _fit(self, rows: Floats, labels: Labels) -> None:
        inner = LogisticRegression(C=self.C, max_iter=self.max_iter, tol=self.tol)
        inner.fit(rows, labels, sample_weight=self._row_weights(self.class_weight, labels))
        self.coef_, self.intercept_, self.n_iter_ = inner.coef_, inner.intercept_, int(inner.n_iter_.max())

    def _probabilities(self, rows: Floats) -> Floats:
        return probabilities(_linear(rows, self.coef_, self.intercept_))


class SVMHead(FeatureHead):
    """Support vector machine, one class against the rest, with probabilities from a temperature.

    kernel: `linear` (liblinear, squared hinge loss) or `rbf` (libsvm; keeps the training rows, and its time grows
    with the square of their number; C=3 suits it better). gamma: of `rbf`, a number or `scale`,
    1 / (d * variance of the features). max_iter: of `linear`. Fitted: `n_iter_`, `temperature_`, and for `linear` `coef_` (k, d) or (1, d), `intercept_`; for `rbf` `machines_`, an SVC
    a class, or one for two classes.
    """

    allowed: ClassVar[dict[str, Allowed]] = {
        "C": number(0, open_end=True),
        "kernel": choice("linear", "rbf"),
        "gamma": Allowed(
            lambda value: choice("scale").test(value) or number(0, open_end=True).test(value),
            "scale or a number above 0",
        ),
        "class_weight": CLASS_WEIGHT,
        "max_iter": whole(1),
        "tol": number(0, open_end=True),
        "normalize": NORMALIZE,
        "random_state": RANDOM_STATE,
    }

    def __init__(
        self,
        C: float = 0.5,
        kernel: str = "linear",
        gamma: str | float = "scale",
        class_weight: ClassWeight = None,
        max_iter: int = 10_000,
        tol: float = 1e-4,
        normalize: str = "l2",
        random_state: Seed = None,
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.gamma = gamma
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.normalize = normalize
        self.random_state = random_state

    def _fit(self, rows: Floats, labels: Labels) -> None:
        weights = self._row_weights(self.class_weight, labels)
        self.temperature_ = out_of_fold_temperature(
            lambda *fold: partial(_decide, self._machines(*fold)), rows, labels, weights, self.random_state
        )
        machines = self._machines(rows, labels, weights)
        self.n_iter_ = int(np.max([machine.n_iter_ for machine in machines]))
        if self.kernel == "linear":
            self.coef_ = np.concatenate([machine.coef_ for machine in machines])
            self.intercept_ = np.concatenate([machine.intercept_ for machine in machines])
        else:
            self.machines_ = machines

    def _machines(self, rows: Floats, labels: Labels, weights: Floats) -> list[Machine]:
        """One machine a class, or one for the second of two classes.

        scikit-learn's own SVC parts each pair of classes; the decisions that it makes of them give worse
        probabilities (log loss 0.53 instead of 0.36 on five kinds of flowers).
        """
        sides = range(1, 2) if labels.max() == 1 else range(labels.max() + 1)
        machine = (
            LinearSVC(C=self.C, max_iter=self.max_iter, tol=self.tol, random_state=self.random_state)
            if self.kernel == "linear"
            else SVC(C=self.C, gamma=self.gamma, tol=self.tol)
        )
        return [clone(machine).fit(rows, labels == side, sample_weight=weights) for side in sides]

    def _probabilities(self, rows: Floats) -> Floats:
        linear = self.kernel == "linear"
        decisions = _linear(rows, self.coef_, self.intercept_) if linear else _decide(self.machines_, rows)
        return probabilities(decisions, self.temperature_)


class RidgeHead(FeatureHead):
    """Ridge regression on -1 / +1 targets (scikit-learn's RidgeClassifier), with probabilities from a temperature.

    alpha: strength of the regularisation. Fitted: `coef_` (k, d), or (1, d) for two classes, `intercept_`,
    `temperature_`.
    """

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

    def _fit(self, rows: Floats, labels: Labels) -> None:
        weights = self._row_weights(self.class_weight, labels)
        # The normal equations lose half of the digits, which float32 cannot spare.
        wide = rows.astype(np.float64)
        self.temperature_ = out_of_fold_temperature(
            lambda *fold: partial(_decide, [self._regression(*fold)]), wide, labels, weights, self.random_state
        )
        inner = self._regression(wide, labels, weights)
        self.coef_, self.intercept_ = np.atleast_2d(inner.coef_), np.atleast_1d(inner.intercept_)

    def _regression(self, rows: Floats, labels: Labels, weights: Floats) -> RidgeClassifier:
        return RidgeClassifier(alpha=self.alpha).fit(rows, labels, sample_weight=weights)

    def _probabilities(self, rows: Floats) -> Floats:
        return probabilities(_linear(rows, self.coef_, self.intercept_), self.temperature_)


def _linear(rows: Floats, coef: Floats, intercept: Floats) -> Floats:
    return rows @ coef.T + intercept


def _decide(machines: list[Machine], rows: Floats) -> Floats:
    return np.column_stack([machine.decision_function(rows) for machine in machines])
