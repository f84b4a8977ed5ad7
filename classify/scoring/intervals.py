"""95% intervals of scores: of shares by pictures, and of any score over groups of pictures that are not independent.

By pictures a share has Wilson's interval, and any other score a bootstrap. Over groups, such as camera sites, whole
groups are drawn: 20 or more by a bootstrap, fewer are left out one after the other. Either gives the error of the logit
of a score, ln(score / (1 - score)), whose interval stays between 0 and 1. Which intervals hold is measured by
benchmarks/accuracy/intervals.py, see docs/explanation/intervals.md.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, stdtrit

from classify.heads.numerics import Floats

Interval = tuple[float, float]
# Weights of units (r, u), such as how often each is drawn, -> values (r, m), NaN where they are not defined.
Statistic = Callable[[Floats], Floats]

Z_95 = 1.959963984540054  # the 97.5th percentile of the normal distribution: two-sided 95%
RESAMPLES = 1000
FEW_GROUPS = 20  # of fewer, a bootstrap covers too rarely
NUMBERS_AT_ONCE = 4_000_000  # weights in memory


def wilson_interval(successes: int, n: int) -> Interval:
    """95% confidence interval of a share, successes of n > 0 trials, see `wilson`."""
    low, high = wilson(successes / n, n)
    return float(low), float(high)


def wilson(share: ArrayLike, n: ArrayLike) -> Floats:
    """Low and high ends (2, ...) of 95% intervals of shares of n trials each; 0 and 1 where n is 0.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927) 209-212. It stays inside [0, 1] and is not empty at shares of 0 and 1.
    """
    share, n = np.broadcast_arrays(np.asarray(share, np.float64), np.asarray(n, np.float64))
    trials = np.where(n > 0, n, 1)
    centre = share + Z_95**2 / (2 * trials)
    half = Z_95 * np.sqrt(share * (1 - share) / trials + (Z_95 / (2 * trials)) ** 2)
    ends = np.stack([centre - half, centre + half]) / (1 + Z_95**2 / trials)
    low, high = np.minimum(ends[0], share), np.maximum(ends[1], share)  # which rounding would cross at 0 and 1
    return np.where(n > 0, np.clip([low, high], 0, 1), np.stack([np.zeros(n.shape), np.ones(n.shape)]))


def by_pictures(statistic: Statistic, repeats: Floats) -> Floats:
    """Low and high ends (2, m) of a bootstrap by pictures, 1,000 draws of as many pictures with a fixed seed.

    repeats: (u,), how many pictures each unit stands for: pictures that the statistic cannot tell apart are one unit.
    NaN where no draw changes a value: there the pictures do not say how sure it is.
    """
    (value,) = statistic(repeats[None])
    return _on_logit(value, _bootstrap_error(statistic, value, repeats), np.array(np.inf))


def over_groups(statistic: Statistic, sizes: Floats) -> Floats:
    """Low and high ends (2, m), groups being what is drawn; NaN where the groups do not differ, or are not two.

    sizes: (g, m), the pictures of each group that a value rests on; groups without any do not count for it.

    The interval is a t interval on the logit. Of 20 groups or more its error is that of a bootstrap over groups, of
    fewer that of the jackknife over groups. The degrees of freedom are the effective number of groups less one: groups
    of uneven sizes tell less (A. V. Carter, K. T. Schnepel and D. G. Steigerwald, "Asymptotic behavior of a t-test
    robust to cluster heterogeneity", Review of Economics and Statistics 99 (2017) 698-709).
    """
    groups = (sizes > 0).sum(axis=0)
    many, few = groups >= FEW_GROUPS, (groups > 1) & (groups < FEW_GROUPS)
    each = np.ones(len(sizes))
    (value,) = statistic(each[None])
    error = np.full(len(value), np.nan)
    if many.any():
        wider = np.sqrt(groups / np.maximum(groups - 1, 1))  # a draw of g groups varies less than g groups do
        error = np.where(many, wider * _bootstrap_error(statistic, value, each), error)
    if few.any():
        error = np.where(few, _jackknife_error(statistic, value, sizes[:, few] > 0, groups), error)
    return _on_logit(value, error, np.maximum(effective_number(sizes) - 1, 1))


def effective_number(sizes: Floats) -> Floats:
    """How many groups of one size tell as much as those of `sizes` (g, m): (m,), 0 without pictures (Kish, 1965)."""
    squares = np.square(sizes).sum(axis=0)
    return np.divide(np.square(sizes.sum(axis=0)), squares, out=np.zeros(squares.shape), where=squares > 0)


def f1_of(precision: Floats, recall: Floats) -> Floats:
    """The F1 of each precision and recall, 0 where both are 0; of the ends of their intervals, the most that F1's span.

    F1 is their harmonic mean, which grows with either.
    """
    return 2 * precision * recall / np.maximum(precision + recall, 1e-300)


def hull(*ends: Floats) -> Floats:
    """The narrowest intervals (2, m) that hold all of these, NaN being none."""
    return np.stack([np.fmin.reduce([low for low, _ in ends]), np.fmax.reduce([high for _, high in ends])])


def _on_logit(value: Floats, error: Floats, freedom: Floats) -> Floats:
    """value +- t errors, on the logit: (2, m); NaN where the error is 0 or not defined."""
    reach = error * np.where(np.isinf(freedom), Z_95, stdtrit(np.where(np.isinf(freedom), 1, freedom), ndtr(Z_95)))
    with np.errstate(invalid="ignore"):  # of values of 0 and 1
        ends = expit(logit(value) + np.stack([-reach, reach]))
    return np.where(np.isfinite(reach) & (reach > 0), ends, np.nan)


def _bootstrap_error(statistic: Statistic, value: Floats, repeats: Floats) -> Floats:
    """The error of the logit of each value (m,): half of what holds the middle 68% of the draws.

    Where that reaches a score of 0 or 1, and has no end, it is the deviation of the score over value (1 - value).
    """
    drawn = np.concatenate([statistic(weights) for weights in _draws(repeats)])
    undefined = np.isnan(drawn).all(axis=0)
    drawn[:, undefined] = 0  # NumPy warns of NaN alone, and to silence that is not safe in threads
    with np.errstate(all="ignore"):
        low, high = np.nanquantile(drawn, [ndtr(-1), ndtr(1)], axis=0)
        error = (logit(high) - logit(low)) / 2
        error = np.where(np.isfinite(error), error, np.nanstd(drawn, axis=0) / (value * (1 - value)))
    return np.where(undefined, np.nan, error)


def _draws(repeats: Floats) -> Iterator[Floats]:
    """How often each unit is drawn, (r, u) some draws at a time."""
    random, n = np.random.default_rng(0), int(repeats.sum())
    step = max(1, NUMBERS_AT_ONCE // max(1, len(repeats)))
    for start in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - start)
        if n > len(repeats):
            yield random.multinomial(n, repeats / n, size=count).astype(np.float64)
        else:  # the same where each unit is one, several times as fast
            picked = random.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
            yield np.bincount(picked.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)


def _jackknife_error(statistic: Statistic, value: Floats, there: NDArray[np.bool_], groups: Floats) -> Floats:
    """The error of the logit of each value (m,), from leaving out each of its groups in turn.

    there: (g, few), the groups that matter to values that rest on few. Where a score of 0 or 1 is left, whose logit has
    no end, it is the error of the score over value (1 - value).
    """
    g = len(there)
    of_logit, of_value = np.zeros((2, len(value)))
    left_out, step = np.flatnonzero(there.any(axis=1)), max(1, NUMBERS_AT_ONCE // max(g, len(value)))
    with np.errstate(all="ignore"):
        for start in range(0, len(left_out), step):
            some = left_out[start : start + step]
            weights = np.ones((len(some), g))
            weights[np.arange(len(some)), some] = 0
            without = statistic(weights)
            changed = np.isfinite(without)  # else no picture is left: that group alone has them
            of_value += np.square(without - value, where=changed, out=np.zeros(without.shape)).sum(axis=0)
            of_logit += np.square(logit(without) - logit(value), where=changed, out=np.zeros(without.shape)).sum(axis=0)
        squares = np.where(np.isfinite(of_logit), of_logit, of_value / np.square(value * (1 - value)))
        return np.sqrt((groups - 1) / groups * squares)
