"""Heads of hyperplanes, and the search for the strength of their regularisation: one set of coordinates for all fits.

Coordinates of all rows, held-out ones among them, leak nothing: they are isometries that read no label
(`classify.heads.solver.whitening`), and planes are fitted on training rows alone.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from classify.data.split import Indices, Split
from classify.heads.base import ClassWeight, Examples, Labels, Seed
from classify.heads.calibrated import fit_temperature, held_out_temperature, out_of_fold_temperature
from classify.heads.deciding_head import DecidingHead
from classify.heads.numerics import Floats, as_pictures, as_rows, by_class, by_row, probabilities
from classify.heads.solver.descent import LEAST_IN_FLOAT32, Descent, Fit
from classify.heads.solver.losses import Loss
from classify.heads.solver.whitening import Coordinates, coordinates
from classify.scoring.parallel_folds import in_parallel

# Index of the split, index of the candidate, probabilities (m, k) of the m held-out pictures, columns by all classes.
HeldOutProbabilities = tuple[int, int, Floats]


class PathHead(DecidingHead):
    """A head of hyperplanes that fits many values of one parameter in little more time than one.

    walked: the name of that parameter; None where the other parameters rule it out. calibrated: whether decisions
    become probabilities by a temperature, which is fitted on held-out pictures.
    """

    walked: str | None
    calibrated: ClassVar[bool] = True
    class_weight: ClassWeight
    random_state: Seed

    @property
    def validates(self) -> str | None:
        return "the temperature of its probabilities" if self.calibrated else None

    @abstractmethod
    def _coordinates(self, rows: Floats) -> Coordinates:
        """Coordinates of normalised rows (n, d), which the solver of this head works in."""

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
        """The planes for each of some ascending values of the walked parameter; the first fit starts from `start`.

        rows: (n, r), all or some of those of `points`; labels and weights (n,) are theirs.
        """

    def _fit(self, training: Examples, groups: Indices, validation: Examples | None) -> None:
        """Set `coef_`, `intercept_`, `n_iter_` and, where the head is calibrated, `temperature_`.

        The fits for the temperature are made on parts of the same points, and start from the planes of all.
        """
        value = [getattr(self, str(self.walked))]
        labels = training.labels
        points = self._coordinates(as_rows(training.pictures))
        pictures = as_pictures(points.rows, len(labels))
        weights = self._row_weights(self.class_weight, labels, training.weights)
        (fit,) = self._walk(points, *by_row(pictures, labels, weights), value)
        self.n_iter_, self.converged_ = fit.n_iter, fit.converged
        self.coef_, self.intercept_ = points.hyperplanes(fit.planes)

        def decide(train: np.ndarray, held_out: np.ndarray) -> Floats:
            part = by_row(pictures[train], labels[train], weights[train])
            (inner,) = self._walk(points, *part, value, fit.planes)
            return as_rows(pictures[held_out]) @ inner.planes

        if self.calibrated and validation:
            decided = self._decisions(as_rows(validation.pictures).astype(np.float64))
            of_validation = self._validation_weights(self.class_weight, training, validation)
            self.temperature_ = held_out_temperature(decided, validation.labels, of_validation)
        elif self.calibrated:
            y = self.classes_[labels]
            self.temperature_ = out_of_fold_temperature(decide, y, groups, weights, self.random_state)

    def path_probabilities(
        self,
        X: ArrayLike,
        y: ArrayLike,
        values: list[float],
        splits: Iterable[Split],
        views: int | None = None,
        predict_views: int | None = None,
        n_jobs: int = 1,
    ) -> Iterator[HeldOutProbabilities]:
        """Probabilities of the held-out pictures of each split, for each value of the walked parameter.

        X: (n, d) or (n, V, d). views: how many of the V views are fitted on; predict_views: how many decide about
        held-out pictures; by default all. The results are those of a grid search, but each fit starts from that of the
        value before, and the temperature is fitted on the held-out decisions. A class without a training picture has
        probability 0. n_jobs: how many splits are at work at once. `self` stays as it is.
        """
        rows = np.asarray(X, np.float32)
        pictures = as_pictures(rows, len(rows))
        classes, labels = np.unique(y, return_inverse=True)
        order = np.argsort(values)
        ascending = [values[number] for number in order]

        def of_training(train: np.ndarray) -> Coordinates:
            head = clone(self)
            head._learn_scale(pictures[train][:, :views], np.ones(len(train)))
            return head._coordinates(as_rows(head._normalized(pictures)))

        shared = None if self.normalize == "standard" else of_training(np.arange(1))

        def answers(split: Split) -> list[Floats]:
            """In the order of the ascending values."""
            train, held_out = split
            points = shared or of_training(train)
            of_pictures = as_pictures(points.rows, len(labels))
            head = clone(self)
            head.classes_ = classes[trained := np.unique(labels[train])]
            of_train = np.searchsorted(trained, labels[train])
            weights = head._row_weights(self.class_weight, of_train)
            deciding = of_pictures[held_out][:, :predict_views]
            part = by_row(of_pictures[train][:, :views], of_train, weights)
            known = np.isin(labels[held_out], trained)
            of_known = np.searchsorted(trained, labels[held_out][known])
            answered: list[Floats] = []
            for fit in head._walk(points, *part, ascending):
                decided = as_pictures(as_rows(deciding) @ fit.planes, len(deciding)).astype(np.float64)
                temperature = 1.0
                if self.calibrated and known.any():
                    temperature = fit_temperature(by_class(decided.mean(axis=1)[known]), of_known)
                found = np.zeros((len(held_out), len(classes)))
                of_views = probabilities(as_rows(decided), temperature)
                found[:, trained] = as_pictures(of_views, len(held_out)).mean(axis=1)
                answered.append(found)
            return answered

        for fold, answered in enumerate(in_parallel(answers, [*splits], n_jobs)):
            for number, found in zip(order.tolist(), answered, strict=True):
                yield fold, number, found


class DescentHead(PathHead):
    """A head whose planes have the least `loss`, with a penalty of 1 / C: the walked parameter is C."""

    loss: ClassVar[type[Loss]]
    free_intercept: ClassVar[bool]
    tol: float
    max_iter: int

    def _coordinates(self, rows: Floats) -> Coordinates:
        dtype = np.float32 if self.tol >= LEAST_IN_FLOAT32 else np.float64
        return coordinates(rows, free_intercept=self.free_intercept, uncorrelated=True, dtype=dtype)

    def _walk(
        self,
        points: Coordinates,
        rows: Floats,
        labels: Labels,
        weights: Floats,
        values: list[float],
        start: Floats | None = None,
    ) -> Iterator[Fit]:
        """The values of C; each fit starts where the last two point, as if planes went with the logarithm of C."""
        loss = self.loss(labels, weights.astype(rows.dtype))
        planes = np.zeros((rows.shape[1], loss.outputs), rows.dtype) if start is None else start
        drift, before = np.zeros_like(planes), None
        for C in values:
            lead = math.log(C / before) if before else 0.0
            descent = Descent(rows, points.spread, loss, points.penalised / C)
            fit = descent.minimum(planes + lead * drift, self.tol, self.max_iter)
            if before:
                drift = (fit.planes - planes) / lead
            planes, before = fit.planes, C
            yield fit
