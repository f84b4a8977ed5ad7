"""Split pictures by groups that hold pictures of several classes, such as camera sites.

Groups are dealt to bins (train and test, or the folds) so that each bin has its share of every class and of all
pictures, as nearly as whole groups allow. No class lies in one bin alone: every training part then has every class.
Largest groups first, each to the bin that it fits best, as scikit-learn's `StratifiedGroupKFold` does, which takes
neither unequal bins nor care of rare classes.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.errors import UserError, listed, log
from classify.data.split import Indices, Split
from classify.heads.numerics import Floats

SHOWN = 12  # classes in a message
TRIES = 20  # orders of few groups; of many one is as good as another
GROUPS_TRIED = 4000  # over all tries


def holdout_of_groups(labels: ArrayLike, groups: ArrayLike, test_size: float, seed: int) -> Split:
    """Draw a test part of whole groups with about a share `test_size` of the pictures of every class.

    labels, groups: (n,). Returns ascending row indices (train, test). Raises UserError for another test_size, and for a
    class in fewer than 2 groups.
    """
    if not 0 < test_size < 1:
        raise UserError(f"the test size must be a share between 0 and 1, not {test_size}")
    inside = held_out_groups(labels, groups, test_size, seed, strict=True)
    labels = np.asarray(labels)
    if lacking := sorted({*labels.tolist()} - {*labels[inside].tolist()}):
        names = listed((repr(str(name)) for name in lacking), SHOWN)
        log.warning("classes that are not scored, for whole groups leave them in the training part alone: %s", names)
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def folds_of_groups(labels: ArrayLike, groups: ArrayLike, k: int, seed: int) -> list[Split]:
    """Cut the rows into k folds of whole groups, each with about the same share of every class.

    labels, groups: (n,). Returns k pairs of ascending row indices (train, test), every class in every training part. A
    class in fewer groups than folds is in as many test parts as it has groups. Raises UserError for k < 2, for fewer
    groups than folds, and for a class in fewer than 2 groups.
    """
    if k < 2:
        raise UserError(f"cross-validation needs at least 2 folds, not {k}")
    if (count := len(np.unique(groups))) < k:
        raise UserError(f"there are {count} groups: that is too few for {k} folds")
    classes, counts, group = _counted(labels, groups)
    _require_two(classes, (counts > 0).sum(axis=0))
    bins = _dealt(counts, np.full(k, 1 / k), seed)
    if (bins < 0).any():
        log.warning("groups that no fold holds out, for others would lack a class: %d", (bins < 0).sum())
    return _splits(bins[group], k)


def inner_folds_of_groups(labels: ArrayLike, groups: ArrayLike, k: int, seed: int) -> list[Split]:
    """As `folds_of_groups`, of what there is: a group that has a class alone is in every training part.

    At most k folds; none where fewer than 2 groups can be held out.
    """
    _, counts, group = _counted(labels, groups)
    k = min(k, int((~_has_a_class_alone(counts)).sum()))
    return _splits(_dealt(counts, np.full(k, 1 / k), seed)[group], k) if k > 1 else []


def held_out_groups(
    labels: ArrayLike, groups: ArrayLike, fraction: float, seed: int, strict: bool = False
) -> NDArray[np.bool_]:
    """Mask (n,) of whole groups with about this share of the pictures of every class, which the others have too.

    strict: raise UserError for a class in fewer than 2 groups; else its group is not held out.
    """
    classes, counts, group = _counted(labels, groups)
    if strict:
        _require_two(classes, (counts > 0).sum(axis=0))
    return (_dealt(counts, np.array([1 - fraction, fraction]), seed, first_is_trained=True) == 1)[group]


def _splits(bins: Indices, k: int) -> list[Split]:
    return [(np.flatnonzero(bins != number), np.flatnonzero(bins == number)) for number in range(k)]


def _counted(labels: ArrayLike, groups: ArrayLike) -> tuple[NDArray[Any], Floats, Indices]:
    """The classes (k,), the pictures (g, k) of each group and class, and the group (n,) of each picture."""
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if not len(codes):
        raise UserError("there is no labelled picture for a split by groups")
    counts = np.zeros((group.max() + 1, len(classes)))
    np.add.at(counts, (group, codes), 1)
    return classes, counts, group


def _require_two(classes: NDArray[np.str_], groups: Indices) -> None:
    """Raise UserError, with the number of groups of each class, unless each class is in two."""
    if (groups < 2).any():
        order = np.argsort(groups, kind="stable")
        named = listed((f"{str(classes[code])!r} {groups[code]}" for code in order), SHOWN)
        raise UserError(
            f"class {str(classes[order[0]])!r} is in {groups[order[0]]} group, and a split by groups needs 2 of every "
            f"class (groups of each: {named}): add groups, or leave the class out"
        )


def _dealt(counts: Floats, shares: Floats, seed: int, first_is_trained: bool = False) -> Indices:
    """The bin (g,) of each group, from its pictures of each class (g, k) and the share (b,) of each bin.

    -1: a group that is always trained on, for it has a class alone, or without it a training part would lack one.
    first_is_trained: nobody holds out the first bin.
    """
    bins = np.full(len(counts), -1)
    free = ~_has_a_class_alone(counts)
    if not free.any():
        return bins
    kept = (counts[~free] > 0).any(axis=0)  # classes that are always trained on
    dealt = counts[free][:, ~kept]
    # The last column is all pictures. Each column adds up to 1.
    parts = np.column_stack([counts[free], counts[free].sum(axis=1)])
    parts = parts / np.maximum(parts.sum(axis=0), 1)
    random = np.random.default_rng(seed)
    tries = int(np.clip(GROUPS_TRIED // len(counts), 1, TRIES))
    found = [_spread(_greedy(parts, shares, random), dealt, parts, shares) for _ in range(tries)]
    width = len(shares)
    costs = [(int(_in_one_bin(dealt, of, width).sum()), _cost(_filled(parts, of, width), shares)) for of in found]
    bins[free] = best = found[min(range(tries), key=costs.__getitem__)]
    bins[np.flatnonzero(free)[_always_trained(dealt, best, width, first_is_trained)]] = -1
    return bins


def _always_trained(counts: Floats, bins: Indices, width: int, first_is_trained: bool) -> NDArray[np.bool_]:
    """Mask (g,) of the groups, as few and small as possible, that the classes which are in one bin alone take.

    Such a class has two groups there or more, of which one is taken: so no bin is ever emptied.
    """
    taken = np.zeros(len(counts), bool)
    alone = _in_one_bin(counts, bins, width)
    if first_is_trained:
        alone &= ~(counts[bins == 0] > 0).any(axis=0)
    while (lacking := alone & ~(counts[taken] > 0).any(axis=0)).any():
        helped = (counts[:, lacking] > 0).sum(axis=1)
        taken[np.lexsort((counts.sum(axis=1), -helped))[0]] = True
    return taken


def _has_a_class_alone(counts: Floats) -> NDArray[np.bool_]:
    """Mask (g,) of the groups that hold all pictures of some class."""
    single = (counts > 0).sum(axis=0) == 1
    return np.any(counts[:, single] > 0, axis=1)


def _greedy(parts: Floats, shares: Floats, random: np.random.Generator) -> Indices:
    """Each group in turn, the largest first, to the bin that comes nearest to its shares by it."""
    order = random.permutation(len(parts))
    size = parts.max(axis=1) * random.uniform(0.8, 1.25, len(parts))  # so that every try has another order
    order = order[np.argsort(-size[order], kind="stable")]
    missing = np.repeat(shares[:, None], parts.shape[1], axis=1)
    bins = np.empty(len(parts), np.intp)
    for group in order:
        # The change of the squares of what is missing, less what is the same for all bins.
        bins[group] = chosen = int(np.argmax(missing @ parts[group]))
        missing[chosen] -= parts[group]
    return bins


def _spread(bins: Indices, counts: Floats, parts: Floats, shares: Floats) -> Indices:
    """`bins`, with groups moved until no class lies in one bin alone, or no move brings that nearer."""
    width = len(shares)
    while (alone := _in_one_bin(counts, bins, width)).any():
        best, least = bins, (int(alone.sum()), np.inf)
        for group in np.flatnonzero((counts[:, alone] > 0).any(axis=1)):
            for other in range(width):
                moved = bins.copy()
                moved[group] = other
                cost = (int(_in_one_bin(counts, moved, width).sum()), _cost(_filled(parts, moved, width), shares))
                if cost < least:
                    best, least = moved, cost
        if least[0] >= alone.sum():
            break
        bins = best
    return bins


def _filled(parts: Floats, bins: Indices, width: int) -> Floats:
    """What each bin has of each column: (b, k + 1)."""
    filled = np.zeros((width, parts.shape[1]))
    np.add.at(filled, bins, parts)
    return filled


def _cost(filled: Floats, shares: Floats) -> float:
    return float(np.square(filled - shares[:, None]).sum())


def _in_one_bin(counts: Floats, bins: Indices, width: int) -> NDArray[np.bool_]:
    """Mask (k,) of the classes whose groups are all in one bin."""
    there = np.zeros((width, counts.shape[1]), bool)
    np.logical_or.at(there, bins, counts > 0)
    return there.sum(axis=0) < 2
