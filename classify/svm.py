"""Support vector machines with honest probabilities."""

from typing import ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC, LinearSVC

from classify.arrays import ArrayHead
from classify.base import (
    CLASS_WEIGHT,
    NORMALIZE,
    RANDOM_STATE,
    Allowed,
    ClassWeight,
    FeatureHead,
    Labels,
    Seed,
    choice,
    number,
    whole,
)
from classify.calibrated import out_of_fold_temperature
from classify.numerics import Floats, Layers, decisions, probabilities


class SVMHead(FeatureHead):
    """Support vector machine, one class against the rest, with probabilities from a temperature.

    kernel: `linear` (liblinear, squared hinge loss) or `rbf`, which keeps the training rows and takes time and memory
    with the square of their number; C=3 suits it better. gamma: of `rbf`, a number, or `scale` for 1 / (d * variance
    of the features). max_iter: of `linear`. Fitted: `coef_` (k, d), or (1, d) for two classes, `intercept_`,
    `n_iter_`, `temperature_`; for `rbf` also `rows_` (n, d), `gamma_`, and `coef_` is (k, n) or (1, n).
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
        rbf = self.kernel == "rbf"
        if rbf:
            self.rows_ = rows
            self.gamma_ = 1 / (rows.shape[1] * float(rows.var()) or 1.0) if self.gamma == "scale" else self.gamma
        inputs = self._inputs(rows)

        def coefficients(members: np.ndarray) -> tuple[Floats, Floats, int]:
            seen = inputs[np.ix_(members, members)] if rbf else inputs[members]
            return self._one_against_rest(seen, labels[members], weights[members])

        def decide(train: np.ndarray, held_out: np.ndarray) -> Floats:
            coef, intercept, _ = coefficients(train)
            return decisions(inputs[np.ix_(held_out, train)] if rbf else inputs[held_out], [(coef.T, intercept)])

        self.temperature_ = out_of_fold_temperature(decide, labels, weights, self.random_state)
        self.coef_, self.intercept_, self.n_iter_ = coefficients(np.arange(len(rows)))

    def _inputs(self, rows: Floats) -> Floats:
        """What the machines weigh: the features (n, d), or the similarities to the training rows (n, n_train)."""
        # The kernel in one matrix product: libsvm's own takes minutes on 400 flattened rows.
        return rbf_kernel(rows, self.rows_, gamma=self.gamma_) if self.kernel == "rbf" else rows

    def _one_against_rest(self, inputs: Floats, labels: Labels, weights: Floats) -> tuple[Floats, Floats, int]:
        """Coefficients, intercepts and most iterations of one machine a class, or one for the second of two.

        scikit-learn's own SVC parts each pair of classes; the decisions that it makes of them give worse
        probabilities (log loss 0.53 instead of 0.36 on five kinds of flowers).
        """
        machine = (
            SVC(C=self.C, kernel="precomputed", tol=self.tol)
            if self.kernel == "rbf"
            else LinearSVC(C=self.C, max_iter=self.max_iter, tol=self.tol, random_state=self.random_state)
        )
        sides = [1] if labels.max() == 1 else range(labels.max() + 1)
        machines = [clone(machine).fit(inputs, labels == side, sample_weight=weights) for side in sides]
        if self.kernel == "rbf":
            coef = np.zeros((len(machines), len(inputs)))
            for row, fitted in zip(coef, machines, strict=True):
                row[fitted.support_] = fitted.dual_coef_[0]
        else:
            coef = np.concatenate([fitted.coef_ for fitted in machines])
        intercept = np.concatenate([fitted.intercept_ for fitted in machines])
        return coef, intercept, int(np.max([fitted.n_iter_ for fitted in machines]))

    def _numbers_per_row(self) -> int:
        return max(self.n_features_in_, self.coef_.shape[1])

    def arrays(self) -> ArrayHead | None:
        return None if self.kernel == "rbf" else self._array_head(self._layers(), self.temperature_)

    def _layers(self) -> Layers:
        return [(self.coef_.T, self.intercept_)]

    def _probabilities(self, rows: Floats) -> Floats:
        return probabilities(decisions(self._inputs(rows), self._layers()), self.temperature_)
