"""Whether probabilities can be believed: of answers with a probability of 0.8, are 80% right?"""

import numpy as np

from bottleneck_features.report.findings import CalibrationBin, ChanceError
from classify.data.split import Indices
from classify.heads.numerics import Floats

BINS = 10
DRAWS = 4000


def calibration(confidence: Floats, right: np.ndarray) -> tuple[list[CalibrationBin], float]:
    """The calibration curve in bins of equal width, and the expected calibration error.

    confidence (n,): probability of each answer; right (n,) bool. Bins without a picture are left out. The error is the
    mean, over pictures, of the distance of their bin from the diagonal: Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017.
    """
    number = _bins(confidence)
    curve = [
        CalibrationBin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum()))
        for inside in (number == i for i in np.unique(number))
    ]
    error = sum(each.n * abs(each.accuracy - each.confidence) for each in curve) / len(right)
    return curve, float(error)


def chance_error(confidence: Floats, groups: Indices) -> ChanceError:
    """The calibration error that these probabilities would show if every one of them were exactly right.

    It is not 0, least of all of few pictures: each bin's share of right answers differs from its probability by chance.
    Drawn 4,000 times, always the same: an answer is right with its probability, near-duplicates (equal numbers in
    `groups`, (n,)) together. Vaicenavicius et al., "Evaluating model calibration in classification", AISTATS 2019.
    """
    number, group = _bins(confidence), np.unique(groups, return_inverse=True)[1]
    random = np.random.default_rng(0)
    inside = (number == np.arange(BINS)[:, None]).astype(np.float64)
    errors = np.empty(DRAWS)
    for draw in range(DRAWS):
        right = random.random(group.max() + 1)[group] < confidence
        errors[draw] = np.abs(inside @ (right - confidence)).sum() / len(confidence)
    return ChanceError(float(errors.mean()), *(float(end) for end in np.quantile(errors, (0.025, 0.975))))


def verdict(error: float, chance: ChanceError) -> str:
    """What a calibration error tells, in a sentence."""
    perfect = (
        f"probabilities that are exactly right would show {chance.mean:.3f} ({chance.low:.3f} to {chance.high:.3f})"
    )
    measured = f"Expected calibration error {error:.3f}; on these pictures {perfect}"
    if error > chance.high:
        return f"{measured}: the probabilities are off by more than chance."
    return f"{measured}: these pictures show no difference from that."


def _bins(confidence: Floats) -> Indices:
    return np.minimum((confidence * BINS).astype(int), BINS - 1)
