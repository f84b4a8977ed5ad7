"""Support vector machines with honest probabilities."""

from typing import ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC

from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    NORMALIZE,
    RANDOM_STATE,
    Allowed,
    ClassWeight,
    Labels,
    Seed,
    choice,
    number,
    whole,
)
from classify.heads.calibrated import out_of_fold_temperature
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Floats, Layers, decisions, probabilities
from classify.heads.solver.descent import precision
from classify.heads.solver.losses import Loss, SquaredHingeLoss, sides
from classify.heads.solver.regularisation_path import DescentHead
from classify.heads.solver.whitening import Coordinates, coordinates
from classify.heads.view_axis import by_row


class SVMHead(DescentHead):
    """Support vector machine, one class against the rest, with probabilities from a temperature.

    kernel: `linear` (squared hinge loss, the optimum of scikit-learn's LinearSVC) or `rbf`, which keeps the training
    rows and takes time and memory with the square of their number; C=3 suits it better. gamma: of `rbf`, a number,
    or `scale` for 1 / (d * variance of the features). class_weight: a picture weighs what its class does, also as one
    of the rest; that is the `sample_weight` of scikit-learn's machines, and of two classes their `class_weight`.
    max_iter: of `linear`. tol: of `linear`, as that of `logreg`; of `rbf`, as that of scikit-learn's SVC. Fitted:
    `coef_` (k, d), or (1, d) for two classes, `intercept_`,
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
        tol: float = 0.01,
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

    @property
    def walked(self) -> str | None:  # type: ignore[override]
        return "C" if self.kernel == "linear" else None

    def _fit(self, pictures: Floats, labels: Labels, groups: Indices) -> None:
        if self.kernel == "rbf":
            self._fit_rbf(pictures, labels, groups)
            return
        points, weights, fit = self._fit_planes(pictures, labels)
        self.n_iter_ = fit.n_iter
        self.temperature_ = self._temperature(points, labels, groups, weights, fit, self.random_state)

    def _coordinates(self, rows: Floats) -> Coordinates:
        return coordinates(rows, free_intercept=False, uncorrelated=True, dtype=precision(self.tol))

    def _loss(self, labels: Labels, weights: Floats) -> Loss:
        return SquaredHingeLoss(labels, weights)

    def _fit_rbf(self, pictures: Floats, labels: Labels, groups: Indices) -> None:
        weights = self._row_weights(self.class_weight, labels)
        rows, row_labels, row_weights = by_row(pictures, labels, weights)
        numbers = np.arange(len(rows)).reshape(len(labels), -1)  # of the rows of each picture
        self.rows_ = rows
        self.gamma_ = 1 / (rows.shape[1] * float(rows.var()) or 1.0) if self.gamma == "scale" else self.gamma
        similarities = self._similarities(rows)

        def machines(members: np.ndarray) -> tuple[Floats, Floats, int]:
            among = similarities[np.ix_(members, members)]
            return self._one_against_rest(among, row_labels[members], row_weights[members])

        def decide(train: np.ndarray, held_out: np.ndarray) -> Floats:
            members, others = numbers[train].ravel(), numbers[held_out].ravel()
            coef, intercept, _ = machines(members)
            return decisions(similarities[np.ix_(others, members)], [(coef.T, intercept)])

        y = self.classes_[labels]
        self.temperature_ = out_of_fold_temperature(decide, y, groups, weights, self.random_state)
        self.coef_, self.intercept_, self.n_iter_ = machines(np.arange(len(rows)))

    def _similarities(self, rows: Floats) -> Floats:
        """The kernel between rows (n, d) and the training rows: (n, n_train)."""
        # The kernel in one matrix product: libsvm's own takes minutes on 400 flattened rows.
        return rbf_kernel(rows, self.rows_, gamma=self.gamma_)

    def _one_against_rest(self, similarities: Floats, labels: Labels, weights: Floats) -> tuple[Floats, Floats, int]:
        """Coefficients, intercepts and most iterations of one machine a class, or one for the second of two.

        scikit-learn's own SVC parts each pair of classes; the decisions that it makes of them give worse
        probabilities (log loss 0.53 instead of 0.36 on five kinds of flowers).
        """
        machine = SVC(C=self.C, kernel="precomputed", tol=self.tol)
        machines = [clone(machine).fit(similarities, side > 0, sample_weight=weights) for side in sides(labels).T]
        coef = np.zeros((len(machines), len(similarities)))
        for row, fitted in zip(coef, machines, strict=True):
            row[fitted.support_] = fitted.dual_coef_[0]
        intercept = np.concatenate([fitted.intercept_ for fitted in machines])
        return coef, intercept, int(np.max([fitted.n_iter_ for fitted in machines]))

    def _numbers_per_row(self) -> int:
        return max(self.n_features_in_, self.coef_.shape[1])

    def arrays(self) -> ArrayHead | None:
        return None if self.kernel == "rbf" else self._array_head(self._layers(), self.temperature_)

    def _layers(self) -> Layers:
        return [(self.coef_.T, self.intercept_)]

    def _probabilities(self, rows: Floats) -> Floats:
        inputs = self._similarities(rows) if self.kernel == "rbf" else rows
        return probabilities(decisions(inputs, self._layers()), self.temperature_)
