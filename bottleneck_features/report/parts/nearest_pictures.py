"""The nearest pictures by the cosine of their features, leaving out those that are the same picture."""

import numpy as np

from classify.data.split import Indices
from classify.heads.numerics import Floats

NUMBERS = 2**24  # cosines that are in memory together: 64 MB


def nearest(rows: Floats, groups: Indices, among: Indices, count: int) -> tuple[Indices, Floats]:
    """Of each picture the `count` nearest ones `among` (m,) that are not of its own group, nearest first.

    rows: (n, d) of length 1. groups: (n,), equal numbers for copies of one picture. Returns numbers and cosines
    (n, count); where there are fewer, the cosine of the others is -inf.
    """
    count = min(count, len(among))
    numbers, cosines = np.empty((len(rows), count), np.intp), np.empty((len(rows), count), np.float32)
    others = rows[among].T
    block = max(1, NUMBERS // max(1, len(among)))
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        products = rows[part] @ others
        products[groups[part, None] == groups[among]] = -np.inf
        chosen = np.argpartition(-products, max(count - 1, 0), axis=1)[:, :count]
        near = np.take_along_axis(products, chosen, axis=1)
        order = np.argsort(-near, axis=1, kind="stable")
        numbers[part] = among[np.take_along_axis(chosen, order, axis=1)]
        cosines[part] = np.take_along_axis(near, order, axis=1)
    return numbers, cosines
