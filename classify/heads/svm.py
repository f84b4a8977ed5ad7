"""Support vector machines with honest probabilities."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC

from cache.arguments import Allowed, number, whole
from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    NORMALIZE,
    RANDOM_STATE,
    ClassWeight,
    Examples,
    Seed,
    choice,
    parameter,
)
from classify.heads.calibrated import held_out_temperature, out_of_fold_temperature
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Floats, as_rows, by_row, decisions, probabilities
from classify.heads.solver.losses import SquaredHingeLoss, sides
from classify.heads.solver.regularisation_path import DescentHead


@dataclass(eq=False, repr=False)
class SVMHead(DescentHead):
    """Support vector machine, one class against the rest, with probabilities from a temperature.

    Parameters
    ----------
    C : float
        Inverse strength of the regularisation; 3 suits `rbf` better than the default.
    kernel : {"linear", "rbf"}
        Squared hinge loss with the optimum of scikit-learn's LinearSVC, or a kernel machine, which keeps the training
        rows and takes time and memory with the square of their number.
    gamma : float or "scale"
        Of `rbf`; "scale" is 1 / (d * variance of the features).
    class_weight : "balanced", dict of class: weight, optional
        A picture weighs what its class does, also as one of the rest: the `sample_weight` of scikit-learn's machines,
        and of two classes their `class_weight`.
    max_iter : int
        Of `linear`, the most steps of the solver.
    tol : float
        Of `linear`, as that of `LogRegHead`; of `rbf`, as that of scikit-learn's SVC.
    normalize : {"l2", "standard", "none"}
        What is done to a row first: length 1, mean 0 and deviation 1 of each feature, or nothing.
    random_state : int or numpy RandomState, optional
        Draws the folds that the temperature is fitted in.

    Attributes
    ----------
    coef_, intercept_ : arrays (k, d) and (k,), or (1, d) and (1,) for two classes
        `coef_` is (k, n) or (1, n) for `rbf`.
    n_iter_ : int
    temperature_ : float
    rows_, gamma_ : array (n, d) and float
        Of `rbf` alone.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> head = SVMHead(random_state=0).fit(X[:1000], y[:1000])
    >>> head.score(X[1000:], y[1000:]) > 0.9
    True
    """

    C: float = parameter(0.5, number(0, open_end=True))
    kernel: str = parameter("linear", choice("linear", "rbf"))
    gamma: str | float = parameter(
        "scale",
        Allowed(
            lambda value: choice("scale").test(value) or number(0, open_end=True).test(value),
            "scale or a number above 0",
        ),
    )
    class_weight: ClassWeight = parameter(None, CLASS_WEIGHT)
    max_iter: int = parameter(10_000, whole(1))
    tol: float = parameter(0.01, number(0, open_end=True))
    normalize: str = parameter("l2", NORMALIZE)
    random_state: Seed = parameter(None, RANDOM_STATE)

    loss = SquaredHingeLoss
    free_intercept = False

    @property
    def pair_bytes(self) -> int:
        return 18 if self.kernel == "rbf" else 0  # similarities, those of a fit, and libsvm's copy in float64: measured

    @property
    def walked(self) -> str | None:  # type: ignore[override]
        return "C" if self.kernel == "linear" else None

    def _fit(self, training: Examples, groups: Indices, validation: Examples | None) -> None:
        if self.kernel == "linear":
            super()._fit(training, groups, validation)
            return
        labels = training.labels
        weights = self._row_weights(self.class_weight, labels, training.weights)
        rows, row_labels, row_weights = by_row(training.pictures, labels, weights)
        numbers = np.arange(len(rows)).reshape(len(labels), -1)  # of the rows of each picture
        self.rows_ = rows
        self.gamma_ = _scaled_gamma(training) if isinstance(self.gamma, str) else self.gamma
        similarities, row_sides = self._similarities(rows), sides(row_labels)

        def machines(members: np.ndarray) -> tuple[Floats, Floats, int]:
            """Coefficients, intercepts and most iterations of one machine a class, or one for the second of two.

            scikit-learn's own SVC separates each pair of classes, and the probabilities are worse (log loss 0.53
            instead of 0.36 on five kinds of flowers).
            """
            machine = SVC(C=self.C, kernel="precomputed", tol=self.tol)
            among, weights = similarities[np.ix_(members, members)], row_weights[members]
            fits = [clone(machine).fit(among, side > 0, sample_weight=weights) for side in row_sides[members].T]
            coef = np.zeros((len(fits), len(members)))
            for row, fitted in zip(coef, fits, strict=True):
                row[fitted.support_] = fitted.dual_coef_[0]
            intercept = np.concatenate([fitted.intercept_ for fitted in fits])
            return coef, intercept, int(np.max([fitted.n_iter_ for fitted in fits]))

        def decide(train: np.ndarray, held_out: np.ndarray) -> Floats:
            members, others = numbers[train].ravel(), numbers[held_out].ravel()
            coef, intercept, _ = machines(members)
            return decisions(similarities[np.ix_(others, members)], [(coef.T, intercept)])

        self.coef_, self.intercept_, self.n_iter_ = machines(np.arange(len(rows)))
        if validation:
            decided = self._decisions(as_rows(validation.pictures).astype(np.float64))
            of_validation = self._validation_weights(self.class_weight, training, validation)
            self.temperature_ = held_out_temperature(decided, validation.labels, of_validation)
            return
        y = self.classes_[labels]
        self.temperature_ = out_of_fold_temperature(decide, y, groups, weights, self.random_state)

    def _similarities(self, rows: Floats) -> Floats:
        """The kernel between rows (n, d) and the training rows: (n, n_train)."""
        # The kernel in one matrix product: libsvm's own takes minutes on 400 flattened rows.
        return rbf_kernel(rows, self.rows_, gamma=self.gamma_)

    def _numbers_per_row(self) -> int:
        return max(self.n_features_in_, self.coef_.shape[1])

    def arrays(self) -> ArrayHead | None:
        return None if self.kernel == "rbf" else super().arrays()

    def _decisions(self, rows: Floats) -> Floats:
        inputs = self._similarities(rows) if self.kernel == "rbf" else rows
        return decisions(inputs, [(self.coef_.T, self.intercept_)])

    def _probabilities(self, rows: Floats) -> Floats:
        return probabilities(self._decisions(rows), self.temperature_)


def _scaled_gamma(training: Examples) -> float:
    """1 / (d * variance of all features together), the rows (n, d) or (n, K, d) weighted."""
    rows, _, weights = by_row(*training)
    mean = np.average(rows.mean(axis=1, dtype=np.float64), weights=weights)
    variance = np.average(np.square(rows - mean).mean(axis=1, dtype=np.float64), weights=weights)
    return 1 / (rows.shape[1] * float(variance) or 1.0)
