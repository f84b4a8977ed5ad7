"""How much more often one classifier is right than another about the same pictures, and how sure that is."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest

from classify.data.split import Indices
from classify.scoring.intervals import Z_95

BESIDE = 1e-9  # the ends are searched beside the difference, whose own error is 0 where no picture tells the two apart


@dataclass(frozen=True)
class Difference:
    """A difference of two scores, and its 95% interval."""

    value: float
    interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        """Whether the pictures tell the two apart, in words."""
        low, high = self.interval
        if low <= 0 <= high:
            return "no different"
        return "worse" if self.value < 0 else "better"

    def to_json(self) -> dict[str, Any]:
        """difference, difference_interval, difference_in_words; None for what is not defined."""
        known = [number if math.isfinite(number) else None for number in (self.value, *self.interval)]
        return {"difference": known[0], "difference_interval": known[1:], "difference_in_words": self.verdict}


def paired_difference(right: np.ndarray, other: np.ndarray, groups: Indices) -> Difference:
    """Accuracy of one classifier minus that of another on the same pictures, with its 95% interval.

    right, other: (n,) bool, whether each was right about a picture. groups: (n,), equal numbers for near-duplicates.

    Only pictures count about which one is right and the other wrong. The interval is the score interval of Tango,
    "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17 (1998) 891-908, which is not empty where there is no such picture, and leaves 0 out
    where McNemar's test does. Near-duplicates count as fewer pictures: as many as give the variance between groups (Rao
    and Scott, "A simple method for the analysis of clustered binary data", Biometrics 48 (1992) 577-585).
    """
    n = len(right)
    differences = right.astype(int) - other.astype(int)
    share = 1 / _design_effect(differences, groups)
    better, worse = share * np.sum(differences > 0), share * np.sum(differences < 0)
    return Difference(float(differences.mean()), _tango(float(better), float(worse), share * n))


def mcnemar(right: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """McNemar's exact test of two classifiers: better and worse, pictures that one alone has right, and p_value.

    right, other: (n,) bool. "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947) 153-157; exact: every picture counts as one, whatever its group.
    """
    better, worse = int(np.sum(right & ~other)), int(np.sum(~right & other))
    p_value = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return {"better": better, "worse": worse, "p_value": p_value}


def _design_effect(differences: np.ndarray, groups: Indices) -> float:
    """How many times the variance of the mean of `differences` (n,) is what it would be without groups; at least 1."""
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group)
    n, count = len(differences), len(sizes)
    residuals = differences - differences.mean()
    alone = np.square(residuals).sum()
    if not alone or count < 2:  # nothing to measure it by: as if the pictures of a group were one
        return float(np.square(sizes).sum() / n)
    between = np.square(np.bincount(group, weights=residuals)).sum() * count / (count - 1)
    return max(1.0, float(between / (alone * n / (n - 1))))


def _tango(better: float, worse: float, n: float) -> tuple[float, float]:
    """The differences whose score statistic is at most 1.96; `better` and `worse` are numbers of the n pictures."""
    gain = better - worse

    def error(difference: float) -> float:
        """The standard error of `gain` if this were the true difference, the rest being as likely as can be."""
        linear = (2 * n - gain) * difference - better - worse
        constant = -worse * difference * (1 - difference)
        rarer = (np.sqrt(linear**2 - 8 * n * constant) - linear) / (4 * n)
        return float(np.sqrt(max(0.0, n * (2 * rarer + difference * (1 - difference)))))

    below, above = gain / n - BESIDE, gain / n + BESIDE
    low = brentq(lambda d: gain - n * d - Z_95 * error(d), -1, below) if below > -1 else -1.0
    high = brentq(lambda d: gain - n * d + Z_95 * error(d), above, 1) if above < 1 else 1.0
    return float(low), float(high)
