"""What a head that is fitted on the labels given so far says of all pictures, and how far it may be believed.

labels -> one fit, a prediction of every picture: `Opinion`; then folds of the labelled ones, which take longer: `Check`
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from classify.data.grouping import Grouping
from classify.data.split import Indices, Split
from classify.decisions.saved_answers import SavedAnswers
from classify.decisions.thresholds import Acceptance
from classify.heads.calibrated import fit_temperature
from classify.heads.numerics import Floats, probabilities
from classify.labelling.hyperplanes import Hyperplanes, fit_hyperplanes
from classify.scoring.held_out_answers import HeldOutAnswers

HEAD = "logreg"  # what `fit_hyperplanes` is, too
FOLDS = 5
LEAST = 30  # pictures: fewer drawn at random do not make the accuracy, fewer named one by one tell no mistakes
TARGET = 0.98  # precision of what may be accepted
SMALLEST = 1e-12  # probability: keeps logarithms finite


@dataclass(frozen=True, eq=False)
class Opinion:
    """Probabilities (n, k) of all pictures by planes fitted to the labelled ones, in the order of `classes`."""

    planes: Hyperplanes
    probabilities: Floats

    @property
    def classes(self) -> list[str]:
        """The names."""
        return self.planes.classes

    @cached_property
    def answers(self) -> Indices:
        """The most probable class (n,) of each picture."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> Floats:
        """The probability (n,) of each answer."""
        return self.probabilities.max(axis=1)


@dataclass(frozen=True, eq=False)
class Check:
    """Answers about labelled pictures by heads that were fitted on the others.

    one_by_one: those of them about pictures that a person named one by one. A stack that is named by its top has wrong
    labels, which the head learns: its answers then agree with them, and say nothing. temperature: what makes
    probabilities as sure as these answers are right; None where they are too few.
    """

    held_out: HeldOutAnswers
    splits: list[Split]
    one_by_one: HeldOutAnswers
    temperature: float | None

    def drawn(self, sample: Indices) -> HeldOutAnswers | None:
        """The answers about pictures of a random sample, numbers (m,); None where these are too few to score."""
        chosen = np.isin(self.one_by_one.rows, sample)
        return self.one_by_one.of(chosen) if chosen.sum() >= LEAST else None

    @cached_property
    def acceptance(self) -> Acceptance | None:
        """Which answers may be accepted at `TARGET`; None where too few pictures were named one by one."""
        if len(self.one_by_one.rows) < LEAST:
            return None
        return Acceptance.of(SavedAnswers.of(self.one_by_one), self.held_out.classes, TARGET)


def calibrated(given: Floats, temperature: float) -> Floats:
    """Probabilities (n, k) as sure as a temperature makes them."""
    return probabilities(np.log(np.maximum(given, SMALLEST)), temperature)


def learn(rows: Floats, labels: NDArray[np.str_], before: Opinion | None = None) -> Opinion | None:
    """Fit on the pictures that have a label; None where these are of fewer than two classes.

    rows: (n, d) float32 of length 1. labels: (n,), "" for none. before: what was learnt of most of these labels, which
    the fit starts from.
    """
    labelled = labels != ""
    if len(np.unique(labels[labelled])) < 2:
        return None
    planes = fit_hyperplanes(rows[labelled], labels[labelled], before.planes if before else None)
    return Opinion(planes, planes.probabilities(rows))


def check(
    rows: Floats, labels: NDArray[np.str_], groups: Indices, one_by_one: NDArray[np.bool_], seed: int = 0
) -> Check | None:
    """Held-out answers about the labelled pictures, in folds that part no near-duplicates; None of too few.

    rows, labels: as for `learn`. groups: (n,), equal numbers for near-duplicates. one_by_one: (n,), see `Check`.
    Pictures of a class that has a single one are in every training part, and have no answer.
    """
    labelled = np.flatnonzero(labels != "")
    classes = sorted({*labels[labelled].tolist()})
    if len(classes) < 2:
        return None
    grouping = Grouping(np.unique(groups[labelled], return_inverse=True)[1].astype(np.intp))
    splits = grouping.inner_folds(labels[labelled], FOLDS, seed)
    if not splits:
        return None
    found = []
    for number, (train, test) in enumerate(splits, start=1):
        # From nothing: planes that know all labels would still remember those that are held out.
        planes = fit_hyperplanes(rows[labelled[train]], labels[labelled[train]])
        given = np.zeros((len(test), len(classes)))
        given[:, np.searchsorted(classes, planes.classes)] = planes.probabilities(rows[labelled[test]])
        truth = np.searchsorted(classes, labels[labelled[test]])
        parts = np.full(len(test), f"fold {number}")
        found.append(HeldOutAnswers(classes, labelled[test], parts, truth, given, grouping.numbers[test]))
    answers = HeldOutAnswers.joined(found)
    scored = answers.of(one_by_one[answers.rows])
    temperature = None
    if len(scored.rows) >= LEAST:
        temperature = fit_temperature(np.log(np.maximum(scored.probabilities, SMALLEST)), scored.truth)
    return Check(answers, [(labelled[train], labelled[test]) for train, test in splits], scored, temperature)
