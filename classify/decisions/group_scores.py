"""How good the answers are in each group that people named: which site is bad?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classify.decisions.lower_bounds import Counted
from classify.decisions.saved_answers import SavedAnswers


@dataclass(frozen=True)
class GroupScore:
    """A named group of n pictures: accuracy with its 95% interval, and what would be accepted.

    accepted: the share of its answers, None where no target was asked. precision: of the accepted, None without any.
    """

    name: str
    n: int
    accuracy: float
    interval: tuple[float, float]
    accepted: float | None
    precision: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "group": self.name,
            "n": self.n,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.interval),
            "accepted": self.accepted,
            "precision": self.precision,
        }


def group_scores(answers: SavedAnswers, accepted: NDArray[np.bool_] | None = None) -> list[GroupScore]:
    """The scores of each named group, those first that are surely bad: by the upper end of the interval.

    accepted: (m,), which answers would be accepted.
    """
    inside = answers.sites >= 0
    sites, count = answers.sites[inside], len(answers.names)

    def tally(which: NDArray[np.bool_]) -> NDArray[np.intp]:
        return np.bincount(sites[which[inside]], minlength=count)

    taken = np.zeros(len(answers.truth), bool) if accepted is None else accepted
    n, right, kept, kept_right = (tally(which) for which in (inside, answers.right, taken, taken & answers.right))
    there = np.flatnonzero(n)
    low, high = Counted(n[there], right[there], n[there].astype(float)).interval()
    scores = [
        GroupScore(
            name=answers.names[site],
            n=int(n[site]),
            accuracy=float(right[site] / n[site]),
            interval=(float(low[row]), float(high[row])),
            accepted=None if accepted is None else float(kept[site] / n[site]),
            precision=float(kept_right[site] / kept[site]) if kept[site] else None,
        )
        for row, site in enumerate(there.tolist())
    ]
    return sorted(scores, key=lambda score: (score.interval[1], score.accuracy, score.name))
