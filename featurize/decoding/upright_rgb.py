"""Turn a picture of any kind into upright, opaque 8-bit RGB. Only imported when something is decoded.

integers and floats -> grey by their levels (`featurize.decoding.levels`); 16-bit colours
(`featurize.decoding.sixteen_bits`); what is transparent -> laid on white; everything -> RGB, turned upright

Colour profiles are not applied, as in Keras and torchvision. A change of the numbers here is a change of the
decoder: raise `DECODER` in featurize/decoding/decode.py.
"""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from featurize.decoding import decoder_2
from featurize.decoding.levels import Levels, levels_of_floats, levels_of_integers, no_data, strips, strips_of, to_8bit
from featurize.decoding.sixteen_bits import mend_sixteen_bits, rawmode_of
from featurize.pictures.find_images import ImageError

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
GDAL_NODATA = 42113  # a number as text, https://gdal.org/en/stable/drivers/raster/gtiff.html

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


class DecodeError(ImageError):
    """The bytes are no picture that can be used; the message is one line with the reason."""


def in_one_line(error: BaseException) -> str:
    """The message of one of `HOSTILE`, printable and not longer than a line can be read."""
    text = " ".join(str(error).split())
    if not text or not isinstance(error, PLAIN_WORDS):
        text = f"{type(error).__name__} {text}".strip()
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


# The same file decoded once more, its samples taken in other raw modes of Pillow.
Again = Callable[[dict[str, str]], Image.Image]


KINDS = {"f": "float numbers", "u": "16-bit and 32-bit numbers", "i": "16-bit and 32-bit numbers"}


class Upright(NamedTuple):
    """An upright, opaque RGB picture.

    note: what was decided about an unusual picture, one line, else "". changed: the kind of picture where decoder 2
    decides otherwise, so that the pixels differ, else "".
    """

    rgb: Image.Image
    note: str = ""
    changed: str = ""


def upright(picture: Image.Image, again: Again | None = None, as_decoder_2: bool = False) -> Upright:
    """Turn any picture into 8-bit RGB, upright by its EXIF orientation, and opaque.

    Transparent pictures are laid on white, the paper that pages and viewers show them on; merely dropping the
    transparency would uncover whatever colours the program that wrote the file left there. But an alpha channel that is
    0 everywhere is one that nobody uses: the colours count. `again` is what 16-bit colours take, of which Pillow keeps
    8 bits. `as_decoder_2`: as that version did.

    Raises DecodeError (no pixels, or more than Pillow's limit, refused before any is decoded), or one of
    `HOSTILE`.
    """
    refuse_unfit(picture)
    rawmode = rawmode_of(picture)
    colour = picture.info.get("transparency")
    _mend_transparent_colour(picture)
    picture.load()
    method = _way_up(picture)
    opaque = _opaque(picture, rawmode, colour, again, as_decoder_2)
    return opaque if method is None else opaque._replace(rgb=opaque.rgb.transpose(method))


def refuse_unfit(picture: Image.Image) -> None:
    """Raise DecodeError for a picture without pixels, or with more than Pillow's limit."""
    width, height = picture.size
    if not width * height:
        raise DecodeError(f"picture of {width}x{height} pixels")
    if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
        raise DecodeError(f"decompression bomb? {width}x{height} pixels, more than {Image.MAX_IMAGE_PIXELS}")


def _mend_transparent_colour(picture: Image.Image) -> None:
    """Bring the transparent colour of a PNG to 8 bits like its pixels: Pillow keeps it in the file's bit depth.

    Once the picture is loaded nothing tells that depth; but samples of 2 and 4 bits have few values in 8.
    """
    colour = picture.info.get("transparency")
    if not isinstance(picture, PngImagePlugin.PngImageFile) or colour is None:
        return
    rawmode = picture.tile[0].args if picture.tile else picture.mode
    if not picture.tile and picture.mode == "L" and isinstance(colour, int) and 0 < colour < 16:
        values = np.flatnonzero(picture.histogram())
        steps = [(bits, step) for bits, step in ((2, 85), (4, 17)) if colour < 2**bits]
        rawmode = next((f"L;{bits}" for bits, step in steps if not (values % step).any()), rawmode)
    elif not picture.tile and picture.mode == "RGB" and isinstance(colour, tuple) and max(colour) > 255:
        rawmode = "RGB;16B"
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


def _opaque(picture: Image.Image, rawmode: str, colour: object, again: Again | None, as_decoder_2: bool) -> Upright:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _grey(picture, as_decoder_2)
    note = changed = ""
    if again and (found := mend_sixteen_bits(picture, rawmode, colour, again, keep=as_decoder_2)):
        note, changed = found if not as_decoder_2 else ("", found.changed)
    if picture.has_transparency_data:
        transparent = _on_white(picture, rawmode, again, as_decoder_2)
        return Upright(transparent.rgb, transparent.note or note, transparent.changed or changed)
    # CMYK by the plain formula (Pillow has undone Adobe's inversion), LAB by LittleCMS from D50 to sRGB.
    return Upright(picture if picture.mode == "RGB" else picture.convert("RGB"), note, changed)


def _on_white(picture: Image.Image, rawmode: str, again: Again | None, as_decoder_2: bool) -> Upright:
    changed = note = ""
    if _transparent_everywhere(picture):
        if rawmode == "RGBa" and again:  # Pillow has divided the colours by alpha: there are none left
            picture = again({"RGBa": "RGBA"})
        colours = _without_alpha(picture)
        if all(low == high for low, high in zip(*[iter(np.ravel(colours.getextrema()).tolist())] * 2, strict=True)):
            note = "transparent everywhere and of one colour: shown white"
        else:
            changed = "alpha channel 0 everywhere"
            if not as_decoder_2:
                return Upright(colours, f"{changed}: not used", changed)
    if picture.mode == "La":
        picture = picture.convert("LA")  # Pillow knows no direct way from here to RGBA
    paper = Image.new("RGB", picture.size, "white")
    for top, bottom in strips(*picture.size):
        strip = picture.crop((0, top, picture.width, bottom)).convert("RGBA")
        paper.paste(strip, (0, top), mask=strip)
    return Upright(paper, note, changed)


def _transparent_everywhere(picture: Image.Image) -> bool:
    for top, bottom in strips(*picture.size):
        strip = picture.crop((0, top, picture.width, bottom))
        if strip.mode not in ("RGBA", "RGBa", "LA", "La", "PA"):
            strip = strip.convert("RGBA")
        if strip.getchannel(len(strip.getbands()) - 1).getextrema() != (0, 0):
            return False
    return True


def _without_alpha(picture: Image.Image) -> Image.Image:
    colours = Image.new("RGB", picture.size)
    for top, bottom in strips(*picture.size):
        strip = picture.crop((0, top, picture.width, bottom))
        if strip.mode == "La":
            strip = strip.getchannel(0)
        elif strip.mode == "RGBa":
            strip = Image.merge("RGB", strip.split()[:3])
        colours.paste(strip.convert("RGB"), (0, top))
    return colours


def _grey(picture: Image.Image, as_decoder_2: bool) -> Upright:
    """16-bit, 32-bit and float grey, black and white as `featurize.decoding.levels` says."""
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
            former = decoder_2.levels(numbers, kind, 32 if picture.mode == "I" and bits != 16 else 16, as_decoder_2)
            changed = "" if former and former[:3] == levels[:3] else KINDS[kind]
            if as_decoder_2 and former and changed:
                levels = former
    # In such a file white is zero, which Pillow undoes for 8-bit samples only.
    grey = _shown(values, levels, tags.get(PHOTOMETRIC) == 0, picture.info.get("transparency"))
    del values
    return Upright(Image.fromarray(grey).convert("RGB"), levels.note, changed)


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
