"""What follows the features in an exported graph: normalisation, head, temperature; the distance of outliers.

Written in `Operations`, as `classify.heads` and `classify.scoring.outliers` have it in numpy.
"""

from typing import Any

import numpy as np

from cache.errors import UserError
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
    if (arrays := head.arrays()) is not None:  # of a model that is unpickled
        return probabilities_of(ops, arrays, rows)
    from classify.heads.neighbours import KNNHead  # two heads that need scikit-learn
    from classify.heads.svm import SVMHead

    if isinstance(head, KNNHead):
        return _of_neighbours(ops, head, rows)
    if isinstance(head, SVMHead):
        return _of_kernel_machine(ops, head, rows)
    raise UserError(f"a head {type(head).__name__} has no form that can be exported: train another one")


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


def _of_neighbours(ops: Operations, head: Any, rows: Tensor) -> Tensor:
    """A softmax of the nearest cosines weighs their votes."""
    from classify.heads.neighbours import PRIOR_VOTES

    rows = ops.unit(_normalized(ops, rows, head.normalize, head.mean_, head.scale_))
    cosines, where = ops.largest(ops.dense(rows, head.rows_.T), head.n_neighbors_)
    weights = cosines * _number(0) + _number(1)
    if head.temperature is not None:
        weights = ops.softmax(cosines / _number(head.temperature)) * _number(head.n_neighbors_)
    votes = np.eye(len(head.classes_))[head.labels_] * np.asarray(head.votes_)[:, None]
    found = ops.weighted(weights, ops.looked_up(votes, where)) + (PRIOR_VOTES * head.prior_).astype(np.float32)
    return found / ops.total(found)


def _of_kernel_machine(ops: Operations, head: Any, rows: Tensor) -> Tensor:
    """Similarities exp(-gamma |x - r|^2) with the training rows r, all squares of distances in one matrix product."""
    rows = _normalized(ops, rows, head.normalize, head.mean_, head.scale_)
    known, gamma = np.asarray(head.rows_, np.float64), float(head.gamma_)
    scaled = ops.dense(rows, -2 * gamma * known.T, gamma * np.square(known).sum(axis=1))
    squares = scaled + ops.total(rows * rows) * _number(gamma)
    similarities = ops.exp(ops.relu(squares) * _number(-1))  # rounding may make a distance negative
    return _softmax(ops, similarities, head.coef_.T, head.intercept_, head.temperature_)


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
