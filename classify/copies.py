"""Which pictures are one picture, encoded in several ways: told from their digests and their cached rows.

A re-encoded copy (another quality, format or size) has a row near that of its original. How near depends on the network
and on the pictures, so a pair counts as copies where its distance is, for both, a small share of that to the 20th
neighbour in the own class: pictures of a class may all be much alike. How small follows from how quickly distances grow
with the rank: among rows of dimension D the number of neighbours grows as the D-th power of the distance, and that
dimension is measured as in Levina and Bickel, "Maximum likelihood estimation of intrinsic dimension", NIPS 2004. At
most about one different picture in twenty has another one as near as that; mostly the two were taken one after the
other. How many re-encodings are found, with which networks:
`python benchmarks/copies.py FOLDER`.
"""

import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import digamma

from cache.stored_rows import Rows
from classify.numerics import Floats, unit_rows
from classify.split import Indices, duplicate_groups
from classify.streaming import chunks

log = logging.getLogger("bottleneck")

CHANCE = 0.05  # of a picture to have a different one that is taken for its copy
RANK = 20  # whoever has more copies of one picture than this has pictures that are all alike; half a class at most
DIMENSIONS = 6, 24  # that are believed: where classes are made of clusters or hardly differ, others are measured
SKETCH, LARGE_SKETCH = 256, 128  # numbers that stand for a row: squared distances are right within 9 or 13%
LARGE = 20_000  # rows from which on the shorter sketches are taken
SAMPLE = 2048  # rows of a class among which neighbours are ranked
BLOCK = 1024  # rows on each side of a block of products: 4 MB
MOST = 200_000  # different contents that are compared, each with each
ROUNDING = 1e-6  # of the mean square of the centred sketches


def copy_groups(digests: np.ndarray, labels: np.ndarray, *parts: Rows) -> Indices:
    """Number the pictures: (n,), equal numbers for pictures of equal bytes and for re-encoded copies of one picture.

    digests (n, 32) uint8; labels (n,), by which no pair is excluded; parts: the rows (m, ...) each, together n. Numbers
    follow the order of the digests, as those of `duplicate_groups`, and are the smallest of these in each group. Stored
    rows are read once. Of more than 200,000 different contents only byte-identical ones are grouped, as is announced.
    """
    exact = duplicate_groups(digests)
    first = np.unique(exact, return_index=True)[1]
    count = len(first)
    if not count:
        return exact
    if count > MOST:
        log.warning("re-encoded copies are not looked for among more than %d pictures: there are %d", MOST, count)
        return exact
    dimensions = min(math.prod(parts[0].shape[1:]), LARGE_SKETCH if count > LARGE else SKETCH)
    sketched = np.empty((count, dimensions), np.float32)
    start = 0
    for rows in parts:
        sketch(rows, sketched, exact[start : start + len(rows)])
        start += len(rows)
    one, other = near_pairs(sketched, np.unique(np.asarray(labels)[first], return_inverse=True)[1])
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    group = connected_components(links, directed=False)[1]
    smallest = np.unique(group, return_index=True)[1]
    return smallest[group][exact]


def joined_groups(each: Sequence[Indices]) -> Indices:
    """Groups (n,) of what any of several groupings (n,) of the same pictures by `copy_groups` takes for copies."""
    together = each[0]
    for groups in each[1:]:
        count = int(max(together.max(), groups.max())) + 1
        links = coo_array((np.ones(len(groups), bool), (together, groups + count)), shape=(2 * count, 2 * count))
        component = connected_components(links, directed=False)[1][together]
        smallest = np.full(component.max() + 1, 2 * count)
        np.minimum.at(smallest, component, np.minimum(together, groups))
        together = smallest[component]
    return together


def announce_copies(groups: Indices, exact: Indices, paths: Sequence[str]) -> None:
    """Say in one line how many re-encoded copies there are, with a pair of them. groups, exact, paths: (n,)."""
    count = len(np.unique(exact)) - len(np.unique(groups))
    if count:
        first = np.unique(groups, return_index=True)[1]
        original = first[np.searchsorted(groups[first], groups)]  # of each row the first one of its group
        copy = int(np.flatnonzero(exact != exact[original])[0])
        log.info(
            "pictures that are re-encoded copies of others, or all but the same: %d, such as %s of %s",
            count,
            paths[copy],
            paths[original[copy]],
        )


def sketch(rows: Rows, into: Floats, places: Indices) -> None:
    """Set into[places] (m,) to rows (m, ...) of length 1, in fewer dimensions with nearly the same distances.

    They are read once. By random signs, always the same ones: Achlioptas, "Database-friendly random projections", PODS
    2001.
    """
    width, dimensions = math.prod(rows.shape[1:]), into.shape[1]
    signs = None
    if width > dimensions:
        drawn = np.random.default_rng(0).integers(0, 2, (width, dimensions), np.int8)
        signs = (2 * drawn.astype(np.float32) - 1) / np.float32(np.sqrt(dimensions))
    for members, chunk in chunks(rows):
        for start in range(0, len(chunk), BLOCK):
            block = chunk[start : start + BLOCK]
            block = unit_rows(block.reshape(len(block), width).astype(np.float32, copy=False))
            into[places[members[start : start + BLOCK]]] = block if signs is None else block @ signs


def near_pairs(sketched: Floats, classes: Indices) -> tuple[Indices, Indices]:
    """Numbers (p,), (p,) of the rows of `sketched` (n, m) that are much nearer to each other than to their neighbours.

    classes (n,) counts from 0. `sketched` is centred in place.
    """
    sketched -= sketched.mean(axis=0)
    squares = np.einsum("ij,ij->i", sketched, sketched)
    limits = _limits(sketched, squares, classes)
    pairs = list(_nearer(sketched, squares, limits))
    return np.concatenate([one for one, _ in pairs]), np.concatenate([other for _, other in pairs])


def _limits(points: Floats, squares: Floats, classes: Indices) -> Floats:
    """How near, as a squared distance (n,), another point has to be to each one to be of the same picture."""
    floor = np.float32(ROUNDING * squares.mean())
    # Of each point: the squared distance to a neighbour, its growth with the rank, and how many neighbours are as near.
    near, growth, neighbours = np.zeros((3, len(points)), np.float32)
    for members in np.split(np.argsort(classes, kind="stable"), np.cumsum(np.bincount(classes))[:-1]):
        rank = min(RANK, (len(members) - 1) // 2)
        if rank:
            sample = np.random.default_rng(0).permutation(members)[:SAMPLE]
            for start in range(0, len(members), BLOCK):
                rows = members[start : start + BLOCK]
                distances = squares[rows, None] + squares[sample] - 2 * points[rows] @ points[sample].T
                ranked = np.partition(distances, (rank, 2 * rank), axis=1)[:, [rank, 2 * rank]]  # number 0 is itself
                near[rows], far = np.maximum(ranked, floor).T
                with np.errstate(invalid="ignore"):  # of rows that are all the same, which have no growth
                    growth[rows] = np.log(far / near[rows]) / (digamma(2 * rank) - digamma(rank))
            neighbours[members] = rank * len(members) / len(sample)
    apart = near > floor
    if apart.any():
        # Distances are squared: they grow as the rank to the power of 2 / D.
        near[apart] *= (CHANCE / neighbours[apart]) ** (2 / np.clip(2 / np.median(growth[apart]), *DIMENSIONS))
    return np.maximum(near, floor)


def _nearer(points: Floats, squares: Floats, limits: Floats) -> Iterator[tuple[Indices, Indices]]:
    """The pairs of points within the limits of both, block by block."""
    for start in range(0, len(points), BLOCK):
        rows = slice(start, start + BLOCK)
        spare = (limits[rows] - squares[rows])[:, None] / 2
        left = np.hstack([points[rows], spare, np.ones_like(spare)])
        for other in range(start, len(points), BLOCK):
            columns = slice(other, other + BLOCK)
            half = squares[columns, None] / -2
            # Half of what the squared distance of two points stays below the limit of the first.
            products = left @ np.hstack([points[columns], np.ones_like(half), half]).T
            first, second = np.divmod(np.flatnonzero(products >= 0), products.shape[1])
            within = products[first, second] >= (limits[first + start] - limits[second + other]) / 2
            within &= first + start < second + other
            yield first[within] + start, second[within] + other
