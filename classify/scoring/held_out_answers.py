"""What heads say of pictures that they were not fitted on: the one source of scores, thresholds and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from classify.data.split import Indices
from classify.heads.numerics import Floats


@dataclass(frozen=True)
class HeldOutAnswers:
    """Probabilities of m pictures, each by a head that was not fitted on it or on a picture of its group.

    rows: (m,), which pictures of a dataset. parts: (m,) str, "test", "validation", or "fold 1" and so on. truth: (m,),
    indices of `classes`. probabilities: (m, k) float64, columns in the order of `classes`. groups: (m,), equal numbers
    for pictures that are not independent, see `classify.data.grouping`. names: (m,) str, the groups that people named;
    None where nobody did: then near-duplicates alone are groups.
    """

    classes: list[str]
    rows: Indices
    parts: NDArray[np.str_]
    truth: Indices
    probabilities: Floats
    groups: Indices
    names: NDArray[np.str_] | None = None

    @classmethod
    def joined(cls, several: Sequence["HeldOutAnswers"]) -> "HeldOutAnswers":
        """Those of several folds or parts of one dataset, one after the other."""
        first = several[0]
        columns = {
            name: np.concatenate([getattr(one, name) for one in several])
            for name in ("rows", "parts", "truth", "probabilities", "groups")
        }
        names = None if first.names is None else np.concatenate([one.names for one in several])
        return cls(classes=first.classes, names=names, **columns)

    def of(self, chosen: NDArray[np.bool_] | Indices) -> "HeldOutAnswers":
        """Some of them: a mask (m,) or indices."""
        columns = {name: getattr(self, name)[chosen] for name in ("rows", "parts", "truth", "probabilities", "groups")}
        return replace(self, names=None if self.names is None else self.names[chosen], **columns)

    @cached_property
    def predicted(self) -> Indices:
        """The most probable class (m,), as indices of `classes`."""
        return self.probabilities.argmax(axis=1)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right: (m,)."""
        return self.predicted == self.truth

    @property
    def confidence(self) -> Floats:
        """The probability of each answer: (m,)."""
        return self.probabilities.max(axis=1)

    @property
    def margin(self) -> Floats:
        """The probability of each answer less that of the second: (m,)."""
        two = np.partition(self.probabilities, -2, axis=1)[:, -2:]
        return two[:, 1] - two[:, 0]
