"""What a report says of a model and its pictures, as plain numbers and names: `collect` finds it, `page` draws it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from classify.data.split import Indices
from classify.decisions.group_scores import GroupScore
from classify.heatmaps.heat_map import HeatMap
from classify.scoring.class_scores import share_of
from classify.scoring.intervals import wilson_interval
from classify.scoring.metrics import Leaked, Scores
from classify.scoring.two_classes import PositiveScores


@dataclass(frozen=True)
class Picture:
    """A usable picture; its number is its index in `Findings.pictures`."""

    path: str
    label: str  # as given
    part: str  # "train" (fitted on), "scored", "other" (neither)
    answer: str | None  # the model's, or that of the folds; None where it was neither scored nor held out
    top: list[tuple[str, float]]  # the three most probable labels (fewer classes: fewer), by a model that
    # was not trained on it
    neighbours: list[tuple[int, float]]  # the three nearest training pictures (number, cosine), nearest first; never
    # itself nor a near-duplicate of it


@dataclass(frozen=True)
class Rate:
    """A share of n pictures with its 95% interval, by pictures or over groups."""

    name: str
    share: float
    interval: tuple[float, float]
    n: int

    @classmethod
    def of(cls, name: str, found: NDArray[np.bool_], groups: Indices | None = None) -> "Rate":
        """Of n pictures those that are `found` (n,). groups: (n,), of these pictures where people named groups."""
        share, low, high = share_of(found, groups).tolist()
        return cls(name, share, (low, high), len(found))


@dataclass(frozen=True)
class CalibrationBin:
    """A point of the calibration curve: mean probability of the answer, share of right answers, pictures."""

    confidence: float
    accuracy: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval of the accuracy."""
        return wilson_interval(round(self.accuracy * self.n), self.n)


@dataclass(frozen=True)
class ChanceError:
    """The calibration error that probabilities would show if all were exactly right: mean and the middle 95%."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class DuplicateGroup:
    """Near-duplicates of each other: numbers of pictures."""

    kind: str  # "exact" or "near"
    members: list[int]
    straddles: bool  # they lie in several of the data's own parts, or are both fitted on and scored
    labels_differ: bool


@dataclass(frozen=True)
class Suspect:
    """A picture whose label may be wrong. Probabilities are out of fold, and calibrated out of fold."""

    picture: int
    suggested: str
    probability: float  # of the suggested label
    given_probability: float  # of the label given
    probably_wrong: bool  # the latter is below the cut-off; else the label is uncertain


@dataclass(frozen=True)
class LearningPoint:
    """Accuracy after training on so many pictures: mean, least and best of the repetitions."""

    pictures: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """What training on `full` pictures instead of `half` changed the accuracy by, with the 95% interval."""

    half: int
    full: int
    change: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Accepted:
    """The share of new pictures that can be accepted at a target precision, with its 95% interval."""

    target: float
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Delegation:
    """What the model's held-out answers support. curve: see `classify.decisions.thresholds.Curve.rows`."""

    answers: int
    curve: list[dict[str, float]]
    targets: list[Accepted]  # those that are supported
    refused: list[tuple[float, int]]  # the others, each with the number of answers that it takes at the least
    by_class: bool  # whether each class has a threshold of its own
    groups: list[GroupScore]  # that people named, the worst first
    groups_at: float | None  # the target that their accepted answers are of


@dataclass(frozen=True)
class Findings:
    """All that the report shows."""

    data: str
    model: str
    head: str
    backbone: str
    features: str  # one line that says layer, pooling, size, weights
    date: str
    scored: str  # how pictures were held out, in words ("one fifth of the pictures", "the folder test", "5 folds")
    pictures: list[Picture]
    failures: list[tuple[str, str]]  # (path, reason)
    classes: list[str]
    trained_on: dict[str, int]  # class -> pictures that the model was fitted on before it was scored
    counts: dict[str, dict[str, int]]  # class -> part ("train", "scored", "other") -> pictures
    scores: Scores  # of the scored pictures
    positive: PositiveScores | None  # of the class of two that is looked for
    leaked: Leaked  # those of them that are near-duplicates of training pictures, and the scores of the others
    baselines: list[Rate]  # "always the most frequent class", "the nearest training picture"
    calibration: list[CalibrationBin]
    calibration_error: float  # expected calibration error
    calibration_by_chance: ChanceError
    calibration_verdict: str  # one sentence: is the error more than that?
    epochs: dict[str, list[float]]  # history by epoch
    epochs_of: str  # and of what ("the dense head of this model", "a dense head trained for this report")
    learning_curve: list[LearningPoint]
    gain: Gain | None  # of the last doubling
    advice: str  # one sentence: would more photographs help?
    mistakes: list[int]  # scored pictures, most confident mistake first; at most 24
    uncertain: list[int]  # scored pictures, least certain first; at most 24
    map: np.ndarray  # (n, 2) float32 in [0, 1], of pictures
    near_duplicates: list[DuplicateGroup]
    suspects: list[Suspect]  # most suspicious first, at most 100
    wrong_labels: Rate | None  # how many labels are estimated to be wrong
    unknowns: list[Rate]  # of `reject=0.95`: kept of the scored pictures, rejected of each class left out
    forward_passes: int
    seconds: dict[str, float]  # by stage
    delegation: Delegation | None = None  # of models that have held-out answers
    heatmaps: dict[int, HeatMap] = field(default_factory=dict)  # by picture, of mistakes and uncertain pictures
    no_heatmaps: str = "They were not asked for."  # one sentence, where there are none
