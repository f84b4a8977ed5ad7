"""Delegation: the confidence above which answers are right as often as asked, by a lower confidence bound.

Answers out of fold are sorted by confidence. A few thresholds are looked at, each of which accepts 4% fewer than the
one before; of those whose lower bound is as high as asked, the one that accepts most is taken. Every threshold more is
one more chance that a bound holds by luck: so few are looked at, and the last of them are those that matter. How often
the promise is broken is measured, on real curves and on the worst: `benchmarks/accuracy/decisions.py`. Testing from the
strictest down and stopping at the first failure (Angelopoulos et al., "Learn then Test", 2021) bounds that by 5% for
any curve, but one wrong label among the most certain answers ends it: half of the splits of a set of flowers accept
nothing then.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cache.arguments import plain_options
from classify.data.split import Indices
from classify.decisions.lower_bounds import CONFIDENCE, Counted, counted
from classify.decisions.saved_answers import Codes, SavedAnswers
from classify.heads.numerics import Floats

STEP = 1.04  # each threshold accepts so many times as much as the stricter one before it
FEWEST = 10  # answers of the strictest
MOST_THRESHOLDS = 200
OWN_THRESHOLD = 300  # answers of each class, or what tells as much, from which on each has a threshold of its own


@dataclass(frozen=True)
class Curve:
    """The share of answers accepted against their precision: thresholds (t,), from the strictest to one that all pass.

    counted: how many answers each accepts, and how many of these are right. bounds: (t,), 95% lower bounds of the
    precision.
    """

    thresholds: Floats
    counted: Counted
    bounds: Floats

    @classmethod
    def of(cls, answers: SavedAnswers) -> "Curve":
        """From some answers, one at least."""
        order = np.argsort(-answers.confidence, kind="stable")
        sure = answers.confidence[order]
        ends = np.append(sure[1:] < sure[:-1], True).nonzero()[0] + 1  # equal confidences are accepted together
        numbers = ends[np.unique(np.searchsorted(ends, steps(len(sure))))]
        found = counted(answers.right[order], answers.groups[order], numbers)
        return cls(sure[numbers - 1], found, found.lower())

    def threshold(self, target: float) -> float:
        """The lowest threshold whose bound is `target` or more; infinite where there is none."""
        enough = np.flatnonzero(self.bounds >= target)
        return float(self.thresholds[enough[-1]]) if len(enough) else math.inf

    def rows(self) -> list[dict[str, float]]:
        """As JSON types: threshold, accepted, share, precision, lower_bound."""
        number, total = self.counted.number, self.counted.number[-1]
        columns = self.thresholds, number, number / total, self.counted.hits / number, self.bounds
        names = "threshold", "accepted", "share", "precision", "lower_bound"
        return [dict(zip(names, row, strict=True)) for row in zip(*(c.tolist() for c in columns), strict=True)]


@dataclass(frozen=True)
class Acceptance:
    """Which answers may be accepted at a target precision.

    curves: one over all answers, or one for each class, of the answers that say so. thresholds: (k,) for each class,
    infinite where no answer of it may be accepted.
    """

    target: float
    classes: list[str]
    curves: list[Curve]
    answers: SavedAnswers

    @classmethod
    def of(cls, answers: SavedAnswers, classes: list[str], target: float) -> "Acceptance":
        """From a model's held-out answers. Raises UserError for a target that is no share."""
        target = plain_options({"accept": target})["accept"]
        return cls(target, classes, _curves_of_classes(answers, len(classes)) or [Curve.of(answers)], answers)

    @property
    def by_class(self) -> bool:
        """Whether each class has a threshold of its own."""
        return len(self.curves) > 1

    @cached_property
    def thresholds(self) -> Floats:
        """The threshold of each class: (k,)."""
        found = [curve.threshold(self.target) for curve in self.curves]
        return np.where(self.answers.unanswered(len(self.classes)), math.inf, np.array(found))

    @property
    def unanswered(self) -> list[str]:
        """Classes that no held-out answer is about: answers that say so are never accepted."""
        return [self.classes[code] for code in np.flatnonzero(self.answers.unanswered(len(self.classes)))]

    def accepts(self, predicted: Codes, confidence: Floats) -> NDArray[np.bool_]:
        """Which of m answers may be accepted: (m,)."""
        return confidence >= self.thresholds[predicted]

    @cached_property
    def accepted(self) -> NDArray[np.bool_]:
        """Which of the held-out answers would have been accepted: (m,)."""
        return self.accepts(self.answers.predicted, self.answers.confidence)

    def share(self) -> tuple[float, float, float]:
        """The share of new pictures that can be accepted, and its 95% interval."""
        found = counted(self.accepted, self.answers.groups)
        (low,), (high,) = found.interval()
        return float(self.accepted.mean()), float(low), float(high)

    @property
    def needed(self) -> int:
        """How many answers the bound takes at the least, all of them right."""
        return needed(self.target)

    @property
    def refused(self) -> str | None:
        """Why nothing may be accepted, and what to do, in one line; None where something may."""
        return None if self.accepts_some else self.refused_of(self._best)

    @property
    def shortfall(self) -> str | None:
        """Why nothing may be accepted; None where something may."""
        return None if self.accepts_some else self._shortfall_of(self._best)

    @property
    def accepts_some(self) -> bool:
        """Whether some class has a threshold."""
        return bool(np.isfinite(self.thresholds).any())

    def refused_of(self, number: int) -> str | None:
        """Why no answer of a class, or of any, may be accepted; None where some may. number: of the curve."""
        if self.curves[number].threshold(self.target) < math.inf:
            return None
        most = _supported(self.curves[number])
        allowed = f", or give {most:g} or less" if most > 0 else ""
        return f"{self._shortfall_of(number)}: train it with more pictures{allowed}"

    @property
    def _best(self) -> int:
        return int(np.argmax([curve.bounds.max() for curve in self.curves]))

    def _shortfall_of(self, number: int) -> str:
        curve = self.curves[number]
        of = f" that say {self.classes[number]!r}" if self.by_class else ""
        total = int(curve.counted.number[-1])
        have = f"the model has {total}"
        if (independent := curve.counted.independent[-1]) < 0.99 * total:
            groups = len(np.unique(self.answers.groups))
            have += f" in {groups} groups, which tell as much as {independent:.0f} independent ones"
        return (
            f"accept {self.target:g} takes {self.needed} held-out answers{of} that are all right, more where some are "
            f"wrong; {have}, and they support {_supported(curve):g} at most (95% confidence)"
        )


def _supported(curve: Curve) -> float:
    """The largest target that the answers support, with three digits."""
    return math.floor(1000 * curve.bounds.max()) / 1000


def needed(target: float) -> int:
    """How many answers, all right, have `target` as their lower bound."""
    return math.ceil(round(math.log(1 - CONFIDENCE) / math.log(target), 9))


def steps(count: int) -> Indices:
    """How many of `count` answers each threshold accepts, ascending, at most `MOST_THRESHOLDS`."""
    if count <= FEWEST:
        return np.arange(1, count + 1)
    ratio = max(STEP, (count / FEWEST) ** (1 / (MOST_THRESHOLDS - 1)))
    down = count / ratio ** np.arange(math.floor(math.log(count / FEWEST) / math.log(ratio) + 1e-9) + 1)
    return np.unique(np.rint(down).astype(np.intp))


def _curves_of_classes(answers: SavedAnswers, classes: int) -> list[Curve]:
    """The curve of each class, where each has enough answers; else none."""
    if np.bincount(answers.predicted, minlength=classes).min() < OWN_THRESHOLD:
        return []
    curves = [Curve.of(answers.chosen(answers.predicted == code)) for code in range(classes)]
    return curves if min(curve.counted.independent[-1] for curve in curves) >= OWN_THRESHOLD - 1 else []
