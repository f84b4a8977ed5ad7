"""Label sets that hold the true label as often as asked: conformal prediction from held-out answers.

The score of a picture is 1 - the probability of its true class, by the head that was not fitted on its fold. A label is
in the set of a new picture where its own score is within the limit. This is cross-conformal prediction: Vovk,
"Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74 (2015); Barber, Candes, Ramdas and
Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 49 (2021), whose CV+ is sure of 1 - 2 alpha
where 1 - alpha is asked. Both let the heads of the folds answer; here the saved head does, which has seen all of them.

Each group weighs the same, however many pictures it has, and a new group may be worse than all: Lee, Barber and
Willett, "Distribution-free inference with hierarchical data", 2023, after Dunn, Wasserman and Ramdas,
"Distribution-free prediction sets for two-layer hierarchical models", JASA 118 (2023). Pictures in no group are groups
of one, for which this is the usual limit: the score numbered ceil((n + 1) (1 - alpha)).
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.arguments import plain_options
from cache.errors import UserError
from classify.data.split import Indices
from classify.decisions.saved_answers import Codes, SavedAnswers
from classify.heads.numerics import Floats
from classify.scoring.held_out_answers import HeldOutAnswers

BEYOND = 5  # groups of each class beyond the limit, from which on each class has a limit of its own
FOLDS = 5  # that measure


@dataclass(frozen=True)
class PredictionSets:
    """limits: (k,), the largest score of a label that is in the set, of each class. by_class: whether each has its own.

    A class that no held-out answer is about has an infinite limit. coverage: the share asked for, 1 - alpha.
    """

    coverage: float
    limits: Floats
    by_class: bool

    @classmethod
    def of(cls, answers: SavedAnswers, classes: int, coverage: float) -> "PredictionSets":
        """From a model's held-out answers. Raises UserError for what is no share, and for too few groups."""
        coverage = plain_options({"coverage": coverage})["coverage"]
        share = Fraction(str(coverage))  # as it was written: 0.9 is a little more in binary
        scores, groups, truth = 1 - answers.true_probability, answers.groups, answers.truth
        count = len(np.unique(groups))
        if (needed := math.ceil(share / (1 - share))) > count:
            raise UserError(
                f"coverage {coverage:g} takes held-out answers of {needed} different pictures or groups, the model has "
                f"{count}: train it with more, or give {math.floor(1000 * count / (count + 1)) / 1000:g} or less"
            )
        enough = math.ceil(BEYOND / (1 - share))
        members = [truth == code for code in range(classes)]
        by_class = all(len(np.unique(groups[of])) >= enough for of in members)
        chosen = members if by_class else [np.ones(len(truth), bool)]
        limits = [_limit(scores[of], groups[of], share) for of in chosen]
        # Of a class that no answer is about nothing is known: it is in every set.
        return cls(coverage, np.where(answers.unanswered(classes), math.inf, np.array(limits)), by_class)

    @property
    def sure(self) -> float:
        """What cross-conformal prediction is sure of: 1 - 2 alpha."""
        return max(0.0, round(2 * self.coverage - 1, 12))

    def members(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Which labels are in the set of each picture: (n, k); the most probable one always is."""
        inside = 1 - probabilities <= self.limits
        inside[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
        return inside

    def measured(self, probabilities: Floats, truth: Indices) -> dict[str, Any]:
        """The share of pictures whose set holds the true label, and the mean size of the sets."""
        inside = self.members(probabilities)
        covered = inside[np.arange(len(truth)), truth]
        return {"n": len(truth), "coverage": float(covered.mean()), "mean_size": float(inside.sum(axis=1).mean())}


def measured_out_of_fold(answers: HeldOutAnswers, coverage: float) -> dict[str, Any] | None:
    """Coverage and mean size where each fifth of the groups is judged by the limits of the others; None of too few."""
    saved = SavedAnswers.of(answers)
    group = saved.groups
    inside = np.zeros(answers.probabilities.shape, bool)
    for fold in range(FOLDS):
        judged = group % FOLDS == fold
        if judged.all() or not judged.any():
            return None
        try:
            sets = PredictionSets.of(saved.chosen(~judged), len(answers.classes), coverage)
        except UserError:
            return None
        inside[judged] = sets.members(answers.probabilities[judged])
    covered = inside[np.arange(len(group)), answers.truth]
    return {"n": len(group), "coverage": float(covered.mean()), "mean_size": float(inside.sum(axis=1).mean())}


def _limit(scores: Floats, groups: Codes, share: Fraction) -> float:
    """The score within which a new picture of a new group is with probability `share`; scores, groups: (m,)."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    weights = np.cumsum(1 / sizes[group][order])  # of so many groups; all of them and a new one add up to one more
    enough = np.flatnonzero(weights >= float(share * (len(sizes) + 1)) - 1e-9)
    return float(scores[order[enough[0]]]) if len(enough) else math.inf
