"""Near-duplicates: the same photograph encoded, scaled or taken twice. Found by comparing signatures.

Rows of features do not find them: half the size and JPEG quality 60 may leave a cosine of 0.65. Pixels do: at 24 x 24
such a copy differs from its original by at most 0.20 of the contrast, and the nearest pictures that a person calls
different by 0.42 or more (all pictures of four sets of photographs). `ALIKE` lies between. Every split, fold, search,
score and report uses this module, so that "near-duplicate" means one thing. How many copies are found:
`python benchmarks/accuracy/duplicates.py FOLDER`.

Most pairs are never looked at: pictures whose principal components differ by more than this are not alike. They are
found as in Friedman, Bentley and Finkel, "An algorithm for finding best matches in logarithmic expected time", 1977.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from cache.errors import log
from cache.signatures import SIDE
from classify.data.split import Indices, duplicate_groups
from classify.heads.numerics import Floats
from featurize.machine.parallel import THREADS, in_order

ALIKE = 0.3  # root mean square of the difference of two signatures, as a share of the lower contrast
LEAST_CONTRAST = 4.0  # steps of 255: below it a picture is blank, and what differs is how JPEG rounds
COARSE = 8  # pixels, which are means of the others: their difference is never the larger one
COMPONENTS = 12  # by which leaves are compared
SAMPLE = 4096  # signatures that the components are found from
LEAF = 512  # pictures of a leaf, at most
BLOCK = 2048  # pictures, or pairs of them, that are treated at once: 28 MB
LEADING = 32  # components that are enough to exclude nearly all pairs
ROUNDING = 1.001  # of squares in float32


def near_duplicates(digests: np.ndarray, signatures: np.ndarray | None) -> Indices:
    """Number the pictures: (n,), equal numbers for pictures of equal bytes and for near-duplicates.

    digests (n, 32) uint8; signatures (n, SIDE, SIDE, 3) uint8, None where nothing is known of them. Near-duplicates of
    one picture are near-duplicates. A picture without contrast is a duplicate of byte-identical ones alone. Numbers
    follow the order of the digests, as those of `duplicate_groups`, and are the smallest of these in each group.
    """
    exact = duplicate_groups(digests)
    if signatures is None or not len(exact):
        return exact
    first = np.unique(exact, return_index=True)[1]
    pairs = near_pairs(signatures[first])
    group = _components(len(first), pairs)
    smallest = np.unique(group, return_index=True)[1]
    return smallest[group][exact]


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


def near_pairs(signatures: np.ndarray) -> Indices:
    """Pairs (p, 2) of near-duplicates among `signatures` (n, SIDE, SIDE, 3): enough of them to join each group.

    Pictures are put into the leaves of a k-d tree of their principal components; only leaves within reach of each
    other are compared, by products of matrices. Of pictures that are all alike, as in a burst of thousands, the pairs
    of two leaves are replaced by as few that join the same pictures.
    """
    contrast = contrasts(signatures)
    chosen = np.flatnonzero(contrast >= LEAST_CONTRAST)
    coarse = _coarse(signatures, chosen)
    reach = ALIKE * contrast[chosen]
    leaves, partners = _leaves(coarse, reach)
    jobs = [(leaf, leaves[other]) for leaf, others in zip(leaves, partners, strict=True) for other in others]

    def pairs(job: tuple[Indices, Indices]) -> Indices:
        return chosen[_pairs_between(signatures, chosen, coarse, reach, *job)]

    # Products so small are quicker in a thread each than by threads of the library, which wait for each other.
    with threadpool_limits(1, "blas"):
        return np.concatenate([np.empty((0, 2), np.intp), *in_order(pairs, jobs, ahead=4 * THREADS)])


def _coarse(signatures: np.ndarray, chosen: Indices) -> Floats:
    """The chosen signatures (m,) made coarse and centred: (m, c) float32, in the order of their principal components.

    The distance of two is the root mean square of the difference of their pixels, which is never larger than that of
    the signatures.
    """
    block, width = SIDE // COARSE, COARSE * COARSE * 3
    coarse = np.empty((len(chosen), width), np.float32)
    for start in range(0, len(chosen), BLOCK):
        part = chosen[start : start + BLOCK]
        blocks = signatures[part].reshape(len(part), COARSE, block, COARSE, block, 3)
        coarse[start : start + len(part)] = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(part), width)
    if len(chosen) > 1:
        sample = coarse[:: -(-len(coarse) // SAMPLE)]
        coarse -= sample.mean(axis=0)
        directions = np.linalg.eigh(sample.T @ sample)[1][:, ::-1] / np.sqrt(width)
        for start in range(0, len(coarse), BLOCK):
            coarse[start : start + BLOCK] = coarse[start : start + BLOCK] @ directions.astype(np.float32)
    return coarse


def _leaves(points: Floats, reach: Floats) -> tuple[list[Indices], list[Indices]]:
    """The leaves of a k-d tree, numbers of points each; of each the numbers of it and later leaves within reach."""
    waiting, leaves = [np.arange(len(points))], []
    while waiting:
        members = waiting.pop()
        if len(members) <= LEAF:
            leaves.append(members)
            continue
        widest = np.ptp(points[members, :COMPONENTS], axis=0).argmax()
        waiting += np.split(members[np.argsort(points[members, widest], kind="stable")], [len(members) // 2])
    if not len(points):
        return [], []
    low = np.array([points[leaf, :COMPONENTS].min(axis=0) for leaf in leaves])
    high = np.array([points[leaf, :COMPONENTS].max(axis=0) for leaf in leaves])
    farthest = np.array([reach[leaf].max() for leaf in leaves])
    partners = []
    for number in range(len(leaves)):
        gaps = np.maximum(0, np.maximum(low[number:] - high[number], low[number] - high[number:]))
        within = np.linalg.norm(gaps, axis=1) <= np.minimum(farthest[number], farthest[number:])
        partners.append(number + np.flatnonzero(within))
    return leaves, partners


def _pairs_between(
    signatures: np.ndarray, chosen: Indices, coarse: Floats, reach: Floats, one: Indices, other: Indices
) -> Indices:
    """Pairs (p, 2), numbers of `chosen`, that join the near-duplicates in two leaves."""

    def within(left: Floats, right: Floats) -> np.ndarray:
        squares = _squares(left, right)
        return (squares <= ROUNDING * np.square(reach[one, None])) & (squares <= ROUNDING * np.square(reach[other]))

    for width in (LEADING, coarse.shape[1]):
        rows, columns = np.nonzero(within(coarse[one, :width], coarse[other, :width]))
        if len(rows) <= BLOCK:
            alike = differences(signatures, chosen[one[rows]], chosen[other[columns]]) <= ALIKE
            rows, columns = rows[alike], columns[alike]
            break
    else:  # products of all are quicker by now than differences of many
        rows, columns = np.nonzero(within(*(_pixels(signatures[chosen[leaf]]) for leaf in (one, other))))
    pairs = np.column_stack([one[rows], other[columns]])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    if len(pairs) <= BLOCK:
        return pairs
    members, ends = np.unique(pairs, return_inverse=True)
    group = _components(len(members), ends.reshape(-1, 2))
    first = np.unique(group, return_index=True)[1][group]
    return np.column_stack([members[first], members])


def _pixels(signatures: np.ndarray) -> Floats:
    """Signatures (n, SIDE, SIDE, 3) as (n, d) float32, in the units of `_coarse`."""
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
