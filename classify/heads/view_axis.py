"""Pictures of several views as rows: a picture is axis 0, its views are axis 1, which there need not be of one view."""

import numpy as np

from cache.stored_rows import Rows
from classify.heads.numerics import Floats


def as_rows(pictures: Floats) -> Floats:
    """The rows (n * K, d) of pictures (n, K, d), those of a picture side by side; (n, d) stays as it is."""
    return pictures.reshape(-1, pictures.shape[-1])


def as_pictures(rows: Floats, count: int) -> Floats:
    """The `count` pictures (n, K, d) whose rows (n * K, d) these are."""
    return rows.reshape(count, -1, rows.shape[-1])


def first_views(pictures: Rows, count: int | None) -> Rows:
    """The first `count` views of pictures (n, V, ...): (n, count, ...), or (n, ...) of one. None: as they are."""
    if count is None:
        return pictures
    return pictures[:, 0] if count == 1 else pictures[:, :count]


def by_row(pictures: Floats, labels: np.ndarray, weights: Floats) -> tuple[Floats, np.ndarray, Floats]:
    """`as_rows` of pictures, each with the label of its picture and 1 / K of its weight: a picture counts once.

    labels, weights: (n,) of the pictures, (n * K,) of the rows.
    """
    if pictures.ndim == 2:
        return pictures, labels, weights
    views = pictures.shape[1]
    return as_rows(pictures), np.repeat(labels, views), np.repeat(weights / views, views)
