"""Which pictures to label next, so that few labels do: typical ones first, then uncertain ones that differ.

At first nothing is known of the classes: the pictures are cut into clusters, more of them with every batch, and of the
largest that hold no labelled picture the most typical ones are asked (Hacohen, Dekel and Weinshall, "Active learning on
a budget: opposite strategies suit high and low budgets", ICML 2022). From the fourth batch on the centres of clusters
among the least certain pictures are asked (Xu et al., "Representative sampling for text classification using support
vector machines", ECIR 2003). A fifth of each batch is drawn at random: a score on these is honest, one on pictures that
were chosen is not. How many labels each way takes: `python benchmarks/labelling.py FOLDER`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classify.data.split import Indices
from classify.heads.numerics import Floats

COMPONENTS = 64  # principal components of the rows: distances between pictures hardly need more
MOST_FITTED = 5000  # rows that the components are found from
TYPICAL_BATCHES = 3
LEAST_CERTAIN = 50  # pictures among which those that differ are chosen
NEIGHBOURS = 20  # that a typical picture is near to
MOST_COMPARED = 1000  # pictures of a cluster whose distances are compared with each other
RANDOM_SHARE = 5  # one in so many is drawn at random


@dataclass(frozen=True, eq=False)
class Pool:
    """Pictures, labelled or not, as what is asked next sees them.

    coordinates: (n, c) float32, near where pictures look alike. groups: (n,), equal numbers for near-duplicates, of
    which one is asked. order: (n,), a random order of all pictures, always the same.
    """

    coordinates: Floats
    groups: Indices
    order: Indices

    @classmethod
    def of(cls, rows: Floats, groups: Indices, seed: int = 0) -> "Pool":
        """From rows (n, d) of length 1."""
        from sklearn.decomposition import PCA

        order = np.random.default_rng(seed).permutation(len(rows))
        some = rows[np.sort(order[:MOST_FITTED])] if len(rows) > MOST_FITTED else rows
        reducer = PCA(min(COMPONENTS, *some.shape), random_state=seed).fit(some)
        return cls(reducer.transform(rows).astype(np.float32), groups, order)

    def drawn(self, labelled: NDArray[np.bool_]) -> Indices:
        """The labelled pictures (m,) that are a random sample of all: the first ones of `order`, to the first gap.

        labelled: (n,). Those that were asked for other reasons belong to it where their turn has come. A near-duplicate
        of a labelled picture is no gap, and does not count.
        """
        known = np.isin(self.groups, self.groups[labelled])[self.order]
        first = self.order[: np.argmin(known)] if not known.all() else self.order
        return first[labelled[first]]

    def candidates(self, labelled: NDArray[np.bool_]) -> Indices:
        """The pictures (m,) that may be asked: one of each group of near-duplicates that has no label."""
        first = np.zeros(len(labelled), bool)
        first[np.unique(self.groups, return_index=True)[1]] = True
        return np.flatnonzero(first & ~np.isin(self.groups, self.groups[labelled]))


def ask(
    pool: Pool, labelled: NDArray[np.bool_], probabilities: Floats | None, count: int = 10, seed: int = 0
) -> Indices:
    """The pictures (count,) to label next, fewer where fewer are left.

    labelled: (n,). probabilities: (n, k) of the pictures by a head that was fitted on the labelled ones; None where
    there is none yet, for want of two classes.
    """
    left = pool.candidates(labelled)
    drawn = pool.order[np.isin(pool.order, left)][: count // RANDOM_SHARE]
    left = left[~np.isin(left, drawn)]
    count = min(count - len(drawn), len(left))
    if count < 1:
        return drawn
    if probabilities is None or labelled.sum() < TYPICAL_BATCHES * (count + len(drawn)):
        chosen = typical(pool.coordinates, labelled, left, count, seed)
    else:
        chosen = uncertain(pool.coordinates, margins(probabilities[left]), left, count, seed)
    others = left[~np.isin(left, chosen)][: count - len(chosen)]
    return np.concatenate([chosen, others, drawn])


def margins(probabilities: Floats) -> Floats:
    """How much more probable the first class is than the second: (n,) for (n, k)."""
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def typical(coordinates: Floats, labelled: NDArray[np.bool_], left: Indices, count: int, seed: int) -> Indices:
    """Of pictures `left` (m,) the most typical ones of the largest clusters without a label: (count,) or fewer.

    There is a cluster for each labelled picture and each that is asked.
    """
    members = np.concatenate([np.flatnonzero(labelled), left])
    clusters = clusters_of(coordinates[members], min(int(labelled.sum()) + count, len(members)), seed)
    covered = np.unique(clusters[: int(labelled.sum())])
    sizes = np.bincount(clusters)
    sizes[covered] = 0
    largest = [number for number in np.argsort(-sizes, kind="stable")[:count] if sizes[number]]
    return np.array([most_typical(coordinates, members[clusters == number]) for number in largest], np.intp)


def uncertain(coordinates: Floats, margin: Floats, left: Indices, count: int, seed: int) -> Indices:
    """Of pictures `left` (m,) with these margins, `count` of the least certain ones that differ: cluster centres."""
    least = left[np.argsort(margin, kind="stable")[: max(LEAST_CERTAIN, count)]]
    if len(least) <= count:
        return least
    clusters = clusters_of(coordinates[least], count, seed)
    groups = [least[clusters == number] for number in np.unique(clusters)]
    return np.array([_nearest(coordinates[group], group) for group in groups], np.intp)


def clusters_of(coordinates: Floats, count: int, seed: int) -> Indices:
    """The cluster, one of `count`, of each picture with coordinates (n, c): (n,)."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    kind = KMeans if len(coordinates) <= MOST_COMPARED else MiniBatchKMeans
    return np.asarray(kind(count, n_init=1, random_state=seed).fit_predict(coordinates))


def _nearest(coordinates: Floats, members: Indices) -> int:
    """The member whose coordinates (m, c) are nearest to their mean."""
    return int(members[np.square(coordinates - coordinates.mean(axis=0)).sum(axis=1).argmin()])


def most_typical(coordinates: Floats, members: Indices) -> int:
    """The member that is nearest to its neighbours among them; of many, of some that are spread over all."""
    step = -(-len(members) // MOST_COMPARED)
    members = members[::step]
    if len(members) < 3:
        return int(members[0])
    these = coordinates[members]
    squares = np.square(these).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * these @ these.T, 0))
    near = np.partition(distances, min(NEIGHBOURS, len(members) - 1), axis=1)[:, : NEIGHBOURS + 1]
    return int(members[near.sum(axis=1).argmin()])
