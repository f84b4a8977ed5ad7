"""Whitened, reduced features: linear solvers converge faster on them.

Few rows get fewer columns, and columns become uncorrelated. Both changes are isometries: they keep every length and
angle among the rows, so the optimum of a loss with a penalty on the length of a hyperplane's normal stays the same.
Neither reads a label.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.linalg import eigh  # that of scipy stops every other thread of Python meanwhile, and folds run in threads
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpstrf

from classify.heads.numerics import Floats

# Above this many columns the eigenvectors cost more than the steps that they save.
MOST_TURNED = 4096
# Columns that are brought to float64 at once, to multiply rows of tens of thousands of columns.
CHUNK = 2048

Back = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Coordinates:
    """Rows (n, r) in place of feature rows (n, d), and the way back from planes fitted to them.

    A plane is a column of (r, k) weights; it decides about the rows by `rows @ planes`, the intercept included.
    penalised: (r,) 1, or 0 for the column of the free intercept. spread: (r,) mean squares of the columns.
    """

    rows: Floats
    penalised: Floats
    spread: Floats
    _back: Callable[[Floats], tuple[Floats, Floats]]

    def hyperplanes(self, planes: Floats) -> tuple[Floats, Floats]:
        """Coefficients (k, d) and intercepts (k,), for feature rows, of planes (r, k)."""
        return self._back(planes)


def coordinates(features: Floats, *, free_intercept: bool, uncorrelated: bool, dtype: type[np.floating]) -> Coordinates:
    """Coordinates of feature rows (n, d), in `dtype`.

    free_intercept: whether the intercept is not penalised, as in scikit-learn's logistic and ridge regression;
    otherwise it is the weight of a feature that is 1 everywhere, as in liblinear. uncorrelated: whether the columns
    are turned to the eigenvectors of their products; more than 4096 columns never are.
    """
    # With a free intercept the rows may be moved: the nearer they are to 0, the less it depends on the other weights.
    mean = features.mean(axis=0, dtype=np.float64) * free_intercept
    rows = features.astype(dtype) - mean.astype(dtype)
    ones = np.ones((len(rows), 1), dtype)
    if not free_intercept:
        rows = np.hstack([rows, ones])
    ways: list[Back] = []
    if len(rows) < rows.shape[1] and not uncorrelated:
        rows, back = _span(rows)
        ways.append(back)
    elif len(rows) < rows.shape[1] and len(rows) <= MOST_TURNED:
        rows, back = _turned_span(rows)
        ways.append(back)
    elif uncorrelated and rows.shape[1] <= MOST_TURNED:
        rows, back = _turned(rows)
        ways.append(back)
    penalised = np.ones(rows.shape[1], dtype)
    if free_intercept:
        rows, penalised = np.hstack([rows, ones]), np.append(penalised, np.zeros(1, dtype))

    def hyperplanes(planes: Floats) -> tuple[Floats, Floats]:
        normals, intercept = (planes[:-1], planes[-1]) if free_intercept else (planes, 0)
        for back in reversed(ways):
            normals = back(normals)
        if not free_intercept:
            normals, intercept = normals[:-1], normals[-1]
        return normals.T, intercept - mean.astype(dtype) @ normals

    return Coordinates(rows, penalised, np.einsum("ij,ij->j", rows, rows) / len(rows), hyperplanes)


def _span(rows: Floats) -> tuple[Floats, Back]:
    """As many columns as there are independent rows (n, d), n < d: the optimal normals lie in the rows' span.

    The products of the rows are factored by Cholesky with pivots: copies of a row are no obstacle.
    """
    factor, order, rank, _ = dpstrf(_products(rows), lower=True)
    factor, order = np.tril(factor)[:, :rank], order - 1
    reduced = np.empty((len(rows), rank), rows.dtype)
    reduced[order] = factor
    spanning = order[:rank]

    def back(normals: Floats) -> Floats:
        weights = solve_triangular(factor[:rank], normals.astype(np.float64), lower=True, trans="T")
        return rows[spanning].T @ weights.astype(rows.dtype)

    return reduced, back


def _turned_span(rows: Floats) -> tuple[Floats, Back]:
    """Both at once: as many columns as there are independent rows (n, d), n < d, along the eigenvectors.

    Those of the rows' products. Theirs alone: factors by Cholesky would stop every other thread of Python meanwhile.
    """
    squares, vectors = eigh(_products(rows))
    kept = squares > squares[-1] * len(rows) * np.finfo(np.float64).eps
    lengths, vectors = np.sqrt(squares[kept]), vectors[:, kept]

    def back(normals: Floats) -> Floats:
        weights = vectors @ (normals.astype(np.float64) / lengths[:, None])
        return rows.T @ weights.astype(rows.dtype)

    return (vectors * lengths).astype(rows.dtype), back


def _products(rows: Floats) -> Floats:
    """Those of the rows with each other (n, n), in float64 because they square the spread."""
    products = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], CHUNK):
        chunk = rows[:, start : start + CHUNK].astype(np.float64)
        products += chunk @ chunk.T
    return products


def _turned(rows: Floats) -> tuple[Floats, Back]:
    """The rows (n, r) along the eigenvectors of their columns' products: these become uncorrelated."""
    vectors = eigh((rows.T @ rows).astype(np.float64))[1].astype(rows.dtype)
    return rows @ vectors, lambda normals: vectors @ normals
