"""Which pictures never part: near-duplicates, and groups that people name, such as camera sites."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cache.errors import UserError
from classify.data.group_split import folds_of_groups, holdout_of_groups, inner_folds_of_groups
from classify.data.split import GroupedFolds, Indices, Split, enough_groups, folds, holdout, least_groups, paired


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

    def search_folds(self, labels: ArrayLike, k: int, seed: int) -> list[Split]:
        """The folds of a search among training pictures: of these some class may have a single named group left."""
        if not self.named:
            return [*GroupedFolds(k, seed).split(None, labels, self.numbers)]
        if found := self.inner_folds(labels, k, seed):
            return found
        raise UserError("a search needs 2 groups that can be held out of the training pictures: add groups")

    def inner_folds(self, labels: ArrayLike, most: int, seed: int) -> list[Split]:
        """At most so many folds, of what can be held out: what has a class alone is in every training part.

        Fewer folds where the smallest class has fewer groups. None where fewer than 2 groups can be held out.
        """
        if self.named:
            return inner_folds_of_groups(labels, self.numbers, most, seed)
        rows = np.flatnonzero(paired(labels, self.numbers))
        chosen, numbers = np.asarray(labels)[rows], self.numbers[rows]
        if not len(rows):
            return []
        k = min(most, least_groups(chosen, numbers))
        found = GroupedFolds(k, seed).split(None, chosen, numbers)
        everything = np.arange(len(self.numbers))
        return [(np.setdiff1d(everything, rows[test]), rows[test]) for _, test in found]


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


def together(labels: ArrayLike, duplicates: Indices, exact: Indices, names: np.ndarray | None, needed: int) -> Grouping:
    """What no split parts: named groups united with near-duplicates, or without names near-duplicates alone.

    labels, duplicates, exact, names: (n,). needed: how many different pictures of each class the splits take, see
    `classify.data.split.enough_groups`. People name groups on purpose: those are never parted for want of others.
    """
    return (
        united(duplicates, names) if names is not None else Grouping(enough_groups(labels, duplicates, exact, needed))
    )
