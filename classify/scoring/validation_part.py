"""The data's own validation part where there is a test part besides: what a fit may use it for, and what it adds."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cache.errors import log
from classify.data.dataset import Dataset
from classify.data.split import Indices
from classify.heads.head_table import make_head
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.training_parts import TrainingParts


@dataclass(frozen=True)
class Validated:
    """rows: (m,), pictures of the validation part that are in no group with one that is trained on or tested.

    purpose: what a fit has used them for, such as "early stopping"; None where the head holds nothing out.
    """

    rows: Indices
    purpose: str | None

    @property
    def used(self) -> Indices | None:
        """What the fit is given."""
        return self.rows if self.purpose else None


def validation_for(data: Dataset, head: str, params: dict[str, Any], parts: TrainingParts) -> Validated | None:
    """The validation part for a fit of `head` on `parts.train`, announced; None where no picture is left of it."""
    groups, train = parts.linked.numbers, parts.train
    part = data.part("validation")
    if not len(part):
        return None
    apart = ~np.isin(groups[part], groups[np.concatenate([train, parts.test])])
    rows = part[apart & np.isin(data.labels[part], data.labels[train])]
    purpose = make_head(head, params).validates
    if purpose and (left := len(part) - len(rows)):
        log.info(
            "%d of %d pictures of the validation part are left out: their groups, or near-duplicates, are in train or "
            "test%s",
            left,
            len(part),
            "" if len(rows) else f"; {purpose} goes by a part of train instead",
        )
    if not len(rows):
        return None
    if purpose:
        log.info("%s goes by %d pictures of the validation part; nothing of train is held out", purpose, len(rows))
    return Validated(rows, purpose)


def with_others(first: HeldOutAnswers, more: HeldOutAnswers) -> HeldOutAnswers:
    """`first`, and the answers of `more` about other pictures, which are in no group with those of `first`.

    The classes of `more` are among those of `first`.
    """
    others = more.of(~np.isin(more.rows, first.rows))
    if not len(others.rows):
        return first
    columns = np.searchsorted(first.classes, others.classes)
    probabilities = np.zeros((len(others.rows), len(first.classes)))
    probabilities[:, columns] = others.probabilities
    groups = others.groups + first.groups.max() + 1  # each part numbers its groups for itself
    changed = {"truth": columns[others.truth], "probabilities": probabilities, "groups": groups}
    return HeldOutAnswers.joined([first, replace(others, classes=first.classes, **changed)])
