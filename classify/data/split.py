"""Split pictures into training and test parts so that near-duplicates never part.

Everything works on groups, one for each distinct picture: files of equal bytes (`duplicate_groups`) and near-duplicates
(`classify.data.duplicates`). Group numbers follow the order of the digests and the draw is made over sorted groups, so
which picture goes where depends on the pictures, their labels and the seed, not on file names or the order of the rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.errors import UserError, log

Indices = NDArray[np.intp]
Split = tuple[Indices, Indices]


def duplicate_groups(digests: NDArray[np.uint8]) -> Indices:
    """Number the distinct rows of `digests` (n, 32) in byte order: (n,), equal numbers for equal bytes."""
    return np.unique(_as_strings(digests), return_inverse=True)[1].reshape(-1)


def leaks(train_digests: NDArray[np.uint8], test_digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mask (m,) of the rows of `test_digests` (m, 32) whose exact bytes are among `train_digests` (n, 32)."""
    return np.isin(_as_strings(test_digests), _as_strings(train_digests))


def copies_by_first(groups: ArrayLike | None, count: int) -> Indices:
    """Of each of `count` pictures the number of the first one in its group: (n,). Its own where `groups` is None.

    groups: (n,), equal values for copies of one picture. So pictures that are no copies are numbered in their order,
    whatever the values. Raises ValueError for groups of another shape, and where one is missing (None, not a number).
    """
    if groups is None:
        return np.arange(count)
    groups = np.asarray(groups)
    if groups.shape != (count,):
        raise ValueError(f"groups must have one value for each of {count} pictures, not the shape {groups.shape}")
    # NaN is the only value that differs from itself.
    missing = [number for number, value in enumerate(groups.tolist()) if value is None or value != value]  # noqa: PLR0124
    if missing:
        raise ValueError(f"the picture number {missing[0]} has no group: give each that is no copy a value of its own")
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return first[group]


def enough_groups(labels: ArrayLike, groups: Indices, exact: Indices, needed: int) -> Indices:
    """`groups`, but those of `exact` in classes so much alike that fewer than `needed` would be left.

    labels, groups, exact: (n,). Such classes are announced: a set of much the same pictures is no reason not to train.
    """
    labels = np.asarray(labels)
    drawn = _Groups(labels, groups)
    small = drawn.classes[drawn.class_sizes() < needed]
    alike = [name for name in small if len(np.unique(exact[labels == name])) > len(np.unique(groups[labels == name]))]
    if not alike:
        return groups
    log.warning(
        "the pictures of %s are near-duplicates of so few that fewer than %d would count as different: only "
        "byte-identical ones are kept together there, and near-duplicates that are scored are counted as leaked",
        ", ".join(repr(str(name)) for name in alike),
        needed,
    )
    return np.where(np.isin(labels, alike), exact, groups)


def paired(labels: ArrayLike, groups: ArrayLike) -> NDArray[np.bool_]:
    """Mask (n,) of the pictures in classes of two different ones or more. labels, groups: (n,)."""
    drawn = _Groups(labels, groups)
    large = drawn.classes[drawn.class_sizes() > 1]
    return np.isin(labels, large)


def least_groups(labels: ArrayLike, groups: ArrayLike) -> int:
    """The number of different pictures of the smallest class. labels, groups: (n,)."""
    return int(_Groups(labels, groups).class_sizes().min())


def holdout(labels: ArrayLike, groups: ArrayLike, test_size: float, seed: int) -> Split:
    """Draw a stratified test part of whole groups.

    labels, groups: (n,). test_size: share of the groups, between 0 and 1. Every class is on both sides, and
    its number of test groups is at most 1 away from its exact share. Where the copies in a group have
    different labels, the first one counts. Returns ascending row indices (train, test).

    Raises UserError for another test_size, and for a class with fewer than 2 different pictures.
    """
    if not 0 < test_size < 1:
        raise UserError(f"the test size must be a share between 0 and 1, not {test_size}")
    drawn = _Groups(labels, groups)
    drawn.announce_contradictions()
    sizes = drawn.require(2, "a split into training and test pictures")
    # Rounding the running total, not each class, keeps the whole test part at its share as well.
    totals = np.rint(np.cumsum(sizes) * test_size).astype(int)
    test_sizes = np.clip(np.diff(totals, prepend=0), 1, sizes - 1)
    rank = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each group in its class
    return drawn.split(drawn.shuffled_by_class(seed)[rank < np.repeat(test_sizes, sizes)])


def folds(labels: ArrayLike, groups: ArrayLike, k: int, seed: int) -> list[Split]:
    """Cut the rows into k stratified folds of whole groups; every row is in exactly one test part.

    labels, groups: (n,). The numbers of groups in the folds, in all and of each class, differ by 1 at most.
    Where the copies in a group have different labels, the first one counts. Returns k pairs of ascending row
    indices (train, test).

    Raises UserError for k < 2, and for a class with fewer different pictures than folds.
    """
    drawn = _Groups(labels, groups)
    drawn.announce_contradictions()
    return drawn.folds(k, seed)


@dataclass(frozen=True)
class GroupedFolds:
    """The same folds for scikit-learn: `GridSearchCV(..., cv=GroupedFolds(5))`, fitted with `groups=`."""

    k: int
    seed: int = 0

    def split(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> Iterator[Split]:  # noqa: ARG002
        """Yield k pairs of row indices (train, test). Raises as `folds`, and ValueError without groups."""
        if groups is None:
            raise ValueError("GroupedFolds needs groups=: the duplicate group of every row")
        yield from _Groups(y, groups).folds(self.k, self.seed)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: ARG002
        """The number of folds."""
        return self.k


class _Groups:
    """One entry for each distinct group: its label, and the way back to the rows."""

    def __init__(self, labels: ArrayLike, groups: ArrayLike) -> None:
        labels, groups = np.asarray(labels), np.asarray(groups)
        if labels.ndim != 1 or labels.shape != groups.shape:
            raise ValueError(f"labels {labels.shape} and groups {groups.shape} must be of one length")
        self.classes, codes = np.unique(labels, return_inverse=True)
        _, first, self.group_of_row = np.unique(groups, return_index=True, return_inverse=True)
        self.class_of_group = codes[first]
        self.contradicting_rows = int(np.sum(codes != self.class_of_group[self.group_of_row]))

    def announce_contradictions(self) -> None:
        if self.contradicting_rows:
            log.warning(
                "near-duplicates of a picture with another label: %d; one of the two labels is wrong",
                self.contradicting_rows,
            )

    def require(self, count: int, purpose: str) -> Indices:
        """The number of groups of each class. Raises UserError naming the smallest class with fewer than `count`."""
        sizes = self.class_sizes()
        if not len(sizes):
            raise UserError(f"there is no labelled picture for {purpose}")
        smallest = int(np.argmin(sizes))
        if sizes[smallest] < count:
            raise UserError(
                f"class {str(self.classes[smallest])!r} has too few different pictures: {sizes[smallest]} "
                f"(near-duplicates count once); {purpose} needs {count} of every class: add pictures or leave it out"
            )
        return sizes

    def shuffled_by_class(self, seed: int) -> Indices:
        """The groups in class order, shuffled inside each class."""
        shuffled = np.random.default_rng(seed).permutation(len(self.class_of_group))
        return shuffled[np.argsort(self.class_of_group[shuffled], kind="stable")]

    def folds(self, k: int, seed: int) -> list[Split]:
        if k < 2:
            raise UserError(f"cross-validation needs at least 2 folds, not {k}")
        self.require(k, f"cross-validation with {k} folds")
        order = self.shuffled_by_class(seed)
        # Dealt like cards, without a new start at each class: so the folds are of one size, too.
        return [self.split(order[number::k]) for number in range(k)]

    def split(self, test: Indices) -> Split:
        """The rows whose groups are not among those in `test`, and those whose are."""
        inside = np.isin(self.group_of_row, test)
        return np.flatnonzero(~inside), np.flatnonzero(inside)

    def class_sizes(self) -> Indices:
        """The number of groups of each class."""
        return np.bincount(self.class_of_group, minlength=len(self.classes))


def _as_strings(digests: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """(n, 32) bytes as n strings, which numpy sorts and compares as wholes."""
    digests = np.ascontiguousarray(digests, dtype=np.uint8)
    if digests.ndim != 2 or digests.shape[1] != 32:
        raise ValueError(f"digests must be of shape (n, 32), not {digests.shape}")
    return digests.view("S32").reshape(-1)
