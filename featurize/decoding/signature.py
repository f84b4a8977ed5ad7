"""The signature of a picture: its pixels at 24 x 24, by which near-duplicates are told (`classify.data.duplicates`).

It is made where a picture is decoded for the network anyway, and kept in the cache (`cache.signatures`): one for each
content, whatever the spec. Only imported when something is decoded.
"""

import numpy as np
from PIL import Image

from cache.signatures import SIDE
from featurize.pictures.views import fit


def signature_of(rgb: Image.Image) -> np.ndarray:
    """The signature of an upright RGB picture: (SIDE, SIDE, 3) uint8."""
    return np.asarray(fit(rgb, (SIDE, SIDE), "antialias"))
