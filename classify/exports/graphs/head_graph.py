"""What follows the features in an exported graph: normalisation, head, temperature; the distance of outliers.

Written in `Operations`, as `classify.heads` and `classify.scoring.outliers` have it in numpy.
"""

from typing import Any

import numpy as np

from cache.errors import UserError
from classify.bundles.row_heads import PRIOR_VOTES, KernelHead, NeighbourHead, RowHead, row_head
from classify.exports.graphs.operations import Operations, Tensor
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Floats
from classify.scoring.outliers import WIDEST, OutlierDetector, folding


def probabilities_of(ops: Operations, head: Any, rows: Tensor) -> Tensor:
    """Probabilities (n, k) of rows (n, d), or of decisions (n, k) where the network ends in these.

    head: what predicts in a saved model. Raises UserError for one that has no such form.
    """
    if isinstance(head, TunedHead):
        return ops.softmax(rows)
    if isinstance(head, ArrayHead):
        return _of_arrays(ops, head, rows)
    if not isinstance(head, RowHead) and (arrays := head.arrays()) is not None:  # of a model that is unpickled
        return probabilities_of(ops, arrays, rows)
    if (compares := head if isinstance(head, RowHead) else row_head(head)) is None:
        raise UserError(f"a head {type(head).__name__} has no form that can be exported: train another one")
    rows = _normalized(ops, rows, compares.normalize, compares.mean, compares.scale)
    if isinstance(compares, KernelHead):
        return _of_kernel_machine(ops, compares, rows)
    assert isinstance(compares, NeighbourHead)
    return _of_neighbours(ops, compares, rows)


def distance_of(ops: Operations, outliers: OutlierDetector, rows: Tensor) -> Tensor:
    """How far each of some pictures is from the training pictures: (n,). rows: (n, d), as the network gives them."""
    if (width := ops.width(rows)) > WIDEST:
        rows = ops.folded(rows, *folding(width), WIDEST)
    nearest, _ = ops.largest(ops.dense(ops.unit(rows), outliers.units.T), outliers.neighbours)
    return ops.mean(nearest) * _number(-1) + _number(1)


def _number(value: float) -> Floats:
    """A constant for + - * /. (OpenVINO takes a plain number that is whole for an integer.)"""
    return np.array([value], np.float32)


def _of_arrays(ops: Operations, head: ArrayHead, rows: Tensor) -> Tensor:
    rows = _normalized(ops, rows, head.normalize, head.mean, head.scale)
    if head.cosine:
        rows = ops.unit(rows)
    *inner, (kernel, bias) = head.layers
    for inner_kernel, inner_bias in inner:
        rows = ops.relu(ops.dense(rows, inner_kernel, inner_bias))
    return _softmax(ops, rows, kernel, bias, head.temperature)


def _of_neighbours(ops: Operations, head: NeighbourHead, rows: Tensor) -> Tensor:
    """A softmax of the nearest cosines weighs their votes."""
    count = int(head.neighbours)
    cosines, where = ops.largest(ops.dense(ops.unit(rows), head.rows.T), count)
    weights = ops.softmax(cosines * _number(1 / float(head.temperature))) * _number(count)
    votes = np.eye(len(head.classes_))[head.labels] * head.votes[:, None]
    found = ops.weighted(weights, ops.looked_up(votes, where)) + (PRIOR_VOTES * head.prior).astype(np.float32)
    return found / ops.total(found)


def _of_kernel_machine(ops: Operations, head: KernelHead, rows: Tensor) -> Tensor:
    """Similarities exp(-gamma |x - r|^2) with the training rows r, all squares of distances in one matrix product."""
    known, gamma = head.rows.astype(np.float64), float(head.gamma)
    scaled = ops.dense(rows, -2 * gamma * known.T, gamma * np.square(known).sum(axis=1))
    squares = scaled + ops.total(rows * rows) * _number(gamma)
    similarities = ops.exp(ops.relu(squares) * _number(-1))  # rounding may make a distance negative
    return _softmax(ops, similarities, head.coef, head.intercept, float(head.temperature))


def _normalized(ops: Operations, rows: Tensor, normalize: str, mean: Floats | None, scale: Floats | None) -> Tensor:
    if normalize == "l2":
        return ops.unit(rows)
    if mean is not None and scale is not None:
        return (rows - mean.astype(np.float32)) / scale.astype(np.float32)
    return rows


def _softmax(ops: Operations, rows: Tensor, kernel: Floats, bias: Floats, temperature: float) -> Tensor:
    """Softmax of the last layer's decisions / temperature; one column decides for the second of two classes."""
    if kernel.shape[1] == 1:
        kernel, bias = (np.concatenate([np.zeros_like(part), part], axis=-1) for part in (kernel, bias))
    return ops.softmax(ops.dense(rows, kernel / temperature, bias / temperature))
