"""Answers to new pictures -> what to do with each: accept it or look at it, and which labels it may have."""

from dataclasses import dataclass

import numpy as np

from cache.errors import UserError, log
from classify.answers import Answers
from classify.decisions.prediction_sets import PredictionSets
from classify.decisions.saved_answers import UNANSWERED, SavedAnswers, required
from classify.decisions.thresholds import Acceptance
from classify.heads.numerics import Floats

SEPARATOR = " | "
DECISIONS = ("accept", "review", "unknown")


@dataclass(frozen=True)
class Decisions:
    """What a model decides on: acceptance at a target precision, label sets of a coverage; None where not asked."""

    classes: list[str]
    acceptance: Acceptance | None
    sets: PredictionSets | None

    @classmethod
    def of(
        cls, answers: SavedAnswers | None, classes: list[str], accept: float | None, coverage: float | None
    ) -> "Decisions":
        """From a model's held-out answers.

        Raises UserError where the model has none, or too few for what is asked.
        """
        held_out = required(answers)
        acceptance = None if accept is None else Acceptance.of(held_out, classes, accept)
        if acceptance and (refused := acceptance.refused):
            raise UserError(refused)
        sets = None if coverage is None else PredictionSets.of(held_out, len(classes), coverage)
        return cls(classes, acceptance, sets)

    def columns(self, answers: Answers) -> dict[str, list[str]]:
        """For each image its "decision", one of `DECISIONS`, and its "labels", most probable first; as far as asked.

        Both are empty for an image without features; a rejected one has no labels.
        """
        answered = np.flatnonzero(~np.isnan(answers.probabilities).any(axis=1))
        found, unknown = {}, [*answers.unknown]
        if self.acceptance:
            decisions = np.full(len(answers.probabilities), "", object)
            decisions[answered] = decided(self.acceptance, answers.probabilities[answered])
            decisions[unknown] = "unknown"
            found["decision"] = decisions.tolist()
            if names := self.acceptance.unanswered:
                log.warning("answers that say %s go to review: %s", ", ".join(map(repr, names)), UNANSWERED)
            log.info("decisions: %s", ", ".join(f"{word} {found['decision'].count(word)}" for word in DECISIONS))
        if self.sets:
            labels = np.full(len(answers.probabilities), "", object)
            labels[answered] = label_sets(self.sets, answers.probabilities[answered], self.classes)
            labels[unknown] = ""
            found["labels"] = labels.tolist()
        return found


def decided(acceptance: Acceptance, probabilities: Floats) -> list[str]:
    """What to do with each picture, "accept" or "review", by its probabilities (n, k)."""
    accepted = acceptance.accepts(probabilities.argmax(axis=1), probabilities.max(axis=1))
    return [DECISIONS[0] if each else DECISIONS[1] for each in accepted.tolist()]


def label_sets(sets: PredictionSets, probabilities: Floats, classes: list[str]) -> list[str]:
    """The set of each picture as text, by its probabilities (n, k)."""
    inside, order = sets.members(probabilities), np.argsort(-probabilities, axis=1, kind="stable")
    return [
        SEPARATOR.join(classes[code] for code in codes if members[code])
        for codes, members in zip(order.tolist(), inside.tolist(), strict=True)
    ]
