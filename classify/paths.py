"""Heads of hyperplanes, and the search for the strength of their regularisation: one set of coordinates for all fits.

Where the coordinates are found from all rows, held-out ones among them, nothing leaks: they are isometries found
without a label (`classify.coordinates`), and the planes are fitted on the training rows alone.
"""

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from classify.base import ClassWeight, FeatureHead, Labels, Seed
from classify.calibrated import fit_temperature, out_of_fold_temperature
from classify.coordinates import Coordinates
from classify.descent import Descent, Fit
from classify.losses import Loss
from classify.numerics import Floats, by_class, probabilities
from classify.pictures import as_pictures, as_rows, by_row
from classify.split import Indices, Split


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

    def path_accuracies(
        self,
        X: ArrayLike,
        y: ArrayLike,
        values: list[float],
        splits: Iterable[Split],
        views: int | None = None,
        predict_views: int | None = None,
    ) -> Floats:
        """Accuracies (values, splits) of fits on the training pictures of each split about its held-out ones.

        X: (n, d) or (n, V, d). views: how many of the V views are fitted on; predict_views: how many decide about
        held-out pictures; by default all. What `GridSearchCV` finds, fitting each value of the walked parameter from
        the one before. `self` stays as it is.
        """
        head = clone(self)
        rows = np.asarray(X, np.float32)
        pictures = as_pictures(rows, len(rows))
        head.classes_, labels = np.unique(y, return_inverse=True)
        order = np.argsort(values)
        ascending = [values[number] for number in order]
        accuracies = []
        points = None
        for train, held_out in splits:
            if points is None or self.normalize == "standard":
                head._learn_scale(pictures[train][:, :views])
                points = head._coordinates(as_rows(head._normalized(pictures)))
            of_pictures = as_pictures(points.rows, len(labels))
            weights = head._row_weights(self.class_weight, labels[train])
            fits = head._walk_of(points, of_pictures[train][:, :views], labels[train], weights, ascending)
            deciding = of_pictures[held_out][:, :predict_views]
            decisions = (as_pictures(as_rows(deciding) @ fit.planes, len(deciding)) for fit in fits)
            accuracies.append([head._share_right(found, labels[held_out]) for found in decisions])
        return np.array(accuracies).T[np.argsort(order)]

    def _share_right(self, decided: Floats, labels: Labels) -> float:
        """The share of held-out pictures that decisions (n, M, outputs) about their views label rightly.

        As predictions do it: by the mean of the views' probabilities.
        """
        if decided.shape[1] == 1:  # whatever the temperature
            found = by_class(decided[:, 0])
        else:
            temperature = self._held_out_temperature(decided.mean(axis=1), labels)
            found = as_pictures(probabilities(as_rows(decided), temperature), len(labels)).mean(axis=1)
        return float(np.mean(found.argmax(axis=1) == labels))

    def _held_out_temperature(self, decided: Floats, labels: Labels) -> float:
        """The temperature of decisions (n, outputs) about held-out pictures, found as from a fit's inner folds."""
        return fit_temperature(by_class(decided), labels)


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
