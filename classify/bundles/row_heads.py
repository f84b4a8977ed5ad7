"""Heads that compare with training rows, as plain arrays: the predictions of `knn` and of `svm` with kernel rbf.

They hold every training row, which is why a saved model has them in its pickle alone; a bundle has no pickle.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.stored_rows import StoredRows
from classify.heads.numerics import Floats, decisions, in_blocks, normalized, probabilities, unit_rows

PRIOR_VOTES = 0.5  # as in `classify.heads.neighbours`


@dataclass(frozen=True, eq=False)
class RowHead(ABC):
    """Classes (k,) in sorted order, training rows (n, d), and how rows are normalised, as `ArrayHead` has it."""

    classes_: NDArray[Any]
    rows: Floats
    normalize: str
    mean: Floats | None
    scale: Floats | None

    @property
    def n_features_in_(self) -> int:
        """How many features a row has."""
        return self.rows.shape[1]

    def predict_proba(self, X: ArrayLike | StoredRows) -> Floats:
        """As `ArrayHead.predict_proba`."""
        if isinstance(X, StoredRows):
            return X.apply(self.predict_proba)
        rows = np.asarray(X, np.float32)
        fitting = rows.ndim in (2, 3) and rows.size and rows.shape[-1] == self.n_features_in_
        if not fitting or not np.isfinite(rows).all():
            raise ValueError(f"give rows (n, {self.n_features_in_}) of finite numbers; these are {rows.shape}")
        return in_blocks(
            rows,
            max(self.rows.shape),
            lambda block: self.of_normalized(normalized(block, self.normalize, self.mean, self.scale)),
        )

    def predict(self, X: ArrayLike | StoredRows) -> NDArray[Any]:
        """The most probable class (n,) of each row of X (n, d), or picture of X (n, M, d)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    @abstractmethod
    def of_normalized(self, rows: Floats) -> Floats:
        """Probabilities (n, k) for rows (n, d) float64 that are normalised already."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as named arrays, none of objects."""
        named = {one.name.rstrip("_"): getattr(self, one.name) for one in fields(self)}
        return {name: np.asarray(value) for name, value in named.items() if value is not None}

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]]) -> Self:
        """The head of `to_arrays`. Raises ValueError for arrays that are not those of a head that can predict."""
        names = {one.name.rstrip("_"): one.name for one in fields(cls)}
        if named.keys() != names.keys() and named.keys() != names.keys() - {"mean", "scale"}:
            raise ValueError(f"not the arrays of a head: {', '.join(sorted(named))!r:.100}")
        given: dict[str, Any] = {"mean": None, "scale": None}
        given |= {names[name]: array for name, array in named.items()}
        head = cls(**(given | {"normalize": str(given["normalize"])}))
        rows, width = head.rows, head.rows.shape[1:]
        numbers = [array for name, array in named.items() if name not in ("classes", "labels", "normalize")]
        finite = all(array.dtype.kind in "fi" and not np.isnan(array).any() for array in numbers)
        if not finite or not np.isfinite(rows).all():
            raise ValueError("its rows are not finite numbers")
        shaped = rows.ndim == 2 and len(rows) and head.classes_.ndim == 1
        shaped = shaped and 1 < len(head.classes_) == len(np.unique(head.classes_))
        if head.mean is not None and head.scale is not None:
            shaped = shaped and head.mean.shape == head.scale.shape == width and bool((head.scale > 0).all())
        known = ("l2", "none") if head.scale is None else ("standard",)
        if not shaped or head.normalize not in known or not head._fits():
            raise ValueError("the shapes of its arrays do not fit each other")
        return head

    @abstractmethod
    def _fits(self) -> bool:
        """Whether what else the head holds fits its rows and classes."""


@dataclass(frozen=True, eq=False)
class NeighbourHead(RowHead):
    """`knn`: rows of length 1; labels (n,) int64, votes (n,), prior (k,).

    neighbours: () int64, how many vote. temperature: () float64, infinite for equal votes.
    """

    labels: NDArray[np.int64]
    votes: Floats
    prior: Floats
    neighbours: NDArray[np.int64]
    temperature: Floats

    def of_normalized(self, rows: Floats) -> Floats:
        """As `KNNHead`."""
        cosines = unit_rows(rows) @ self.rows.T.astype(np.float64)
        count = int(self.neighbours)
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(cosines, nearest, axis=1)
        weights = np.exp((near - near.max(axis=1, keepdims=True)) / float(self.temperature))
        weights *= count / weights.sum(axis=1, keepdims=True)
        votes = np.tile(PRIOR_VOTES * self.prior, (len(rows), 1))
        np.add.at(votes, (np.arange(len(rows))[:, None], self.labels[nearest]), weights * self.votes[nearest])
        return votes / votes.sum(axis=1, keepdims=True)

    def _fits(self) -> bool:
        count, classes = len(self.rows), len(self.classes_)
        shaped = self.labels.shape == self.votes.shape == (count,) and self.prior.shape == (classes,)
        shaped = shaped and self.labels.dtype == np.int64 and self.neighbours.dtype == np.int64
        shaped = shaped and self.neighbours.shape == self.temperature.shape == ()
        return (
            shaped
            and 0 < int(self.neighbours) <= count
            and 0 <= self.labels.min() <= self.labels.max() < classes
            and float(self.temperature) > 0
            and bool((self.prior > 0).all() and np.isfinite(self.votes).all() and (self.votes >= 0).all())
        )


@dataclass(frozen=True, eq=False)
class KernelHead(RowHead):
    """`svm` with kernel rbf: coef (n, k), or (n, 1) for the second of two classes, intercept (k,) or (1,).

    gamma, temperature: () float64.
    """

    coef: Floats
    intercept: Floats
    gamma: Floats
    temperature: Floats

    def of_normalized(self, rows: Floats) -> Floats:
        """As `SVMHead`."""
        known = self.rows.astype(np.float64)
        squares = (rows**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * rows @ known.T
        similarities = np.exp(-float(self.gamma) * np.maximum(squares, 0))
        return probabilities(decisions(similarities, [(self.coef, self.intercept)]), float(self.temperature))

    def _fits(self) -> bool:
        classes = len(self.classes_)
        outputs = {classes, 1} if classes == 2 else {classes}
        shaped = self.coef.ndim == 2 and len(self.coef) == len(self.rows) and self.coef.shape[1] in outputs
        shaped = shaped and self.intercept.shape == self.coef.shape[1:]
        shaped = shaped and self.gamma.shape == self.temperature.shape == ()
        numbers = np.isfinite(self.coef).all() and np.isfinite(self.intercept).all()
        return bool(shaped and numbers and 0 < self.gamma < np.inf and 0 < self.temperature < np.inf)


def is_row_head(named: Mapping[str, NDArray[Any]]) -> bool:
    """Whether arrays are those of such a head."""
    return "rows" in named


def read_row_head(named: Mapping[str, NDArray[Any]]) -> RowHead:
    """The head of `RowHead.to_arrays`. Raises ValueError for anything else."""
    return (KernelHead if "gamma" in named else NeighbourHead).from_arrays(named)


def row_head(estimator: Any) -> RowHead | None:
    """The array form of a fitted estimator that compares with training rows; None of others."""
    from classify.heads.neighbours import KNNHead
    from classify.heads.svm import SVMHead

    classes, how = estimator.classes_, (estimator.normalize, estimator.mean_, estimator.scale_)
    if classes.dtype.hasobject:  # objects would be pickled
        return None
    if isinstance(estimator, KNNHead):
        equal = estimator.temperature is None
        return NeighbourHead(
            classes,
            estimator.rows_,
            *how,
            estimator.labels_.astype(np.int64),
            estimator.votes_,
            estimator.prior_,
            np.array(estimator.n_neighbors_, np.int64),
            np.array(np.inf if equal else estimator.temperature, np.float64),
        )
    if isinstance(estimator, SVMHead) and estimator.kernel == "rbf":
        numbers = (np.array(value, np.float64) for value in (estimator.gamma_, estimator.temperature_))
        return KernelHead(classes, estimator.rows_, *how, estimator.coef_.T, estimator.intercept_, *numbers)
    return None
