"""Heads that draw hyperplanes: logistic regression and ridge. Support vector machines: `classify.svm`."""

from typing import ClassVar

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from classify.arrays import ArrayHead
from classify.base import (
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
from classify.calibrated import out_of_fold_temperature
from classify.numerics import Floats, decisions


class LogRegHead(LayeredHead):
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

    def arrays(self) -> ArrayHead:
        return self._array_head([(self.coef_.T, self.intercept_)])


class RidgeHead(LayeredHead):
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
        # The normal equations square the spread of the features: float32 loses the fourth digit of decisions there.
        wide = rows.astype(np.float64)

        def regression(members: np.ndarray) -> tuple[Floats, Floats]:
            inner = RidgeClassifier(alpha=self.alpha)
            inner.fit(wide[members], labels[members], sample_weight=weights[members])
            return np.atleast_2d(inner.coef_), np.atleast_1d(inner.intercept_)

        def decide(train: np.ndarray, held_out: np.ndarray) -> Floats:
            coef, intercept = regression(train)
            return decisions(wide[held_out], [(coef.T, intercept)])

        self.temperature_ = out_of_fold_temperature(decide, labels, weights, self.random_state)
        self.coef_, self.intercept_ = regression(np.arange(len(rows)))

    def arrays(self) -> ArrayHead:
        return self._array_head([(self.coef_.T, self.intercept_)], self.temperature_)
