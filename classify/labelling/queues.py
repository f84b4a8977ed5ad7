"""Orders in which pictures are shown to the person who labels: what to confirm, what to doubt, what is like another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from classify.data.split import Indices
from classify.heads.numerics import Floats
from classify.labelling.ask import Pool, clusters_of, most_typical
from classify.labelling.learner import Check, Opinion, calibrated
from classify.scoring.outliers import OutlierDetector

STACKS = 60  # small ones hold fewer kinds: what is named by its top is right more often
SMALL = 4  # pictures of a stack, on average at least


@dataclass(frozen=True)
class Stack:
    """Pictures (m,) that look alike, the most typical one first."""

    members: Indices


@dataclass(frozen=True)
class Mistakes:
    """How many of some answers are expected to be wrong, and the 95% interval of that."""

    expected: float
    interval: tuple[int, int]


def stacks(pool: Pool, left: Indices, count: int = STACKS, seed: int = 0) -> list[Stack]:
    """The pictures `left` (m,) as stacks of those that look alike, the largest first."""
    if not len(left):
        return []
    clusters = clusters_of(pool.coordinates[left], min(count, -(-len(left) // SMALL)), seed)
    found = []
    for number in np.argsort(-np.bincount(clusters), kind="stable"):
        members = left[clusters == number]
        if len(members):
            typical = most_typical(pool.coordinates, members)
            away = np.square(pool.coordinates[members] - pool.coordinates[typical]).sum(axis=1)
            found.append(Stack(members[np.argsort(away, kind="stable")]))
    return found


def to_confirm(opinion: Opinion, code: int, labelled: NDArray[np.bool_]) -> Indices:
    """The pictures without label that are called the class of this number, surest first."""
    called = np.flatnonzero((opinion.answers == code) & ~labelled)
    return called[np.argsort(-opinion.confidence[called], kind="stable")]


def expected_mistakes(opinion: Opinion, check: Check | None, pictures: Indices) -> Mistakes | None:
    """How many of the answers about some pictures, all of one class, are wrong; None where no held-out answers tell.

    By calibrated probabilities, times how much more often held-out answers of this class are wrong than theirs say. Of
    that ratio the posterior is a gamma distribution, for a prior of 1 that weighs as much as one mistake. The interval
    is its central 95% and, beyond each end, two standard deviations of as many independent mistakes.
    """
    if check is None or check.temperature is None:
        return None
    if not len(pictures):
        return Mistakes(0.0, (0, 0))
    answers = check.one_by_one
    name = opinion.classes[opinion.answers[pictures[0]]]
    same = answers.predicted == answers.classes.index(name) if name in answers.classes else np.zeros(0, np.intp)
    wrong = 1 + float((~answers.right[same]).sum())
    told = 1 + _likely_wrong(answers.probabilities[same], check.temperature)
    likely = _likely_wrong(opinion.probabilities[pictures], check.temperature)
    low, high = (likely * float(gammaincinv(wrong, share)) / told for share in (0.025, 0.975))
    interval = max(0, int(low - 2 * np.sqrt(low))), min(len(pictures), int(np.ceil(high + 2 * np.sqrt(high))))
    return Mistakes(min(likely * wrong / told, len(pictures)), interval)


def _likely_wrong(given: Floats, temperature: float) -> float:
    return float((1 - calibrated(given, temperature).max(axis=1)).sum()) if len(given) else 0.0


def mistakes(check: Check, true: int, answer: int) -> Indices:
    """The labelled pictures of one class that held-out answers give another: a cell of the confusion matrix."""
    answers = check.held_out
    return answers.rows[(answers.truth == true) & (answers.predicted == answer)]


def unknown(pool: Pool, labelled: NDArray[np.bool_]) -> Indices:
    """The pictures without label, those least like any labelled one first.

    By principal components: of all features a hundred thousand pictures would take minutes.
    """
    known = np.flatnonzero(labelled)
    others = np.flatnonzero(~labelled)
    if not len(known) or not len(others):
        return others
    away = OutlierDetector.of(pool.coordinates[known], pool.groups[known]).distances_of(pool.coordinates[others])
    return others[np.argsort(-away, kind="stable")]


def like(rows: Floats, picture: int) -> Indices:
    """All other pictures, the most similar first, by the cosine of their rows (n, d) of length 1."""
    order = np.argsort(-(rows @ rows[picture]), kind="stable")
    return order[order != picture]
