"""Whether probabilities can be believed: of answers with a probability of 0.8, are 80% right?"""

import numpy as np

from classify.numerics import Floats
from report.findings import Bin

BINS = 10


def calibration(confidence: Floats, right: np.ndarray) -> tuple[list[Bin], float]:
    """The calibration curve in bins of equal width, and the expected calibration error.

    confidence (n,): probability of each answer; right (n,) bool. Bins without a picture are left out. The error is the
    mean, over pictures, of the distance of their bin from the diagonal: Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017.
    """
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    curve = [
        Bin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum()))
        for inside in (number == i for i in np.unique(number))
    ]
    error = sum(place.n * abs(place.accuracy - place.confidence) for place in curve) / len(right)
    return curve, float(error)
