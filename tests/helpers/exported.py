"""What tests of exports share: the type of their models, the pixels that a network takes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from classify.direct_answers import DirectClassifier
from classify.saved.classifier import Classifier

Trained = Callable[..., str]  # options of a training -> path of the model


def pixels_of(classifier: Classifier, paths: Sequence[str]) -> np.ndarray:
    """The pixels (n, height, width, 3) float32 that the network takes of some pictures, in one view."""
    direct = DirectClassifier(classifier)
    decoded = [direct.decode(Path(path).read_bytes()).decoded for path in paths]
    return np.stack([np.asarray(views[0].pixels[0], np.float32) for views in decoded])
