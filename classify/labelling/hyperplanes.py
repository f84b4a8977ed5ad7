"""Logistic regression that starts where the last one ended: after ten more labels a few steps reach the new optimum.

It is the head `logreg`, with its parameters: the same loss and penalty have the same optimum, the same tolerance ends
the descent. Only the way there is another: a head that is fitted once turns its features first, which takes longer than
all the steps that are left here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classify.heads.linear import LogRegHead
from classify.heads.numerics import Floats, probabilities
from classify.heads.solver.descent import Descent
from classify.heads.solver.losses import SoftmaxLoss


@dataclass(frozen=True, eq=False)
class Hyperplanes:
    """Coefficients (k, d) and intercepts (k,), float32, in the order of `classes`; n_iter: steps that led to them."""

    classes: list[str]
    coefficients: Floats
    intercepts: Floats
    n_iter: int

    def probabilities(self, rows: Floats) -> Floats:
        """Of each class, for rows (n, d): (n, k). In the rows' precision: no copy of all of them."""
        return probabilities(rows @ self.coefficients.T + self.intercepts)


def fit_hyperplanes(rows: Floats, labels: NDArray[np.str_], start: Hyperplanes | None = None) -> Hyperplanes:
    """Fit to rows (n, d) of length 1 with labels (n,) of two classes at least.

    start: what was fitted to most of these labels; its classes may be others.
    """
    head = LogRegHead()
    classes, codes = np.unique(labels, return_inverse=True)
    loss = SoftmaxLoss(codes, np.ones(len(rows), np.float32))
    # The nearer the rows are to 0, the less the intercepts depend on the other weights.
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = np.ones((len(rows), rows.shape[1] + 1), np.float32)
    np.subtract(rows, mean, out=centred[:, :-1])
    penalties = np.full(centred.shape[1], 1 / head.C, np.float32)
    penalties[-1] = 0
    spread = np.einsum("ij,ij->j", centred, centred) / len(centred)
    first = _planes(start, classes.tolist(), mean) if start else np.zeros((centred.shape[1], len(classes)), np.float32)
    if loss.outputs == 1:  # of two classes a single plane decides
        first = first[:, 1:] - first[:, :1]
    fit = Descent(centred, spread, loss, penalties).minimum(first, head.tol, head.max_iter)
    planes = np.hstack([-fit.planes / 2, fit.planes / 2]) if loss.outputs == 1 else fit.planes
    normals, intercepts = planes[:-1], planes[-1] - mean @ planes[:-1]
    return Hyperplanes([str(name) for name in classes], normals.T, intercepts - intercepts.mean(), fit.n_iter)


def _planes(start: Hyperplanes, classes: list[str], mean: Floats) -> Floats:
    """Planes (d + 1, k) for rows that `mean` is taken from; those of new classes are 0."""
    columns = dict(zip(start.classes, np.vstack([start.coefficients.T, start.intercepts]).T, strict=True))
    nothing = np.zeros(len(mean) + 1, np.float32)
    planes = np.stack([columns.get(name, nothing) for name in classes], axis=1)
    planes[-1] += mean @ planes[:-1]
    return planes
