"""Chunks, maps and moments of rows, the same for an array in memory and for rows that stay on the disk."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from cache.stored_rows import Rows
from classify.heads.numerics import Floats, as_rows, blocks
from featurize.machine.parallel import in_order


def chunks(rows: Rows, random: np.random.RandomState | None = None) -> Iterator[tuple[np.ndarray, Floats]]:
    """(indices, rows (m, d)) of each chunk, every row once. An array, (n, d) or (n, K, d), is a single chunk.

    While one chunk is at work, the next one is read.
    """
    if isinstance(rows, np.ndarray):
        yield np.arange(len(rows)), rows
        return
    yield from in_order(lambda chosen: (chosen, rows.read(chosen)), rows.chunks(random), ahead=1, threads=1)


def mapped(rows: Rows, change: Callable[[Floats], Floats]) -> Rows:
    """`change` of all rows: at once for an array, else whenever a chunk is read."""
    return change(rows) if isinstance(rows, np.ndarray) else rows.map(change)


def moments(rows: Rows, weights: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of each feature (d,) float64 of rows (n, ..., d), weighted by `weights` (n,), in one pass.

    Blocks are put together as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979.
    """
    count, mean, squares = 0.0, np.zeros(rows.shape[-1]), np.zeros(rows.shape[-1])
    for block, of_rows in _blocks(rows, weights):
        more = of_rows.sum()
        inner = np.average(block, axis=0, weights=of_rows)
        delta = inner - mean
        squares += of_rows @ np.square(block - inner) + delta**2 * (count * more / (count + more))
        mean += delta * (more / (count + more))
        count += more
    return mean, squares / count


def mean_square(rows: Rows) -> float:
    """The mean of the squares of all numbers, in one pass."""
    each = np.ones(len(rows))
    total = sum(float(np.square(block).sum(dtype=np.float64)) for block, _ in _blocks(rows, each))
    return total / math.prod(rows.shape)


def _blocks(rows: Rows, weights: Floats) -> Iterator[tuple[Floats, Floats]]:
    """The rows (m, d), those of all views, in pieces small enough for copies in float64, and their weights (m,)."""
    for numbers, chunk in chunks(rows):
        flat = as_rows(chunk)
        of_rows = np.repeat(weights[numbers], len(flat) // len(chunk))
        yield from ((flat[block], of_rows[block]) for block in blocks(*flat.shape))
