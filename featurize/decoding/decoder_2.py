"""The levels of decoder 2, kept for models and rows of that version. Today's are in `featurize.decoding.levels`."""

import numpy as np

from featurize.decoding.levels import Levels, Strips, agreed_white, extent_of
from featurize.pictures.find_images import ImageError


def levels(numbers: Strips, kind: str, bits: int, used: bool) -> Levels | None:
    """The levels that decoder 2 gave numbers of `kind` (of a NumPy type: u, i or f) in samples of `bits`.

    None where it refused the picture: for NaN and infinity. Where its levels are to be `used`, raises ImageError then.
    """
    low, high, refused = extent_of(numbers)
    if refused:
        if used:
            raise ImageError("picture with NaN or infinite values")
        return None
    if kind == "f":
        white = agreed_white(low, high)
        return Levels(low, high) if white is None else Levels(0, white)
    largest = {16: 32767, 32: np.iinfo(f"{kind}4").max}[bits] if kind == "i" or bits == 32 else 65535
    if kind == "u" and bits == 16:
        return Levels(0, largest)
    whites = (255, largest) if bits == 16 else (255, 65535, largest)
    return Levels(0, next((white for white in whites if high <= white), largest))
