"""Scores of one class of two, the positive one, such as a rare animal: its curves, intervals, and its prevalence."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError, listed
from classify.data.split import Indices
from classify.heads.numerics import Floats
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.intervals import by_pictures, f1_of, hull, over_groups, wilson

POINTS = np.linspace(0.01, 1, 100)  # shares at which the curves are drawn
NUMBERS = ("precision", "recall", "f1", "roc_auc", "average_precision")
ROUNDING = 1e-9  # of shares that are sums of weights
NUMBERS_AT_ONCE = 2_000_000  # weights of pictures in memory


@dataclass(frozen=True)
class Curve:
    """A curve at `POINTS` (p,) with its 95% band: y, low, high (p,)."""

    y: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class PositiveScores:
    """Scores of the class `positive`, each its value and the two ends of its 95% interval.

    prevalence: the share of the class among the pictures that precision, F1, average precision and the curve of
    precision are of: as `given`, else that of the n scored pictures, `positives` of which are of the class. roc: true
    positive rate over false positive rate. precision_recall: precision over recall.
    """

    positive: str
    n: int
    positives: int
    prevalence: float
    given: bool
    values: dict[str, tuple[float, float, float]]  # of `NUMBERS`
    roc: Curve
    precision_recall: Curve

    def to_json(self) -> dict[str, Any]:
        """`positive`, the numbers and their intervals, and `curves`, as plain numbers, strings, lists and dicts."""
        about = {"class": self.positive, "n": self.n, "positives": self.positives}
        about |= {"prevalence": self.prevalence, "prevalence_given": self.given}
        for name, (value, *ends) in self.values.items():
            about |= {name: value, f"{name}_interval": ends}
        curves = {
            name: {x: POINTS.tolist(), y: curve.y.tolist(), "low": curve.low.tolist(), "high": curve.high.tolist()}
            for name, curve, x, y in (
                ("roc", self.roc, "false_positive_rate", "true_positive_rate"),
                ("precision_recall", self.precision_recall, "recall", "precision"),
            )
        }
        return {"positive": about, "curves": curves}


def check_positive(classes: Sequence[str], positive: str | None, prevalence: float | None) -> None:
    """Raise UserError unless there are two classes, `positive` being one; None where it is not asked for.

    `prevalence` alone says nothing, which is an error as well.
    """
    names = sorted({str(name) for name in classes})
    if positive is None:
        if prevalence is not None:
            raise UserError(f"prevalence {prevalence}: give --positive, the class that it is the prevalence of")
        return
    if len(names) != 2:
        raise UserError(f"positive class {positive!r}: there are {len(names)} classes, and it is for two: leave it out")
    if positive not in names:
        raise UserError(f"positive class {positive!r} is none of the two: give one of {listed(map(repr, names), 2)}")


def positive_report(answers: HeldOutAnswers, positive: str | None, prevalence: float | None = None) -> dict[str, Any]:
    """`PositiveScores` as JSON types; nothing without a positive class."""
    return {} if positive is None else positive_scores(answers, positive, prevalence).to_json()


def positive_scores(answers: HeldOutAnswers, positive: str, prevalence: float | None = None) -> PositiveScores:
    """Scores of the class `positive` of the two; intervals over the named groups, where there are some.

    The answer is the more probable class. Of a class with prevalence p precision is, by Bayes' theorem,

        recall p / (recall p + false positive rate (1 - p))

    (D. G. Altman and J. M. Bland, "Diagnostic tests 2: predictive values", BMJ 309 (1994) 102): recall and false
    positive rate do not depend on how frequent the class is among the scored pictures, precision does. Where
    `prevalence` is given, precision, F1 and average precision are those of pictures with that prevalence.

    Intervals are as in `classify.scoring.class_scores`, those of the areas and of the curves a bootstrap. The precision
    of a given prevalence has that of R. G. Newcombe, "MOVER-R confidence intervals for ratios and products of two
    independently estimated quantities", Statistical Methods in Medical Research 25 (2016) 1774-1778, from Wilson's of
    recall and false positive rate. It has an end also where no negative was answered positively. F1 is the harmonic
    mean of precision and recall at any prevalence: its ends are no further out than what the ends of these two allow.

    Raises UserError as `check_positive`, and where one of the two classes has no picture.
    """
    check_positive(answers.classes, positive, prevalence)
    code = answers.classes.index(positive)
    truth, answered = answers.truth == code, answers.predicted == code
    n, positives = len(truth), int(truth.sum())
    if not 0 < positives < n:
        raise UserError(f"of class {positive!r} are {positives} of {n} scored pictures: score pictures of both classes")
    about = truth, answered, answers.probabilities[:, code], prevalence
    statistic = partial(_values, *about, np.arange(n))
    (values,) = statistic(np.ones((1, n)))
    with np.errstate(all="ignore"):
        answers_at = np.append(answered.sum(), POINTS * positives / values[5 + len(POINTS) :])
    drawn = by_pictures(statistic, np.ones(n))
    drawn[:, :2] = np.nan  # precision and recall are shares, whose intervals need no draws
    ends = _ends(values, drawn, (positives, n - positives), answers_at, prevalence)
    if answers.names is not None:
        _, group = np.unique(answers.groups, return_inverse=True)
        sizes = np.bincount(group)[:, None], np.bincount(group, weights=truth)[:, None]
        of_positives = np.isin(np.arange(len(values)), [1, *range(5, 5 + len(POINTS))])  # recall, at every threshold
        drawn = over_groups(partial(_values, *about, group), np.where(of_positives, sizes[1], sizes[0]))
        there = np.unique(group[truth]).size, np.unique(group[~truth]).size
        ends = hull(ends, _ends(values, drawn, there, np.minimum(answers_at, there[0]), prevalence))
    found = np.stack([np.nan_to_num(values), *np.where(np.isnan(values), [[0.0], [1.0]], ends)])
    return PositiveScores(
        positive=positive,
        n=n,
        positives=positives,
        prevalence=positives / n if prevalence is None else prevalence,
        given=prevalence is not None,
        values=dict(zip(NUMBERS, map(tuple, found[:, : len(NUMBERS)].T.tolist()), strict=True)),
        roc=Curve(*found[:, 5 : 5 + len(POINTS)]),
        precision_recall=Curve(*found[:, 5 + len(POINTS) :]),
    )


def _values(
    truth: NDArray[np.bool_],
    answered: NDArray[np.bool_],
    scores: Floats,
    prevalence: float | None,
    unit: Indices,
    weights: Floats,
) -> Floats:
    """`NUMBERS`, then the two curves at `POINTS` (r, 5 + 2p), of pictures (n,) that lie in weighted units (r, u)."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of each threshold, ties being one
    flags = truth[order]
    step = max(1, NUMBERS_AT_ONCE // len(order))
    blocks = []
    for start in range(0, len(weights), step):
        each = weights[start : start + step, unit[order]]
        positive, negative = each * flags, each * ~flags
        with np.errstate(all="ignore"):  # of a draw without one of the two classes, which is not defined
            total = positive.sum(axis=1, keepdims=True), negative.sum(axis=1, keepdims=True)
            share = total[0] / (total[0] + total[1]) if prevalence is None else np.full(total[0].shape, prevalence)
            recall, false = positive.cumsum(axis=1)[:, last] / total[0], negative.cumsum(axis=1)[:, last] / total[1]
            precision = recall * share / (recall * share + false * (1 - share))
            found = positive @ answered[order] / total[0][:, 0], negative @ answered[order] / total[1][:, 0]
            right, wrong, share = found[0] * share[:, 0], found[1] * (1 - share[:, 0]), share[:, 0]
            gained = np.diff(recall, axis=1, prepend=0)
            area = np.diff(false, axis=1, prepend=0) * (recall - gained / 2)
            numbers = [right / (right + wrong), found[0], 2 * right / (right + wrong + share)]
            numbers += [area.sum(axis=1), (gained * np.nan_to_num(precision)).sum(axis=1)]
        curves = [
            np.append(
                np.append(0, r)[np.searchsorted(f, POINTS + ROUNDING, side="right")],
                p[np.minimum(np.searchsorted(r, POINTS - ROUNDING), len(p) - 1)],
            )
            for r, f, p in zip(recall, false, precision, strict=True)
        ]
        blocks.append(np.column_stack([*numbers, curves]))
    values = np.concatenate(blocks)
    values[np.isnan(values[:, 3])] = np.nan
    return values


def _ends(values: Floats, drawn: Floats, units: tuple[int, int], answers: Floats, prevalence: float | None) -> Floats:
    """The ends (2, 5 + 2p); what no draw changes, NaN in `drawn`, has those of so many units.

    units: positives and negatives; answers: (1 + p,), positive answers, by the head and at each point of the curve.
    """
    curve = slice(5 + len(POINTS), None)
    fixed = wilson(np.nan_to_num(values), units[0])
    recall, precision = np.append(values[1], POINTS), np.nan_to_num(np.append(values[0], values[curve]))
    if prevalence is None:
        of_precision = wilson(precision, answers)
    else:
        with np.errstate(all="ignore"):
            false = np.nan_to_num(recall * prevalence * (1 - precision) / (precision * (1 - prevalence)))
        of_precision = _of_prevalence(recall, np.clip(false, 0, 1), units, prevalence)
    fixed[:, 0], fixed[:, curve] = of_precision[:, 0], of_precision[:, 1:]
    fixed[:, 2] = f1_of(fixed[:, 0], fixed[:, 1])
    fixed[:, 3], fixed[:, 4] = wilson(values[3], min(units)), fixed[:, -1]  # the precision at a recall of 1
    ends = np.where(np.isnan(drawn), fixed, drawn)
    ends[:, 2] = np.clip(ends[:, 2], *f1_of(ends[:, 0], ends[:, 1]))
    return np.stack([np.fmin(ends[0], values), np.fmax(ends[1], values)])


def _of_prevalence(recall: Floats, false: Floats, units: tuple[int, int], prevalence: float) -> Floats:
    """The intervals (2, m) of precision at a prevalence, from recalls and false positive rates (m,).

    The interval of the ratio false positive rate / recall, of which precision is a function, from those of the two.
    """
    (right_low, right_high), (wrong_low, wrong_high) = wilson(recall, units[0]), wilson(false, units[1])
    both = recall * false
    with np.errstate(all="ignore"):
        least = right_high * (2 * recall - right_high)
        most = right_low * (2 * recall - right_low)
        low = (both - np.sqrt(np.maximum(both**2 - wrong_low * (2 * false - wrong_low) * least, 0))) / least
        high = (both + np.sqrt(np.maximum(both**2 - wrong_high * (2 * false - wrong_high) * most, 0))) / most
        odds = prevalence / (1 - prevalence)
        return np.stack([np.where(most > 0, odds / (odds + high), 0), odds / (odds + np.maximum(low, 0))])
