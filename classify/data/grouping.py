"""Which pictures never part: near-duplicates, and groups that people name, such as camera sites."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from classify.data.group_split import folds_of_groups, holdout_of_groups
from classify.data.split import Indices, Split, folds, holdout


@dataclass(frozen=True)
class Grouping:
    """numbers: (n,), equal numbers for pictures that no split parts.

    named: whether people named groups, which may hold pictures of several classes; else these are near-duplicates.
    """

    numbers: Indices
    named: bool = False

    def of(self, rows: Indices) -> Self:
        """Of these pictures alone."""
        return type(self)(self.numbers[rows], self.named)

    def holdout(self, labels: ArrayLike, test_size: float, seed: int) -> Split:
        """Ascending row indices (train, test), see `classify.data.split.holdout` and `group_split`."""
        return (holdout_of_groups if self.named else holdout)(labels, self.numbers, test_size, seed)

    def folds(self, labels: ArrayLike, k: int, seed: int) -> list[Split]:
        """k pairs of row indices (train, test), see `classify.data.split.folds` and `group_split`."""
        return (folds_of_groups if self.named else folds)(labels, self.numbers, k, seed)


def united(duplicates: Indices, names: np.ndarray | None) -> Grouping:
    """Near-duplicates and named groups together: connected components of both.

    duplicates: (n,), equal numbers for near-duplicates. names: (n,) str, "" for a picture in no group; None where
    nobody named groups. Numbers follow those of `duplicates`, the smallest of each component.
    """
    if names is None:
        return Grouping(duplicates)
    n = len(duplicates)
    named, group = np.unique(names, return_inverse=True)
    has_group = np.flatnonzero(named[group] != "")
    _, copy = np.unique(duplicates, return_inverse=True)
    # Nodes: the groups of near-duplicates, then the named groups; each picture links its two.
    size = copy.max(initial=-1) + 1 + len(named)
    links = coo_array(
        (np.ones(len(has_group), bool), (copy[has_group], copy.max(initial=-1) + 1 + group[has_group])),
        shape=(size, size),
    )
    component = connected_components(links, directed=False)[1][copy]
    smallest = np.full(size, np.iinfo(np.intp).max)
    np.minimum.at(smallest, component, duplicates)
    return Grouping(smallest[component].reshape(n), named=True)
