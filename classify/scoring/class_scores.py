"""Scores that follow from the answers alone, with their intervals: shares of each class, and means over the classes.

All of them follow from three tallies of each class: right answers, pictures, answers. So a bootstrap is one matrix
product, how often each group (or kind of picture) is drawn times its tallies, and needs no pictures.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from classify.data.split import Indices
from classify.heads.numerics import Floats
from classify.scoring.intervals import by_pictures, f1_of, hull, over_groups, wilson


@dataclass(frozen=True)
class ClassScores:
    """Each score as its value and the low and high end of its 95% interval: (3,), (3, k) of k classes.

    Recall, precision and F1 that are not defined are 0, and may be anything from 0 to 1. balanced_accuracy: the mean
    recall of the classes that have pictures. macro_f1: the mean F1 of the classes that occur as label or as answer.
    """

    recall: Floats
    precision: Floats
    f1: Floats
    accuracy: Floats
    balanced_accuracy: Floats
    macro_f1: Floats


def class_scores(truth: Indices, predicted: Indices, k: int, groups: Indices | None = None) -> ClassScores:
    """Score answers (n,) against true classes (n,), both 0 to k - 1, n > 0.

    groups: (n,), equal numbers for pictures of one group, where people named groups.

    By pictures accuracy, recall and precision have Wilson's interval, F1 and the means a bootstrap. What no draw
    changes has Wilson's interval as well, and a class that no draw changes, such as one whose answers are all right,
    adds its own distance to that of the means, as squares (G. Y. Zou and A. Donner, "Construction of confidence limits
    about effect measures: a general approach", Statistics in Medicine 27 (2008) 1693-1702).

    Over groups every score rests on the groups that have its pictures, see `classify.scoring.intervals.over_groups`.
    What does not differ between groups (all right, a single group, a class in one group) has Wilson's interval with the
    number of these groups as n. Classes that one group alone has are high or low together: their distances add up, not
    their squares. No interval over groups is narrower than that by pictures, and F1 has no end that those of precision
    and recall exclude.
    """
    codes = np.stack([truth, predicted])
    cells, repeats = np.unique(codes, axis=1, return_counts=True)  # pictures of one cell are alike
    counts = repeats.astype(np.float64)
    tallies = _tallies(cells, np.arange(len(counts)), k)
    (values,) = _values(tallies, counts[None])
    pictures = _sizes((tallies.T @ counts)[None])[0]
    shares = np.isin(np.arange(3 * k + 3), [*range(2 * k), 3 * k])  # all recalls and precisions, and accuracy
    drawn = by_pictures(partial(_values, tallies), counts)
    ends = np.where(shares, wilson(np.nan_to_num(values), pictures), _ends(values, drawn, pictures, np.arange(3 * k)))
    if groups is not None:
        tallies = _tallies(codes, np.unique(groups, return_inverse=True)[1], k)
        sizes = _sizes(tallies.toarray())
        drawn = over_groups(partial(_values, tallies), sizes)
        there = sizes > 0
        shared = np.where(there.sum(axis=0) == 1, 3 * k + there.argmax(axis=0), np.arange(3 * k + 3))[: 3 * k]
        ends = hull(ends, _ends(values, drawn, there.sum(axis=0), shared))
    recall, precision, f1 = (ends[:, start : start + k] for start in range(0, 3 * k, k))
    ends[:, 2 * k : 3 * k] = np.clip(f1, *f1_of(precision, recall))
    found = np.concatenate([np.nan_to_num(values)[None], ends])
    return ClassScores(*np.split(found[:, : 3 * k], 3, axis=1), *found[:, 3 * k :].T)


def share_of(right: NDArray[np.bool_], groups: Indices | None = None) -> Floats:
    """The share of right answers (n,) and its interval: (3,), as `class_scores` gives accuracy."""
    return class_scores(np.zeros(len(right), np.intp), (~right).astype(np.intp), 2, groups).accuracy


def _tallies(codes: Indices, unit: Indices, k: int) -> csr_array:
    """(units, 3k): right answers, pictures and answers of each class, of pictures with codes (2, n) in units (n,)."""
    truth, predicted = codes
    right = truth == predicted
    columns = np.concatenate([truth[right], k + truth, 2 * k + predicted])
    rows = np.concatenate([unit[right], unit, unit])
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(int(unit.max()) + 1, 3 * k))


def _values(tallies: csr_array, weights: Floats) -> Floats:
    """The scores (r, 3k + 3) of weighted units (r, u): recalls, precisions, F1s, accuracy and the two means."""
    right, pictures, answers = np.split((tallies.T @ weights.T).T, 3, axis=1)
    with np.errstate(all="ignore"):
        recall, precision, f1 = right / pictures, right / answers, 2 * right / (pictures + answers)
        accuracy = right.sum(axis=1) / pictures.sum(axis=1)
        means = _mean_of_defined(recall), _mean_of_defined(f1)
    return np.concatenate([recall, precision, f1, np.stack([accuracy, *means], axis=1)], axis=1)


def _mean_of_defined(values: Floats) -> Floats:
    """Over axis 1; NaN of no class, where all groups that have pictures are left out: `numpy.nanmean` warns of that."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0).sum(axis=1) / defined.sum(axis=1)


def _sizes(tallies: Floats) -> Floats:
    """How many pictures of each unit each of the scores rests on: (u, 3k + 3), from tallies (u, 3k)."""
    _, pictures, answers = np.split(tallies, 3, axis=1)
    each = pictures.sum(axis=1, keepdims=True)
    return np.concatenate([pictures, answers, pictures + answers, each, each, each], axis=1)


def _ends(values: Floats, drawn: Floats, units: Floats, shared: Indices) -> Floats:
    """The ends (2, 3k + 3) of the intervals: those of draws, and of what these do not change Wilson's of so many units.

    values: (3k + 3,). drawn: (2, 3k + 3), NaN where no draw changes a value. shared: (3k,), equal numbers for scores of
    classes that rest on the same unit, which are high or low together.
    """
    k = len(values) // 3 - 1
    fixed = np.isnan(drawn[0])
    ends = np.where(fixed, wilson(np.nan_to_num(values), units), drawn)
    distances = np.abs(ends - values)
    for mean, of in ((-2, range(k)), (-1, range(2 * k, 3 * k))):
        defined = np.array(of)[np.isfinite(values[of])]
        alone = defined[fixed[defined]]
        of_unit = np.stack([np.bincount(shared[alone], weights=side) for side in distances[:, alone] / len(defined)])
        reach = np.sqrt(np.where(fixed[mean], 0, distances[:, mean]) ** 2 + np.square(of_unit).sum(axis=1))
        reach = np.where(fixed[mean], np.maximum(reach, distances[:, mean]), reach)
        ends[:, mean] = np.clip(values[mean] + np.array([-1, 1]) * reach, 0, 1)
    return ends
