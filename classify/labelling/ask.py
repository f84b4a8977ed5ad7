"""Which pictures to label next, so that few labels do: typical ones first, then uncertain ones that differ.

At first nothing is known of the classes: the pictures are cut into clusters, more of them with every batch, and of the
largest that hold no labelled picture the most typical ones are asked (Hacohen, Dekel and Weinshall, "Active learning on
a budget: opposite strategies suit high and low budgets", ICML 2022). From the fourth batch on the least certain
pictures are cut into clusters, in which the least certain weigh most, and their centres are asked (Zhdanov, "Diverse
mini-batch active learning", 2019). Pictures are alike that differ from the mean one in the same direction, however far.

A fifth of each batch is drawn at random: a score on these is honest, one on pictures that were chosen is not. How many
labels each way takes: `python benchmarks/labelling.py FOLDER`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classify.data.split import Indices
from classify.heads.numerics import Floats, unit_rows

COMPONENTS = 64  # principal components of the rows: distances between pictures hardly need more
MOST_FITTED = 5000  # rows that the components are found from
TYPICAL_BATCHES = 3
LEAST_CERTAIN = 12  # times as many pictures as are asked: among them those that differ are chosen
NO_WEIGHT = 1e-6  # of a picture that is as certain as can be
NEIGHBOURS = 20  # that a typical picture is near to
MOST_CLUSTERED = 5000  # pictures that the centres of clusters are found from
MOST_COMPARED = 400  # pictures of a cluster whose distances are compared with each other
RANDOM_SHARE = 5  # one in so many is drawn at random


@dataclass(frozen=True, eq=False)
class Pool:
    """Pictures, labelled or not, as what is asked next sees them.

    coordinates: (n, c) float32 of length 1, near where pictures look alike. groups: (n,), equal numbers for
    near-duplicates, of which one is asked. order: (n,), a random order of all pictures, always the same.
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
        return cls(unit_rows(reducer.transform(rows).astype(np.float32)), groups, order)

    def drawn(self, labelled: NDArray[np.bool_], passed: NDArray[np.bool_] | None = None) -> Indices:
        """The labelled pictures (m,) that are a random sample of all: the first ones of `order`, to the first gap.

        labelled: (n,). Those that were asked for other reasons belong to it where their turn has come. A near-duplicate
        of a labelled picture is no gap, and does not count. passed: (n,), pictures that were looked at and have no
        label, by default none: they are no gaps either.
        """
        seen = labelled if passed is None else labelled | passed
        known = np.isin(self.groups, self.groups[seen])[self.order]
        first = self.order[: np.argmin(known)] if not known.all() else self.order
        return first[labelled[first]]

    def candidates(self, settled: NDArray[np.bool_]) -> Indices:
        """The pictures (m,) that may be asked: one of each group of near-duplicates of which none is settled (n,)."""
        first = np.zeros(len(settled), bool)
        first[np.unique(self.groups, return_index=True)[1]] = True
        return np.flatnonzero(first & ~np.isin(self.groups, self.groups[settled]))


def ask(
    pool: Pool,
    labelled: NDArray[np.bool_],
    probabilities: Floats | None,
    count: int = 10,
    seed: int = 0,
    seen: NDArray[np.bool_] | None = None,
) -> Indices:
    """The pictures (count,) to label next, fewer where fewer are left.

    labelled: (n,). probabilities: (n, k) of the pictures by a head that was fitted on the labelled ones; None where
    there is none yet, for want of two classes. seen: (n,), those of the labelled ones that a person looked at one by
    one, by default all: the others are drawn too, so that the random sample has no gaps.
    """
    left = pool.candidates(labelled)
    unseen = pool.order[np.isin(pool.order, pool.candidates(labelled if seen is None else seen))]
    drawn = unseen[: count // RANDOM_SHARE if len(left) else count]
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
    from sklearn.cluster import KMeans

    order = np.argsort(margin, kind="stable")[: LEAST_CERTAIN * count]
    least = left[order]
    if len(least) <= count:
        return least
    weights = np.maximum(1 - margin[order], NO_WEIGHT)
    found = KMeans(count, n_init=1, random_state=seed).fit(coordinates[least], sample_weight=weights)
    away = found.transform(coordinates[least])
    away[found.labels_[:, None] != np.arange(count)] = np.inf
    return least[away.argmin(axis=0)[np.isfinite(away).any(axis=0)]]


def clusters_of(coordinates: Floats, count: int, seed: int) -> Indices:
    """The cluster, one of `count`, of each picture with coordinates (n, c): (n,)."""
    from sklearn.cluster import KMeans

    some = coordinates[:: -(-len(coordinates) // MOST_CLUSTERED)]
    found = KMeans(min(count, len(some)), n_init=1, random_state=seed).fit(some)
    return np.asarray(found.labels_ if len(some) == len(coordinates) else found.predict(coordinates))


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
