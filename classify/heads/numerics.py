"""From feature rows, or views of pictures, to probabilities, in numpy alone: predicting needs no scikit-learn.

Pictures of K views are (n, K, d): a picture is axis 0, its views are axis 1.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Rows are predicted in blocks of about this many numbers, so that the float64 copy of a block stays at 32 MB.
BLOCK = 2**22

Floats = NDArray[np.floating]
Layers = list[tuple[Floats, Floats]]  # (kernel (inputs, outputs), bias (outputs,)) of each


def in_blocks(rows: Floats, numbers_per_row: int, predict: Callable[[Floats], Floats]) -> Floats:
    """`predict` of all rows (n, d), a block of float64 rows at a time; for pictures (n, M, d) the means over M views.

    In float64 a row's probabilities do not depend on the rows it is computed with, up to the last bits.
    """
    if rows.ndim == 3:
        predicted = in_blocks(rows.reshape(-1, rows.shape[2]), numbers_per_row, predict)
        return predicted.reshape(*rows.shape[:2], -1).mean(axis=1)
    return np.concatenate([predict(rows[block].astype(np.float64)) for block in blocks(len(rows), numbers_per_row)])


def blocks(count: int, numbers_per_row: int) -> list[slice]:
    """Slices that cut `count` rows into pieces of about `BLOCK` numbers."""
    step = max(1, BLOCK // numbers_per_row)
    return [slice(start, start + step) for start in range(0, count, step)]


def normalized(rows: Floats, normalize: str, mean: Floats | None, scale: Floats | None) -> Floats:
    """Normalised rows (..., d), in their own precision; mean and scale (d,) are those of `standard`."""
    if normalize == "l2":
        return unit_rows(rows)
    if mean is not None and scale is not None:
        return (rows - mean.astype(rows.dtype)) / scale.astype(rows.dtype)
    return rows


def unit_rows(rows: Floats) -> Floats:
    """Rows (..., d) brought to length 1; rows of zeros stay as they are."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def decisions(rows: Floats, layers: Layers) -> Floats:
    """Outputs of the last of some dense layers, ReLU between them; hyperplanes are a single layer."""
    *inner, (kernel, bias) = layers
    for inner_kernel, inner_bias in inner:
        rows = np.maximum(rows @ inner_kernel + inner_bias, 0)
    return rows @ kernel + bias


def probabilities(decided: Floats, temperature: float = 1.0) -> Floats:
    """Softmax of decisions / temperature: (n, k). Decisions are (n, k), or (n, 1) for the second of two classes."""
    scaled = by_class(decided) / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def by_class(decided: Floats) -> Floats:
    """Decisions (n, k) of k classes; (n, 1), which decide for the second of two classes, become (n, 2)."""
    return decided if decided.shape[1] > 1 else np.column_stack([np.zeros_like(decided), decided])


def as_rows(pictures: Floats) -> Floats:
    """Rows (n * K, d) of pictures (n, K, d), those of a picture side by side; (n, d) stays as it is."""
    return pictures.reshape(-1, pictures.shape[-1])


def as_pictures(rows: Floats, count: int) -> Floats:
    """The `count` pictures (n, K, d) whose rows (n * K, d) these are."""
    return rows.reshape(count, -1, rows.shape[-1])


def by_row(pictures: Floats, labels: np.ndarray, weights: Floats) -> tuple[Floats, np.ndarray, Floats]:
    """`as_rows` of pictures, each with the label of its picture and 1 / K of its weight: a picture counts once.

    labels, weights: (n,) of the pictures, (n * K,) of the rows.
    """
    if pictures.ndim == 2:
        return pictures, labels, weights
    views = pictures.shape[1]
    return as_rows(pictures), np.repeat(labels, views), np.repeat(weights / views, views)
