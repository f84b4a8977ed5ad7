"""What heads say of pictures that they were not fitted on: the one source of scores, thresholds and tables."""

from dataclasses import dataclass
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
