"""Outliers: pictures unlike all that a model was trained on, by their distance from the training pictures.

A head spreads its probability over the classes that it knows, whatever it is shown, and is often sure of what it has
never seen. So the features decide. The distance of a picture is 1 - its mean cosine with the 5 nearest training
pictures (all but one, of fewer). A picture is an outlier where its distance is above the limit within which a given
share of known pictures lies. That limit comes from the training pictures themselves, each compared with the others. Of
near-duplicates one counts: a new known picture has none either. This is the leave-one-out form of conformal anomaly
detection, Laxhammar and Falkman, "Conformal prediction for distribution-
independent anomaly detection in streaming vessel data", StreamKDD 2010, with the distances of Angiulli and Pizzuti,
"Fast outlier detection in high dimensional spaces", PKDD 2002. What else was tried:
`python benchmarks/accuracy/unknowns.py FOLDER --weights FILE`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from cache.stored_rows import Rows, StoredRows
from classify.heads.numerics import Floats, blocks, unit_rows
from classify.heads.streaming import chunks

NEIGHBOURS = 5
WIDEST = 2048  # numbers that are kept of a row
LARGEST = 4 * 2**20  # bytes that all rows take together: of more pictures so many are drawn,
MOST = 8192  # and never more than these
ARRAYS = ("known_rows", "known_distances")


@dataclass(frozen=True, eq=False)
class OutlierDetector:
    """What is kept of the training pictures, or of some of them, to find outliers.

    rows: (m, w) int8, the directions of their rows; w is the number of features, at most 2048. distances: (m,) float32
    ascending, that of each from the others; none of one picture. (Models of earlier versions hold near-duplicates too,
    and the distances of those that have others.)
    """

    rows: NDArray[np.int8]
    distances: NDArray[np.float32]

    @classmethod
    def of(cls, rows: Rows, duplicates: NDArray[np.intp], groups: NDArray[np.intp] | None = None) -> Self:
        """From rows (n, d) of training pictures. duplicates (n,): equal numbers for near-duplicates.

        The first of near-duplicates counts. groups (n,): equal numbers for pictures that are not compared, such as
        those of one camera site; by default each is compared with all others. Of more than 4 MiB hold (3,276 with 1,280
        features) some are drawn, always the same ones.
        """
        width = min(rows.shape[1], WIDEST)
        different = np.sort(np.unique(duplicates, return_index=True)[1])
        drawn = np.random.RandomState(0).permutation(len(different))[: min(MOST, LARGEST // width)]
        kept = np.empty((len(drawn), width), np.int8)
        for members, chunk in chunks(rows[different[np.sort(drawn)]]):
            directions = _directions(chunk)
            largest = np.abs(directions).max(axis=1, keepdims=True)
            kept[members] = np.rint(directions * (127 / np.where(largest > 0, largest, 1)))
        known = cls(kept, np.empty(0, np.float32))
        own = np.arange(len(kept)) if groups is None else groups[different[np.sort(drawn)]]
        parts = blocks(len(kept), len(kept)) if len(np.unique(own)) > 1 else []
        distances = [known.distances, *(known._from(known.units[part], own[part, None] == own) for part in parts)]
        return cls(kept, np.sort(np.concatenate(distances)))

    def distances_of(self, rows: Rows) -> Floats:
        """How far each of some pictures is: (n,) float32, from 0 to 2. rows: (n, d), or (n, M, d)."""
        if isinstance(rows, StoredRows):
            return rows.apply(self.distances_of)
        parts = blocks(len(rows), max(len(self.rows), rows.shape[-1]))
        return np.concatenate([np.empty(0, np.float32), *(self._from(_directions(rows[part])) for part in parts)])

    def limit(self, share: float) -> float:
        """The distance within which a share of known pictures is.

        Of n pictures the one numbered ceil((n + 1) share) by distance, so that a new known picture is within it with at
        least this probability. (It is compared with all n, each of these with one fewer: it is nearer if anything.)
        Raises UserError for what is no share, and where n is below that number: no limit then promises the share.
        """
        if isinstance(share, bool) or not isinstance(share, int | float | np.floating) or not 0 < share < 1:
            raise UserError(
                f"reject {share!r}: give the share of known pictures to keep, between 0 and 1, such as 0.95"
            )
        count, exact = len(self.distances), Fraction(str(share))  # as it was written: 0.95 is a little more in binary
        if (rank := math.ceil((count + 1) * exact)) > count:
            needed, most = math.ceil(exact / (1 - exact)), math.floor(1000 * count / (count + 1)) / 1000
            raise UserError(
                f"reject {share}: this share takes {needed} different training pictures, the model has {count or 1}: "
                f"train it with more" + (f", or give a share of {most:g} or less" if count else "")
            )
        return float(self.distances[rank - 1])

    def _from(self, directions: Floats, own: NDArray[np.bool_] | None = None) -> Floats:
        """Distances (n,) of directions (n, w); own (n, m): which rows are no neighbours of each, for some are."""
        neighbours = self.neighbours
        cosines = directions @ self.units.T
        if own is not None:
            cosines[own] = -np.inf
        nearest = np.partition(cosines, len(self.rows) - neighbours, axis=1)[:, -neighbours:]
        if own is None or np.isfinite(nearest).all():
            return 1 - nearest.mean(axis=1)
        there = np.isfinite(nearest)  # fewer where a group leaves fewer others
        return (1 - np.where(there, nearest, 0).sum(axis=1) / there.sum(axis=1)).astype(np.float32)

    @property
    def neighbours(self) -> int:
        """How many training pictures a picture is compared with: as many as each of these has."""
        return max(1, min(NEIGHBOURS, len(self.rows) - 1))

    @cached_property
    def units(self) -> Floats:
        """The directions (m, w) float32, of length 1."""
        return unit_rows(self.rows.astype(np.float32))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Both as named arrays."""
        return dict(zip(ARRAYS, (self.rows, self.distances), strict=True))

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]], features: int) -> Self:
        """What `to_arrays` gave, of rows of so many `features`. Raises ValueError for anything else, KeyError."""
        rows, distances = (named[name] for name in ARRAYS)
        shaped = rows.ndim == 2 and len(rows) and rows.shape[1] == min(features, WIDEST) and distances.ndim == 1
        if not shaped or rows.dtype != np.int8 or distances.dtype != np.float32:
            raise ValueError(f"known_rows has type {rows.dtype!s:.50} and shape {rows.shape!s:.50}")
        if not np.isfinite(distances).all() or (np.diff(distances) < 0).any():
            raise ValueError("known_distances are no ascending numbers")
        return cls(rows, distances)


def _directions(rows: Floats) -> Floats:
    """Rows (n, d) as (n, w) float32 of length 1; of pictures in several views (n, M, d) the first: as it is."""
    flat = (rows[:, 0] if rows.ndim == 3 else rows).astype(np.float32, copy=False)
    return unit_rows(_folded(flat) if flat.shape[1] > WIDEST else flat)


def _folded(rows: Floats) -> Floats:
    """Rows (n, d) in 2048 numbers, with nearly the same cosines: each is a sum of features with random signs.

    Charikar, Chen and Farach-Colton, "Finding frequent items in data streams", ICALP 2002.
    """
    order, signs = folding(rows.shape[1])
    padded = np.zeros((len(rows), -(-rows.shape[1] // WIDEST) * WIDEST), np.float32)
    padded[:, : rows.shape[1]] = rows[:, order] * signs
    return padded.reshape(len(rows), -1, WIDEST).sum(axis=1)


@lru_cache(maxsize=1)
def folding(width: int) -> tuple[NDArray[np.intp], Floats]:
    """An order (width,) of the features and a sign (width,) for each, by the generator that numpy never changes."""
    random = np.random.RandomState(0)
    return random.permutation(width), np.where(random.random_sample(width) < 0.5, -1, 1).astype(np.float32)
