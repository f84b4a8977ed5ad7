"""Heads of hyperplanes, and the search for the strength of their regularisation: one set of coordinates for all fits.

Where the coordinates are found from all rows, held-out ones among them, nothing leaks: they are isometries found
without a label (`classify.heads.solver.whitening`), and the planes are fitted on the training rows alone.
"""

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from classify.data.split import Indices, Split
from classify.heads.base import ClassWeight, FeatureHead, Labels, Seed
from classify.heads.calibrated import fit_temperature, out_of_fold_temperature
from classify.heads.numerics import Floats, by_class, probabilities
from classify.heads.solver.descent import Descent, Fit
from classify.heads.solver.losses import Loss
from classify.heads.solver.whitening import Coordinates
from classify.heads.view_axis import as_pictures, as_rows, by_row

# Number of the split and of the candidate, probabilities (m, k) of the m held-out pictures, columns by all classes.
HeldOutAnswer = tuple[int, int, Floats]


class PathHead(FeatureHead):
    """A head of hyperplanes that finds them for many values of one parameter in little more time than for one.

    walked: the name of that parameter; None where the other parameters do not let it.
    """

    walked: str | None
    class_weight: ClassWeight

    @abstractmethod
    def _coordinates(self, rows: Floats) -> Coordinates:
        """Coordinates of normalised rows (n, d) in which this head looks for its planes."""

    @abstractmethod
    def _walk(
        self,
        points: Coordinates,
        rows: Floats,
        labels: Labels,
        weights: Floats,
        values: list[float],
        start: Floats | None = None,
    ) -> Iterator[Fit]:
        """The planes for each of some ascending values of the walked parameter, `start` being near the first.

        rows: (n, r), all or some of those of `points`; labels and weights (n,) are theirs.
        """

    def _fit_planes(self, pictures: Floats, labels: Labels) -> tuple[Coordinates, Floats, Fit]:
        """Set `coef_` and `intercept_`; returns what `_temperature` asks for.

        Warns with ConvergenceWarning where the solver stopped early.
        """
        points = self._coordinates(as_rows(pictures))
        weights = self._row_weights(self.class_weight, labels)
        (fit,) = self._walk_of(points, as_pictures(points.rows, len(labels)), labels, weights, self._value())
        if not fit.converged:
            warnings.warn(f"stopped after max_iter={fit.n_iter} steps", ConvergenceWarning, stacklevel=2)
        self.coef_, self.intercept_ = points.hyperplanes(fit.planes)
        return points, weights, fit

    def _temperature(
        self, points: Coordinates, labels: Labels, groups: Indices, weights: Floats, fit: Fit, seed: Seed
    ) -> float:
        """The temperature of planes, from fits on parts of the same points that are looked for from these planes."""
        pictures = as_pictures(points.rows, len(labels))

        def decide(train: np.ndarray, held_out: np.ndarray) -> Floats:
            part = pictures[train], labels[train], weights[train]
            (inner,) = self._walk_of(points, *part, self._value(), fit.planes)
            return as_rows(pictures[held_out]) @ inner.planes

        return out_of_fold_temperature(decide, self.classes_[labels], groups, weights, seed)

    def _walk_of(
        self,
        points: Coordinates,
        pictures: Floats,
        labels: Labels,
        weights: Floats,
        values: list[float],
        start: Floats | None = None,
    ) -> Iterator[Fit]:
        """`_walk` on all views of pictures (n, K, r), whose labels and weights are (n,)."""
        return self._walk(points, *by_row(pictures, labels, weights), values, start)

    def _value(self) -> list[float]:
        return [getattr(self, str(self.walked))]

    def path_probabilities(
        self,
        X: ArrayLike,
        y: ArrayLike,
        values: list[float],
        splits: Iterable[Split],
        views: int | None = None,
        predict_views: int | None = None,
    ) -> Iterator[HeldOutAnswer]:
        """What fits on the training pictures of each split say of its held-out ones, for each value of the parameter.

        X: (n, d) or (n, V, d). views: how many of the V views are fitted on; predict_views: how many decide about
        held-out pictures; by default all. What a grid search finds, fitting each value of the walked parameter from the
        one before; the temperature is that of the held-out decisions. A class without a training picture has
        probability 0. `self` stays as it is.
        """
        rows = np.asarray(X, np.float32)
        pictures = as_pictures(rows, len(rows))
        classes, labels = np.unique(y, return_inverse=True)
        order = np.argsort(values)
        ascending = [values[number] for number in order]
        head, points = clone(self), None
        for fold, (train, held_out) in enumerate(splits):
            if points is None or self.normalize == "standard":
                head._learn_scale(pictures[train][:, :views])
                points = head._coordinates(as_rows(head._normalized(pictures)))
            of_pictures = as_pictures(points.rows, len(labels))
            head.classes_ = classes[trained := np.unique(labels[train])]
            of_train = np.searchsorted(trained, labels[train])
            weights = head._row_weights(self.class_weight, of_train)
            deciding = of_pictures[held_out][:, :predict_views]
            for number, fit in zip(
                order.tolist(),
                head._walk_of(points, of_pictures[train][:, :views], of_train, weights, ascending),
                strict=True,
            ):
                decided = as_pictures(as_rows(deciding) @ fit.planes, len(deciding)).astype(np.float64)
                found = np.zeros((len(held_out), len(classes)))
                found[:, trained] = head._mean_probabilities(decided, classes[labels[held_out]])
                yield fold, number, found

    def _mean_probabilities(self, decided: Floats, labels: NDArray[Any]) -> Floats:
        """Probabilities (n, k) of held-out pictures from decisions (n, M, outputs) about their views.

        labels: (n,), of which some may not be among `classes_`.
        """
        known = np.isin(labels, self.classes_)
        of_pictures = decided.mean(axis=1)[known]
        temperature = self._held_out_temperature(of_pictures, np.searchsorted(self.classes_, labels[known]))
        return as_pictures(probabilities(as_rows(decided), temperature), len(labels)).mean(axis=1)

    def _held_out_temperature(self, decided: Floats, labels: Labels) -> float:
        """The temperature of decisions (n, outputs) about held-out pictures, found as from a fit's inner folds."""
        return fit_temperature(by_class(decided), labels) if len(labels) else 1.0


class DescentHead(PathHead):
    """A head whose planes have the least of some loss, with a penalty of 1 / C: what is walked is C."""

    tol: float
    max_iter: int

    @abstractmethod
    def _loss(self, labels: Labels, weights: Floats) -> Loss:
        """The loss of decisions about rows with these labels and weights (n,)."""

    def _walk(
        self,
        points: Coordinates,
        rows: Floats,
        labels: Labels,
        weights: Floats,
        values: list[float],
        start: Floats | None = None,
    ) -> Iterator[Fit]:
        loss = self._loss(labels, weights.astype(rows.dtype))
        return descents(points, rows, loss, values, start, self.tol, self.max_iter)


def descents(
    points: Coordinates, rows: Floats, loss: Loss, values: list[float], start: Floats | None, tol: float, max_iter: int
) -> Iterator[Fit]:
    """The planes for each of some ascending values of C, the inverse of the penalty.

    Each is looked for from where the last two point, as if planes went with the logarithm of C.
    """
    planes = np.zeros((rows.shape[1], loss.outputs), rows.dtype) if start is None else start
    drift, before = np.zeros_like(planes), None
    for C in values:
        lead = math.log(C / before) if before else 0.0
        fit = Descent(rows, points.spread, loss, points.penalised / C).minimum(planes + lead * drift, tol, max_iter)
        if before:
            drift = (fit.planes - planes) / lead
        planes, before = fit.planes, C
        yield fit
