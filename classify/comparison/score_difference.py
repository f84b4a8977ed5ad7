"""How much better one classifier scores than another on the same pictures, by any scorer, and how sure that is.

Accuracy without named groups: Tango's interval, see `classify.comparison.paired_difference`. Everything else resamples
whole groups of pictures, both classifiers on the same ones: Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, chapter 14. Of fewer than 20 groups a bootstrap is too narrow; there the interval is that of the jackknife over
groups, with Student's t: Tukey, "Bias and confidence in not-quite large samples", Annals of Mathematical Statistics 29
(1958) 614.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from classify.comparison.paired_difference import Difference, paired_difference
from classify.data.split import Indices
from classify.heads.numerics import Floats
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.scorers import Scoring, score_by

FEW = 20  # groups
MANY = 500  # of means: both intervals are the same then, and the jackknife has a closed form
RESAMPLES = 200  # of a score that takes milliseconds
RESAMPLES_OF_MEANS = 2000


@dataclass(frozen=True)
class Scorable:
    """The answers of one classifier. classes: (k,), sorted; labels: (n,); probabilities: (n, k)."""

    classes: NDArray[np.str_]
    labels: NDArray[np.str_]
    probabilities: Floats

    @classmethod
    def of(cls, answers: HeldOutAnswers) -> "Scorable":
        """All of some answers."""
        classes = np.array(answers.classes)
        return cls(classes, classes[answers.truth], answers.probabilities)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right: (n,)."""
        return self.classes[self.probabilities.argmax(axis=1)] == self.labels

    def score(self, scoring: str | Scoring, rows: Indices | slice = slice(None)) -> float:
        """The score of some pictures, the higher the better; NaN where it is not defined."""
        if str(scoring) == "accuracy":
            return float(self.right[rows].mean())
        return score_by(scoring, self.classes, self.labels[rows], self.probabilities[rows])


def score_differences(
    scoring: str | Scoring, others: Sequence[Scorable], best: Scorable, groups: Indices, named: bool
) -> list[Difference]:
    """The score of each of `others` less that of `best` on the same n pictures, with its 95% interval.

    groups: (n,), equal numbers for pictures that are not independent. named: whether people named them.
    """
    name, (_, group) = str(scoring), np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    if name == "accuracy" and not (named and count > 1):
        return [paired_difference(other.right, best.right, groups) for other in others]
    if name in MEANS and count > 1:
        of_best = MEANS[name](best)
        return [_of_means(MEANS[name](other) - of_best, group, count) for other in others]
    samples = _samples(group, count)
    of_best = np.array([best.score(scoring, rows) for rows in samples])
    whole = best.score(scoring)
    return [
        _interval(
            other.score(scoring) - whole, np.array([other.score(scoring, rows) for rows in samples]) - of_best, count
        )
        for other in others
    ]


def _log_probabilities(answers: Scorable) -> Floats:
    """The logarithm of the probability of each true label (n,), clipped as scikit-learn's log loss does."""
    truth = np.searchsorted(answers.classes, answers.labels)
    given = answers.probabilities[np.arange(len(truth)), truth] / answers.probabilities.sum(axis=1)
    eps = np.finfo(np.float64).eps
    return np.log(np.clip(given, eps, 1 - eps))


# Scores that are means over pictures: resampled all at once.
MEANS: dict[str, Callable[[Scorable], Floats]] = {
    "accuracy": lambda answers: answers.right.astype(float),
    "neg_log_loss": _log_probabilities,
}


def _samples(group: Indices, count: int) -> list[Indices]:
    """The rows of each resample of whole groups; of few groups all but each one in turn."""
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group))[:-1])
    if count < FEW:
        return [np.flatnonzero(group != left_out) for left_out in range(count)] if count > 1 else []
    random = np.random.default_rng(0)
    return [np.concatenate([members[i] for i in random.integers(count, size=count)]) for _ in range(RESAMPLES)]


def _interval(value: float, of_samples: Floats, count: int) -> Difference:
    found = of_samples[np.isfinite(of_samples)]
    if not np.isfinite(value) or len(found) < 2:
        return Difference(value, (float("-inf"), float("inf")))
    if count >= FEW:
        low, high = np.percentile(found, [2.5, 97.5])
        return Difference(value, (min(float(low), value), max(float(high), value)))
    return _jackknifed(value, found)


def _jackknifed(value: float, found: Floats) -> Difference:
    """found: (g,), the value without each group in turn."""
    error = np.sqrt((len(found) - 1) / len(found) * np.square(found - found.mean()).sum())
    reach = float(t.ppf(0.975, len(found) - 1) * error)
    return Difference(value, (value - reach, value + reach))


def _of_means(differences: Floats, group: Indices, count: int) -> Difference:
    """The mean of `differences` (n,) of single pictures, by groups."""
    sums, sizes = np.bincount(group, weights=differences), np.bincount(group)
    value = float(differences.mean())
    if not sums.any():  # no group tells the two apart: as where each group is one picture
        none = np.zeros(count, bool)
        return Difference(value, paired_difference(none, none, np.arange(count)).interval)
    if FEW <= count <= MANY:
        weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES_OF_MEANS)
        return _interval(value, (weights @ sums) / (weights @ sizes), count)
    return _jackknifed(value, (sums.sum() - sums) / (sizes.sum() - sizes))
