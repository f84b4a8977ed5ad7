"""Turn a picture of any kind into upright, opaque 8-bit RGB. Only imported when something is decoded.

Colour profiles are not applied, as in Keras and torchvision. A change of the numbers here is a change of the
decoder: raise `DECODER` in featurize/decode.py.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from featurize.images import ImageError

UPRIGHT = {  # by the EXIF tag Orientation; 1 is upright (EXIF 2.32, 4.6.4 A)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION, BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 274, 258, 262, 339  # TIFF 6.0 tags

# What Pillow raises when a file lies to it; seen while feeding it damaged files, or raised in its source.
HOSTILE = (
    OSError,  # truncated data, unknown compression, an error inside a codec
    ValueError,  # impossible sizes, oversized text chunks, unknown modes
    SyntaxError,  # Pillow's word for a broken header or checksum
    TypeError,  # a tag with a value of another type than expected
    AttributeError,  # the same, one step later
    IndexError,  # a table shorter than the file says
    KeyError,  # a value that no table has
    OverflowError,  # sizes and offsets beyond C integers
    ZeroDivisionError,  # resolutions and counts of nothing
    EOFError,  # no first frame
    MemoryError,  # a declared size that nothing can hold
    AssertionError,  # Pillow's own checks
    RuntimeError,  # RecursionError, NotImplementedError
    SystemError,  # tiles outside of the picture
    struct.error,
    zlib.error,
    ImageCms.PyCMSError,
    Image.DecompressionBombError,
    Warning,  # where the caller turns warnings into errors
)


# The messages of these read well alone; that of a KeyError is only a number.
PLAIN_WORDS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


STRIP = 2**18  # pixels at a time: a whole picture of 89 million is 341 MiB, and each copy as much again


class DecodeError(ImageError):
    """The bytes are no picture that can be used; the message is one line with the reason."""


def in_one_line(error: BaseException) -> str:
    """The message of one of `HOSTILE`, printable and not longer than a line can be read."""
    text = " ".join(str(error).split())
    if not text or not isinstance(error, PLAIN_WORDS):
        text = f"{type(error).__name__} {text}".strip()
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def upright_rgb(picture: Image.Image) -> Image.Image:
    """Turn any picture into 8-bit RGB, upright by its EXIF orientation, and opaque.

    Transparent pictures are laid on white, the paper that pages and viewers show them on; merely dropping the
    transparency would uncover whatever colours the program that wrote the file left there.

    Raises DecodeError (no pixels, or more than Pillow's limit, refused before any is decoded), or one of
    `HOSTILE`.
    """
    refuse_unfit(picture)
    _mend_transparent_colour(picture)
    picture.load()
    method = _way_up(picture)
    rgb = _rgb(picture)
    return rgb if method is None else rgb.transpose(method)


def refuse_unfit(picture: Image.Image) -> None:
    """Raise DecodeError for a picture without pixels, or with more than Pillow's limit."""
    width, height = picture.size
    if not width * height:
        raise DecodeError(f"picture of {width}x{height} pixels")
    if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
        raise DecodeError(f"decompression bomb? {width}x{height} pixels, more than {Image.MAX_IMAGE_PIXELS}")


def to_8bit(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Scale numbers linearly from black..white to 0..255, rounded and clipped: uint8 of the same shape.

    A 16-bit picture made from an 8-bit one (each value times 257) gives back exactly that one.
    """
    scale = 255 / ((white - black) or 1)
    result = np.empty(values.shape, np.uint8)
    for top, bottom in _strips(values.size // max(1, len(values)), len(values)):
        scaled = np.multiply(values[top:bottom], scale, dtype=np.float32)
        scaled -= np.float32(black * scale)
        np.rint(scaled, out=scaled)
        result[top:bottom] = np.clip(scaled, 0, 255, out=scaled)
    return result


def white_of_floats(values: np.ndarray) -> float | None:
    """The white of a float picture: 1.0 where all values lie in 0..1, else 255.0 where in 0..255, else None.

    A tenth more is allowed and later clipped, below zero a tenth of the brightest value: sharpening and cubic
    resizing overshoot. Raises DecodeError for NaN and infinity.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DecodeError("picture with NaN or infinite values")
    if low < -0.1 * high:
        return None
    return next((white for white in (1.0, 255.0) if high <= 1.1 * white), None)


def _strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of strips of `STRIP` pixels, or one row."""
    rows = max(1, STRIP // max(1, width))
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _mend_transparent_colour(picture: Image.Image) -> None:
    """Bring the transparent colour of a PNG to 8 bits like its pixels: Pillow keeps it in the file's bit depth."""
    if not isinstance(picture, PngImagePlugin.PngImageFile) or not picture.tile:
        return
    colour, rawmode = picture.info.get("transparency"), picture.tile[0].args
    if rawmode in ("L;2", "L;4") and isinstance(colour, int):
        picture.info["transparency"] = colour * {"L;2": 85, "L;4": 17}[rawmode]
    elif rawmode == "RGB;16B" and isinstance(colour, tuple):
        picture.info["transparency"] = tuple(value >> 8 for value in colour)


def _way_up(picture: Image.Image) -> Image.Transpose | None:
    # A TIFF has been turned while it was loaded, and its tag is gone.
    try:
        return UPRIGHT.get(picture.getexif().get(ORIENTATION, 1))
    except HOSTILE:
        return None  # unreadable EXIF is no reason to refuse the picture: viewers show it as it lies


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _grey_of_integers(picture).convert("RGB")
    if picture.mode == "F":
        return _grey_of_floats(picture).convert("RGB")
    if picture.has_transparency_data:
        return _on_white(picture)
    # CMYK by the plain formula (Pillow has undone Adobe's inversion), LAB by LittleCMS from D50 to sRGB.
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode == "La":
        picture = picture.convert("LA")  # Pillow knows no direct way from here to RGBA
    paper = Image.new("RGB", picture.size, "white")
    for top, bottom in _strips(*picture.size):
        strip = picture.crop((0, top, picture.width, bottom)).convert("RGBA")
        paper.paste(strip, (0, top), mask=strip)
    return paper


def _values(picture: Image.Image) -> np.ndarray:
    """`np.asarray(picture)` without the two more copies that it makes on the way."""
    width, height = picture.size
    values = np.empty((height, width), np.asarray(picture.crop((0, 0, 1, 1))).dtype)
    for top, bottom in _strips(width, height):
        values[top:bottom] = np.asarray(picture.crop((0, top, width, bottom)))
    return values


def _grey_of_integers(picture: Image.Image) -> Image.Image:
    """16-bit and 32-bit grey to 8-bit.

    White is the largest number that the file's samples can hold, never the brightest pixel, so that a dark
    picture stays dark. But 32-bit samples (and signed 16-bit ones, which Pillow widens) mostly hold something
    smaller: such a picture is read as 8-bit where all its values fit, else as 16-bit, else in full. What is
    negative is black.
    """
    values = _values(picture)
    tags = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
    bits = tags.get(BITS_PER_SAMPLE, (16 if picture.mode != "I" else 32,))[0]
    if picture.mode != "I":
        white = 2**bits - 1
    else:
        if bits == 32 and tags.get(SAMPLE_FORMAT) == (1,):
            values = values.view(np.uint32)
        whites = (255, 32767) if bits == 16 else (255, 65535, np.iinfo(values.dtype).max)
        white = next(white for white in whites if values.max() <= white)
    grey = to_8bit(values, 0, white)
    if tags.get(PHOTOMETRIC) == 0:
        grey = 255 - grey  # in this file white is zero, which Pillow undoes for 8-bit samples only
    if (transparent := picture.info.get("transparency")) is not None:
        grey[values == transparent] = 255  # the one value that a 16-bit PNG can name, laid on white
    return Image.fromarray(grey)


def _grey_of_floats(picture: Image.Image) -> Image.Image:
    """Float grey to 8-bit, black at 0 and white as `white_of_floats` says.

    Other numbers (heights, phases, counts) have no agreed white: the smallest becomes black, the largest white.
    """
    values = _values(picture)
    white = white_of_floats(values)
    grey = to_8bit(values, 0, white) if white else to_8bit(values, float(values.min()), float(values.max()))
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.tag_v2.get(PHOTOMETRIC) == 0:
        grey = 255 - grey
    return Image.fromarray(grey)
