"""What a model keeps of its held-out answers, so that any target can be asked of it later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from classify.data.split import Indices
from classify.heads.numerics import Floats
from classify.scoring.held_out_answers import HeldOutAnswers

PER_ANSWER = ("confidence", "true_probability", "predicted", "truth", "groups", "sites")
ARRAYS = ("answer_probabilities", "answer_codes")
UNANSWERED = "no held-out answer is about it, for its training pictures are in one group"
Codes = NDArray[np.int32] | Indices  # kept as int32


@dataclass(frozen=True, eq=False)
class SavedAnswers:
    """m answers of heads that were not fitted on the pictures.

    confidence, true_probability: (m,) float64, the probabilities of the answer and of the true class. predicted, truth:
    (m,), indices of the classes. groups: (m,), equal numbers from 0 for pictures that are not independent. sites: (m,),
    indices of `names`, the groups that people named; -1 for a picture in none.
    """

    confidence: Floats
    true_probability: Floats
    predicted: Codes
    truth: Codes
    groups: Codes
    sites: Codes
    names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, answers: HeldOutAnswers) -> Self:
        """What is kept of these answers."""
        each = np.arange(len(answers.truth))
        named = np.zeros(len(each), "<U1") if answers.names is None else answers.names
        names, sites = np.unique(named, return_inverse=True)
        if len(names) and names[0] == "":  # in no group; it sorts first
            names, sites = names[1:], sites - 1
        return cls(
            answers.confidence,
            answers.probabilities[each, answers.truth],
            answers.predicted.astype(np.int32),
            answers.truth.astype(np.int32),
            np.unique(answers.groups, return_inverse=True)[1].astype(np.int32),
            sites.astype(np.int32),
            [str(name) for name in names],
        )

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right: (m,)."""
        return self.predicted == self.truth

    def unanswered(self, classes: int) -> NDArray[np.bool_]:
        """Which of the classes no answer is about: (k,). Nothing is known of how a head does on their pictures."""
        return np.bincount(self.truth, minlength=classes) == 0

    def chosen(self, which: NDArray[np.bool_]) -> Self:
        """Some of the answers. which: (m,)."""
        arrays = {name: getattr(self, name)[which] for name in PER_ANSWER}
        return replace(self, **arrays)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All but the names as named arrays."""
        codes = np.stack([self.predicted, self.truth, self.groups, self.sites], axis=1)
        return dict(zip(ARRAYS, (np.stack([self.confidence, self.true_probability], axis=1), codes), strict=True))

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]], classes: int, names: Sequence[str] | None) -> Self:
        """What `to_arrays` gave, of a model of so many `classes`. names: of groups; None where they are lost.

        Raises ValueError for anything else, KeyError.
        """
        probabilities, codes = (named[name] for name in ARRAYS)
        shapes = probabilities.shape, codes.shape
        if (probabilities.dtype, codes.dtype) != (np.float64, np.int32) or shapes != ((len(codes), 2), (len(codes), 4)):
            raise ValueError(f"the held-out answers have the shapes {shapes!s:.50}, or other types")
        if names is None:
            names = [f"group {number}" for number in range(1, len(codes) + 1)]
        inside = (probabilities >= 0) & (probabilities <= 1)  # NaN is not
        least, most = [0, 0, 0, -1], [classes, classes, len(codes), len(names)]
        if not len(codes) or not inside.all() or (codes < least).any() or (codes >= most).any():
            raise ValueError("the held-out answers have numbers that none can have")
        (confidence, true_probability), (predicted, truth, groups, sites) = probabilities.T, codes.T
        if (true_probability > confidence).any() or (true_probability < confidence)[predicted == truth].any():
            raise ValueError("the held-out answers contradict themselves")
        return cls(confidence, true_probability, predicted, truth, groups, sites, list(names))


def required(answers: SavedAnswers | None) -> SavedAnswers:
    """The held-out answers of a model. Raises UserError where it has none."""
    if answers is None:
        raise UserError(
            "accept and coverage take the held-out answers of a training, and the model was saved without any: "
            "train it again (features are cached; dense and finetune: with --accept or --coverage)"
        )
    return answers
