"""Near-duplicates: the same photograph encoded, scaled or taken twice. Found by comparing signatures.

Rows of features do not find them: half the size and JPEG quality 60 may leave a cosine of 0.65. Pixels do: at 24 x 24
such a copy differs from its original by at most 0.20 of the contrast, and the nearest pictures that a person calls
different by 0.42 or more (all pictures of four sets of photographs). `ALIKE` lies between. Every split, fold, search,
score and report uses this module, so that "near-duplicate" means one thing. How many copies are found:
`python benchmarks/accuracy/duplicates.py FOLDER`.

Most pairs are never looked at: pictures whose principal components differ by more than this are not alike. They are
found as in Friedman, Bentley and Finkel, "An algorithm for finding best matches in logarithmic expected time", 1977.
In memory is what tells nearly all pairs apart, 300 bytes of a picture. The signatures themselves are read once where
they fit there as well; of more pictures they stay in the cache, and a block of them is read for each that is compared.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

import featurize.machine.memory
from cache.errors import log
from cache.signatures import SIDE, Signatures, no_signatures, read_signatures
from classify.data.split import Indices, duplicate_groups
from classify.heads.numerics import Floats
from featurize.extract.missing_signatures import BYTES_TO_COMPARE, SIGNATURE_BYTES
from featurize.machine.parallel import THREADS, in_order

ALIKE = 0.3  # root mean square of the difference of two signatures, as a share of the lower contrast
LEAST_CONTRAST = 4.0  # steps of 255: below it a picture is blank, and what differs is how JPEG rounds
COARSE = 8  # pixels, which are means of the others: their difference is never the larger one
SAMPLE = 4096  # signatures that the components are found from
LEADING = 32  # components, and the length of the rest, that are enough to exclude nearly all pairs
SPLITTING = 6  # components, and the length of the rest, by which leaves are made and compared
LEAF = 64  # pictures of a leaf, at most
BLOCK = 2048  # pictures, or pairs of them, that are treated at once: 28 MB
AT_ONCE = 256  # pictures whose pixels are compared with those of a leaf in one product: 2 MB
COLUMNS = 4096  # pictures that a leaf is compared with at once: the products stay in the processor's cache
ROUNDING = 1.001  # of squares in float32


def near_duplicates(digests: np.ndarray, signatures: Signatures | None) -> Indices:
    """Number the pictures: (n,), equal numbers for pictures of equal bytes and for near-duplicates.

    digests (n, 32) uint8; signatures (n, SIDE, SIDE, 3) uint8, None where nothing is known of them. Near-duplicates of
    one picture are near-duplicates. A picture without contrast is a duplicate of byte-identical ones alone. Numbers
    follow the order of the digests, as those of `duplicate_groups`, and are the smallest of these in each group.
    """
    exact = duplicate_groups(digests)
    if signatures is None or not len(exact):
        return exact
    first = np.unique(exact, return_index=True)[1]
    pairs = near_pairs(_held(signatures[first]))
    group = _components(len(first), pairs)
    smallest = np.unique(group, return_index=True)[1]
    return smallest[group][exact]


def _held(signatures: Signatures) -> Signatures:
    """The signatures in memory, where a fifth of what is free is left besides them and what tells them apart."""
    needed = len(signatures) * (BYTES_TO_COMPARE + SIGNATURE_BYTES)
    if isinstance(signatures, np.ndarray) or needed > 0.8 * featurize.machine.memory.free_memory():
        return signatures
    held, order = no_signatures(len(signatures)), signatures.stored_order()
    for start in range(0, len(order), BLOCK):
        held[order[start : start + BLOCK]] = signatures.read(order[start : start + BLOCK])
    return held


def announce_duplicates(groups: Indices, exact: Indices, paths: Sequence[str]) -> None:
    """Say in one line how many near-duplicates there are, with a pair of them. groups, exact, paths: (n,)."""
    count = len(np.unique(exact)) - len(np.unique(groups))
    if count:
        first = np.unique(groups, return_index=True)[1]
        original = first[np.searchsorted(groups[first], groups)]  # of each picture the first one of its group
        copy = int(np.flatnonzero(exact != exact[original])[0])
        log.info("near-duplicates: %d pictures, such as %s of %s", count, paths[copy], paths[original[copy]])


def differences(signatures: np.ndarray, one: Indices, other: Indices) -> Floats:
    """How far pictures (p,), (p,) of `signatures` (n, SIDE, SIDE, 3) differ, as shares of the lower contrast: (p,)."""
    found = [np.empty(0, np.float32)]
    for start in range(0, len(one), BLOCK):
        left, right = signatures[one[start : start + BLOCK]], signatures[other[start : start + BLOCK]]
        apart = np.sqrt(np.square(left.astype(np.float32) - right).mean(axis=(1, 2, 3)))
        found.append(apart / np.maximum(np.minimum(contrasts(left), contrasts(right)), LEAST_CONTRAST))
    return np.concatenate(found)


def contrasts(signatures: np.ndarray) -> Floats:
    """The contrast of each of `signatures` (n, SIDE, SIDE, 3): (n,), mean standard deviation of its three colours."""
    blocks = (signatures[start : start + BLOCK] for start in range(0, len(signatures), BLOCK))
    found = (block.std(axis=(1, 2), dtype=np.float32).mean(axis=1) for block in blocks)
    return np.concatenate([np.empty(0, np.float32), *found])


def near_pairs(signatures: Signatures) -> Indices:
    """Pairs (p, 2) of near-duplicates among `signatures` (n, SIDE, SIDE, 3): enough of them to join each group.

    Pictures are put into the leaves of a k-d tree of their principal components. A leaf is compared with those leaves
    alone that are within reach, by products of matrices. Of pictures that are all alike, as in a burst of thousands,
    the pairs of a leaf are replaced by as few that join the same pictures.
    """
    contrast, points = _points(signatures)
    chosen = np.flatnonzero(contrast >= LEAST_CONTRAST)
    points, reach = points[chosen], ALIKE * contrast[chosen]
    if not len(chosen):
        return np.empty((0, 2), np.intp)
    tree, starts = _tree(_boxes(points))
    search = _Search(signatures, chosen[tree], points[tree], reach[tree], starts)
    found, count = [np.empty((0, 2), np.intp)], 0
    # Products so small are quicker in a thread each than by threads of the library, which wait for each other.
    with threadpool_limits(1, "blas"):
        for pairs in in_order(search.pairs, range(len(starts)), 4 * THREADS):
            found.append(pairs)
            if (count := count + len(pairs)) > 2 * len(chosen):  # of bursts: as few as join the same pictures
                found = [_joining(np.concatenate(found))]
                count = len(found[0])
    return np.concatenate(found)


def _points(signatures: Signatures) -> tuple[Floats, Floats]:
    """The contrasts (n,) of all pictures, and their leading principal components with the length of the rest.

    The latter: (n, LEADING + 1) float32. The distance of two is at most the root mean square of the difference of the
    pixels of their signatures.
    """
    contrast, points = np.empty(len(signatures), np.float32), np.empty((len(signatures), LEADING + 1), np.float32)
    order = np.arange(len(signatures)) if isinstance(signatures, np.ndarray) else signatures.stored_order()
    sample = _coarse(read_signatures(signatures, np.sort(order[:: -(-len(order) // SAMPLE)])))
    mean = sample.mean(axis=0)
    sample -= mean
    directions = (np.linalg.eigh(sample.T @ sample)[1][:, ::-1] / np.sqrt(len(mean))).astype(np.float32)
    for start in range(0, len(order), BLOCK):
        members = order[start : start + BLOCK]
        block = read_signatures(signatures, members)
        contrast[members] = contrasts(block)
        components = (_coarse(block) - mean) @ directions
        points[members, :LEADING] = components[:, :LEADING]
        points[members, LEADING] = np.linalg.norm(components[:, LEADING:], axis=1)
    return contrast, points


def _coarse(signatures: np.ndarray) -> Floats:
    """Signatures (m, SIDE, SIDE, 3) as fewer pixels: (m, c) float32."""
    block = SIDE // COARSE
    blocks = signatures.reshape(len(signatures), COARSE, block, COARSE, block, 3)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(signatures), -1)


def _boxes(points: Floats) -> Floats:
    """Points (m, LEADING + 1) in few numbers, (m, SPLITTING + 1), whose distances are never the larger ones."""
    rest = np.linalg.norm(points[:, SPLITTING:], axis=1)
    return np.column_stack([points[:, :SPLITTING], rest])


def _tree(points: Floats) -> tuple[Indices, Indices]:
    """A k-d tree of points (m, b): their numbers (m,) leaf by leaf, and where each leaf starts (l,)."""
    waiting, leaves = [np.arange(len(points))], []
    while waiting:
        members = waiting.pop()
        if len(members) <= LEAF:
            leaves.append(members)
            continue
        widest = np.ptp(points[members], axis=0).argmax()
        waiting += np.split(members[np.argsort(points[members, widest], kind="stable")], [len(members) // 2])
    return np.concatenate(leaves), np.cumsum([0, *map(len, leaves)])[:-1]


class _Search:
    """Pictures in the order of their leaves: numbers, points and reaches (m,), and where each leaf starts (l,)."""

    def __init__(
        self, signatures: Signatures, numbers: Indices, points: Floats, reach: Floats, starts: Indices
    ) -> None:
        self._signatures, self._numbers, self._starts = signatures, numbers, starts
        self._ends = np.append(starts[1:], len(numbers))
        boxes = _boxes(points)
        self._low, self._high = np.minimum.reduceat(boxes, starts), np.maximum.reduceat(boxes, starts)
        self._farthest = np.maximum.reduceat(reach, starts)
        self._half_reach = ROUNDING * np.square(reach) / 2
        # x @ y - |x|^2 / 2 - |y|^2 / 2 is half of the squared distance below 0: one product has all of it.
        half = np.einsum("ij,ij->i", points, points) / 2
        self._columns = np.column_stack([points, -half, np.ones(len(points), np.float32)])

    def pairs(self, leaf: int) -> Indices:
        """Pairs (p, 2) of pictures that join those of a leaf with near-duplicates in it and in later leaves."""
        start, end = self._starts[leaf], self._ends[leaf]
        rows = self._columns[start:end].copy()
        rows[:, -1] = rows[:, -2] + self._half_reach[start:end]
        rows[:, -2] = 1
        others = self._within_reach(leaf)
        found = [np.empty((0, 2), np.intp)]
        for first in range(0, len(others), COLUMNS):
            columns = others[first : first + COLUMNS]
            excess = rows @ self._columns[columns].T
            row, column = np.divmod(np.flatnonzero(excess >= 0), len(columns))
            left, right = start + row, columns[column]
            # what one reaches and the other does not is excluded here: few are left
            kept = (self._half_reach[left] - excess[row, column] <= self._half_reach[right]) & (left < right)
            found.append(self._alike(left[kept], right[kept]))
        pairs = np.concatenate(found)
        return self._numbers[pairs if len(pairs) <= BLOCK else _joining(pairs)]

    def _within_reach(self, leaf: int) -> Indices:
        """The pictures of the leaf itself and of later ones that may have near-duplicates in it: positions (c,)."""
        gaps = np.maximum(0, np.maximum(self._low[leaf:] - self._high[leaf], self._low[leaf] - self._high[leaf:]))
        limit = np.minimum(self._farthest[leaf], self._farthest[leaf:])
        near = leaf + np.flatnonzero(np.einsum("ij,ij->i", gaps, gaps) <= ROUNDING * np.square(limit))
        lengths = self._ends[near] - self._starts[near]
        return np.repeat(self._starts[near] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())

    def _alike(self, left: Indices, right: Indices) -> Indices:
        """The pairs (p, 2) of positions among these candidates (c,) that are near-duplicates by their signatures."""
        if not len(left):
            return np.empty((0, 2), np.intp)
        (rows, row), (columns, column) = (np.unique(side, return_inverse=True) for side in (left, right))
        if len(left) > BLOCK and len(columns) > AT_ONCE:  # as few pixels at once in every thread
            first = column < len(columns) // 2
            return np.concatenate([self._alike(left[some], right[some]) for some in (first, ~first)])
        pixels = [read_signatures(self._signatures, self._numbers[some]) for some in (rows, columns)]
        if len(left) <= BLOCK:
            alike = differences(np.concatenate(pixels), row, len(rows) + column) <= ALIKE
        else:  # products of all are quicker by now than differences of many
            squares = _squares(*map(_pixels, pixels))[row, column]
            alike = squares <= 2 * np.minimum(self._half_reach[left], self._half_reach[right])
        return np.column_stack([left[alike], right[alike]])


def _joining(pairs: Indices) -> Indices:
    """As few pairs as join the same pictures as `pairs` (p, 2)."""
    members, ends = np.unique(pairs, return_inverse=True)
    group = _components(len(members), ends.reshape(-1, 2))
    first = np.unique(group, return_index=True)[1][group]
    return np.column_stack([members[first], members])


def _pixels(signatures: np.ndarray) -> Floats:
    """Signatures (n, SIDE, SIDE, 3) as (n, d) float32, in the units of `_points`."""
    flat = signatures.reshape(len(signatures), -1).astype(np.float32) - 128
    return flat / np.sqrt(flat.shape[1], dtype=np.float32)


def _squares(one: Floats, other: Floats) -> Floats:
    """Squared distances of rows (m, d) and (n, d): (m, n), in one product."""
    ones = np.ones((max(len(one), len(other)), 1), np.float32)
    squares = [np.einsum("ij,ij->i", rows, rows)[:, None] for rows in (one, other)]
    left = np.hstack([one, squares[0], ones[: len(one)]])
    right = np.hstack([-2 * other, ones[: len(other)], squares[1]])
    return left @ right.T


def _components(count: int, pairs: Indices) -> Indices:
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1].astype(np.intp)
