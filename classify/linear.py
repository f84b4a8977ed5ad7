"""Heads that draw hyperplanes: logistic regression, support vector machine, ridge."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC, LinearSVC

from classify.base import CLASS_WEIGHT, NORMALIZE, RANDOM_STATE, Allowed, FeatureHead, choice, number, whole
from classify.calibrated import Floats, Labels, out_of_fold_temperature, probabilities

ClassWeight = str | dict[Any, float] | None
Seed = int | np.random.RandomState | None


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

    def _fit(self, rows: NDArray[np.float32], labels: Labels) -> None:
        inner = LogisticRegression(C=self.C, max_iter=self.max_iter, tol=self.tol)
        inner.fit(rows, labels, sample_weight=self._row_weights(self.class_weight, labels))
        self.coef_, self.intercept_, self.n_iter_ = inner.coef_, inner.intercept_, int(inner.n_iter_.max())

    def _probabilities(self, rows: NDArray[np.float64]) -> Floats:
        return probabilities(_linear(rows, self.coef_, self.intercept_))


class SVMHead(FeatureHead):
    """Support vector machine, one class against the rest, with probabilities from a temperature.

    kernel: `linear` (liblinear, squared hinge loss) or `rbf` (libsvm; keeps the training rows, and its time grows
    with the square of their number). gamma: of `rbf`, a number or `scale`, 1 / (d * variance of the features).
    Fitted: `temperature_`, and for `linear` `coef_` (k, d) or (1, d), `intercept_`; for `rbf` `machines_`, an SVC
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

    def _fit(self, rows: NDArray[np.float32], labels: Labels) -> None:
        weights = self._row_weights(self.class_weight, labels)
        train = self._train_linear if self.kernel == "linear" else self._train_rbf
        decide = train(rows, labels, weights)
