"""Which pictures a head is fitted on, and which are held out: decided before anything is fitted."""

import math
from dataclasses import dataclass

import numpy as np

from classify.data.dataset import Dataset
from classify.data.duplicates import announce_duplicates
from classify.data.grouping import Grouping, together, united
from classify.data.split import Indices, Split
from classify.hyperparameter_search import SEARCH_FOLDS
from classify.labels.read_labels import LabelledImages
from classify.plan_options import Plan


@dataclass(frozen=True)
class TrainingParts:
    """train, test: indices of the pictures that are fitted on and scored. scored: "test" or "validation".

    own: the part of the data's own split that is scored, None without one. groups: what no split of the training
    pictures parts; under an own split each part is numbered for itself. linked: the same over all parts. leaking: (m,)
    bool, which of the m scored pictures are near-duplicates of some trained on. folds: of the cross-validation, indices
    of the dataset.
    """

    train: Indices
    test: Indices
    own: str | None
    groups: Grouping
    linked: Grouping
    leaking: np.ndarray
    folds: list[Split]

    @property
    def scored(self) -> str:
        """What the scored part is called."""
        return self.own or "test"

    @classmethod
    def of(cls, data: Dataset, plan: Plan) -> "TrainingParts":
        """Split `data` as `plan` says. Raises UserError where the pictures cannot be split so."""
        own_split = data.has_own_split
        pool = data.own_train_part() if own_split else np.arange(len(data.labels))
        duplicates, exact = data.duplicates()
        # What is fitted on an own training part, and its folds, must not depend on what is scored.
        copies = data.duplicates(pool) if own_split else (duplicates, exact)
        announce_duplicates(duplicates, exact, data.paths)
        linked = united(duplicates, data.groups)
        needed = groups_needed(plan) if plan.cv or plan.search or not own_split else 0
        numbers = linked.numbers.copy()
        numbers[pool] = together(data.labels[pool], *copies, data.named(pool), needed).numbers
        groups = Grouping(numbers, linked.named)
        own = data.own_test_part() if own_split else None
        train, test = (pool, data.part(own)) if own else groups.holdout(data.labels, plan.test_size, plan.seed)
        leaking = np.isin(duplicates[test], duplicates[train])
        of_pool = groups.of(pool).folds(data.labels[pool], plan.cv, plan.seed) if plan.cv else []
        folds = [(pool[fitted], pool[held]) for fitted, held in of_pool]
        return cls(train, test, own, groups, linked, leaking, folds)


def check_parts(found: LabelledImages, plan: Plan) -> None:
    """Raise UserError, before features are computed, where the pictures cannot be split as requested.

    Every picture is taken for a different one here: `TrainingParts.of` looks again, with the duplicates known.
    """
    chosen = [row for row, part in enumerate(found.parts) if part in ("all", "train")]
    labels = np.array([found.labels[row] for row in chosen])
    names = None if found.groups is None else np.array([found.groups[row] for row in chosen])
    groups = united(np.arange(len(chosen)), names)
    if "all" in found.parts:
        groups.holdout(labels, plan.test_size, plan.seed)
    if plan.cv:
        groups.folds(labels, plan.cv, plan.seed)


def groups_needed(plan: Plan) -> int:
    """How many different pictures of each class the requested splits need."""
    if not plan.search:
        return max(2, plan.cv)
    kept = 1 - max(plan.test_size, 1 / plan.cv if plan.cv else 0)  # of the pictures, when the search begins
    return max(2, plan.cv, math.ceil((SEARCH_FOLDS + 1) / max(kept, 0.01)))
