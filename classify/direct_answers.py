"""Pictures in memory -> answers, in the thread that asks and without the cache: what a service says of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from classify.heads.numerics import Floats
from classify.saved.classifier import Classifier
from featurize.decoding.decode import decode_inputs
from featurize.direct_rows import DirectRows
from featurize.extract.forward import Decoder, Picture


@dataclass(frozen=True)
class DirectAnswers:
    """What a model says of n pictures.

    probabilities: (n, k) float64, NaN where a picture has no answer. distances: (n,) float64 from the training
    pictures; None where the model cannot tell. reasons: (n,), why there is no answer, one line; "" where there is one.
    """

    probabilities: Floats
    distances: Floats | None
    reasons: list[str]


class DirectClassifier:
    """A model whose networks are loaded and compiled; threads may ask at once."""

    def __init__(self, classifier: Classifier, decoder: Decoder = decode_inputs):
        self.classifier = classifier
        self.rows = DirectRows(classifier.of_pixels, decoder)

    @property
    def batch(self) -> int:
        """How many pictures the networks compute fastest together."""
        return self.rows.batch

    def decode(self, data: bytes) -> Picture:
        """The bytes of an image file as pixels, or the reason why not."""
        return self.rows.decode(data)

    def answers(self, pictures: Sequence[Picture]) -> DirectAnswers:
        """What the model says of decoded pictures: as `Classifier.answers` of the same files."""
        classifier, outliers = self.classifier, self.classifier.saved.outliers
        rows, reasons = self.rows.compute(pictures)
        probabilities = np.full((len(pictures), len(classifier.classes_)), np.nan)
        distances = None if outliers is None else np.full(len(pictures), np.nan)
        answered = np.array([not reason for reason in reasons], bool)
        if len(rows):
            probabilities[answered] = classifier.decided(rows)
            if outliers is not None and distances is not None:
                distances[answered] = outliers.distances_of(rows)
        return DirectAnswers(probabilities, distances, reasons)
