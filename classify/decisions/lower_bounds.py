"""Bounds of a share where pictures of one group are not independent.

Clopper and Pearson's exact binomial bounds, with the number of pictures replaced by that of independent ones which
would tell as much: Korn and Graubard, "Confidence intervals for proportions with small expected number of positive
counts estimated from survey data", Survey Methodology 24 (1998). The design effect is the larger one of two. The first
is that of the counted pictures themselves (linearised variance of a share over groups). Where few of them are wrong it
tells little; so the second takes the intraclass correlation of all answers, few and sure or not (analysis of variance;
Donner, International Statistical Review 54, 1986). Without groups both are 1, and the bound is the exact one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classify.data.split import Indices
from classify.decisions.saved_answers import Codes
from classify.heads.numerics import Floats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Counted:
    """t sets of pictures: how many there are, how many of these count, and how many independent ones tell as much.

    number, hits: (t,) whole numbers. independent: (t,) float64, at most `number`.
    """

    number: Indices
    hits: Indices
    independent: Floats

    def lower(self, confidence: float = CONFIDENCE) -> Floats:
        """One-sided lower bounds (t,) of the shares of hits."""
        from scipy.special import betaincinv  # slow to import

        hits = self.independent * self.hits / self.number
        with np.errstate(invalid="ignore"):
            bounds = betaincinv(np.maximum(hits, 1e-12), self.independent - hits + 1, 1 - confidence)
        return np.where(hits > 0, bounds, 0.0)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
        """Two-sided intervals of the shares: lower and upper ends (t,)."""
        missed = Counted(self.number, self.number - self.hits, self.independent)
        each = (1 + confidence) / 2
        return self.lower(each), 1 - missed.lower(each)


def counted(hits: NDArray[np.bool_], groups: Codes, numbers: Indices | None = None) -> Counted:
    """Count the first `numbers` (t,) pictures, ascending, of n; by default all.

    hits: (n,) bool. groups: (n,), equal numbers from 0 for pictures that are not independent.
    """
    numbers = np.array([len(hits)]) if numbers is None else numbers
    correlation = intraclass_correlation(hits, groups)
    sizes, of_group = np.zeros((2, groups.max(initial=-1) + 1))
    rows, start = [], 0
    for end in numbers.tolist():
        sizes += np.bincount(groups[start:end], minlength=len(sizes))
        of_group += np.bincount(groups[start:end], hits[start:end], minlength=len(sizes))
        start = end
        share = of_group.sum() / end
        spread = ((of_group - share * sizes) ** 2).sum()
        rows.append(((sizes > 0).sum(), (sizes**2).sum() / end, of_group.sum(), spread))
    count, size, found, spread = np.array(rows).T
    within = found * (numbers - found) / numbers  # the squares that independent pictures would add up to
    with np.errstate(divide="ignore", invalid="ignore"):
        several = (within > 0) & (count > 1)
        own = np.where(several, spread / within * (count / (count - 1)) * ((numbers - 1) / numbers), 1)
    effect = np.maximum(np.maximum(own, 1 + (size - 1) * correlation), 1)
    return Counted(numbers, np.rint(found).astype(np.intp), numbers / effect * _for_few_groups(numbers, count))


def intraclass_correlation(hits: NDArray[np.bool_], groups: Codes) -> float:
    """How much more alike answers of one group are than others, from 0 to 1, by the analysis of variance."""
    sizes = np.bincount(groups).astype(float)
    found = np.bincount(groups, hits)[sizes > 0]
    sizes = sizes[sizes > 0]
    n, k = sizes.sum(), len(sizes)
    if k < 2 or n == k:
        return 0.0
    between = (sizes * (found / sizes - found.sum() / n) ** 2).sum() / (k - 1)
    within = (found * (1 - found / sizes)).sum() / (n - k)
    size = (n - (sizes**2).sum() / n) / (k - 1)
    total = between + (size - 1) * within
    return float(np.clip((between - within) / total, 0, 1)) if total > 0 else 0.0


def _for_few_groups(numbers: Indices, groups: Floats) -> Floats:
    """What few groups take from what pictures tell: Korn and Graubard's ratio of t quantiles (t,); 0 of one group."""
    from scipy.special import stdtrit

    degrees = np.maximum(groups - 1, 1)
    ratio = stdtrit(np.maximum(numbers - 1, 1), CONFIDENCE) / stdtrit(degrees, CONFIDENCE)
    return np.where(groups == numbers, 1.0, np.where(groups > 1, np.minimum(ratio, 1) ** 2, 0.0))
