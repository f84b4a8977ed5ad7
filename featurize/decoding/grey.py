"""Grey pictures of 16 bits, 32 bits and floats, black and white as `featurize.decoding.levels` says.

Only imported when something is decoded.
"""

import numpy as np
from PIL import Image, TiffImagePlugin

from featurize.decoding.levels import (
    Levels,
    Strips,
    agreed_white,
    extent_of,
    levels_of_floats,
    levels_of_integers,
    no_data,
    strips,
    strips_of,
    to_8bit,
)
from featurize.pictures.find_images import ImageError

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF 6.0 tags
GDAL_NODATA = 42113  # a number as text, https://gdal.org/en/stable/drivers/raster/gtiff.html
KINDS = {"f": "float numbers", "u": "16-bit and 32-bit numbers", "i": "16-bit and 32-bit numbers"}


def grey_as_rgb(picture: Image.Image, as_decoder_2: bool) -> tuple[Image.Image, str, str]:
    """Such a picture as RGB, its note and change as of `featurize.decoding.upright_rgb.Upright`."""
    values = _values(picture)
    tags = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
    bits = int(tags.get(BITS_PER_SAMPLE, (16 if picture.mode != "I" else 32,))[0])
    if picture.mode == "I" and bits == 32 and tags.get(SAMPLE_FORMAT) == (1,):
        values = values.view(np.uint32)
    numbers = strips_of(values)
    kind = values.dtype.kind
    changed = ""
    if kind == "u" and bits < 16:
        levels = Levels(0, 2**bits - 1)
    else:
        tagged = _no_data_of(tags)
        if kind == "f":
            levels = levels_of_floats(numbers, tagged)
        else:
            full = 65535 if picture.mode != "I" else 32767 if bits == 16 else int(np.iinfo(values.dtype).max)
            levels = levels_of_integers(numbers, full, tagged)
        if levels.note or as_decoder_2:
            former = _levels_of_decoder_2(numbers, kind, 32 if picture.mode == "I" and bits != 16 else 16, as_decoder_2)
            changed = "" if former and former[:3] == levels[:3] else KINDS[kind]
            if as_decoder_2 and former and changed:
                levels = former
    # In such a file white is zero, which Pillow undoes for 8-bit samples only.
    grey = _shown(values, levels, tags.get(PHOTOMETRIC) == 0, picture.info.get("transparency"))
    del values
    return Image.fromarray(grey).convert("RGB"), levels.note, changed


def _no_data_of(tags: object) -> tuple[float, ...]:
    """The value that a TIFF names as no data."""
    text = tags.get(GDAL_NODATA) if isinstance(tags, TiffImagePlugin.ImageFileDirectory_v2) else None
    try:
        return (float(str(text).strip("\0 ")),) if text is not None else ()
    except ValueError:
        return ()


def _shown(values: np.ndarray, levels: Levels, inverted: bool, transparent: object) -> np.ndarray:
    """`values` (height, width) as 8-bit grey."""
    grey = np.empty(values.shape, np.uint8)
    for top, bottom in strips(values.shape[1], values.shape[0]):
        strip = values[top:bottom]
        shown = to_8bit(strip, levels.black, levels.white, levels.left_out)
        if inverted:
            np.subtract(255, shown, out=shown)
            if (nothing := no_data(strip, levels.left_out)) is not None:
                shown[nothing] = 0
        if transparent is not None:
            shown[strip == transparent] = 255  # the one value that a 16-bit PNG can name, laid on white
        grey[top:bottom] = shown
    return grey


def _values(picture: Image.Image) -> np.ndarray:
    """`np.asarray(picture)` without the two more copies that it makes on the way."""
    width, height = picture.size
    values = np.empty((height, width), np.asarray(picture.crop((0, 0, 1, 1))).dtype)
    for top, bottom in strips(width, height):
        values[top:bottom] = np.asarray(picture.crop((0, top, width, bottom)))
    return values


def _levels_of_decoder_2(numbers: Strips, kind: str, bits: int, used: bool) -> Levels | None:
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
