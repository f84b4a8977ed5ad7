"""What tests of exports share: the type of their models, the pixels that a network takes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from classify.direct_answers import DirectClassifier
from classify.exports import inputs
from classify.saved.classifier import Classifier

Trained = Callable[..., str]  # options of a training -> path of the model


def pixels_of(classifier: Classifier, paths: Sequence[str]) -> np.ndarray:
    """The pixels (n, height, width, 3) float32 that an export of one input takes of some pictures, in one view."""
    (pixels,) = named_pixels(classifier, paths).values()
    return pixels


def named_pixels(classifier: Classifier, paths: Sequence[str]) -> dict[str, np.ndarray]:
    """What each input of an export takes of some pictures, in one view: (n, height, width, 3) float32."""
    direct = DirectClassifier(classifier)
    return inputs.pixels_of(inputs.inputs_of(classifier), [direct.decode(Path(path).read_bytes()) for path in paths])
