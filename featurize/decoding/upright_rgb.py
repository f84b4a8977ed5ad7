"""An image file -> an upright, opaque 8-bit RGB picture, by Pillow. Only imported when something is decoded.

Most pictures are turned into RGB here. Others are in `featurize.decoding.grey` (integers and floats, by their levels),
`featurize.decoding.sixteen_bits` (16-bit colours) and `featurize.decoding.transparency` (laid on white).

Settings that the host program has made in Pillow do not change the pixels. They belong to the process:
`LOAD_TRUNCATED_IMAGES` turns half a picture into a whole one, others choose between decoders; a plug-in may take over a
format. Colour profiles are not applied, as in Keras and torchvision. A change of the numbers here is a change of the
decoder: raise `DECODER` in featurize/decoding/decode.py.
"""

import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import NamedTuple

import cykooz_resizer
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from featurize.decoding.crops import Box, Crop
from featurize.decoding.grey import grey_as_rgb
from featurize.decoding.heif_header import HeifHeader, heif_header, is_heif
from featurize.decoding.sixteen_bits import LOWER, mend_sixteen_bits
from featurize.decoding.transparency import mend_transparent_colour, on_white
from featurize.pictures.find_images import ImageError

# A fixed list: for EPS Pillow would run an external program, and many of its formats nobody looks after. The first
# picture of an MPO (several in one JPEG) is a JPEG. By the bytes that a file begins with; a DIB is a BMP without these,
# and HEIC and AVIF begin alike (`_heif_opener`).
OPENERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"GIF87a": GifImagePlugin.GifImageFile,
    b"GIF89a": GifImagePlugin.GifImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"II": TiffImagePlugin.TiffImageFile,
    b"MM": TiffImagePlugin.TiffImageFile,
}
DIB_HEADERS = (12, 40, 52, 56, 64, 108, 124)
BLOCK = 65536  # bytes that Pillow reads at a time, unless told otherwise

# Switches that change pixels, all off by default.
SWITCHES: tuple[tuple[ModuleType, str], ...] = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES"),
    (BmpImagePlugin, "USE_RAW_ALPHA"),
    (TiffImagePlugin, "READ_LIBTIFF"),
)
# Calls of `read`: each few bytes of chunks, segments and blocks are one or more, and Python objects that stay. A PNG
# of 89 megapixels in chunks of 8 KiB makes 200,000 at most.
MOST_READS = 500_000
JPEG_HEADER = 16 * 1024**2  # bytes; Pillow joins the parts of EXIF data one by one, copying all before

UPRIGHT = {  # by the EXIF tag Orientation; 1 is upright (EXIF 2.32, 4.6.4 A)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BOMB = "decompression bomb?"  # how the reason begins
ORIENTATION = 274  # a tag of EXIF and TIFF

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

# The filter of Pillow's own `resize`, by SIMD in a quarter of the time; the same numbers on every processor.
TRIANGLE = cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.bilinear)

# The same file decoded once more, its samples taken in other raw modes of Pillow.
Again = Callable[[dict[str, str]], Image.Image]

_DECODERS = dict(Image.DECODERS)  # those written in Python, by name: before any plug-in of the host is imported
_here = threading.local()


class Upright(NamedTuple):
    """An upright, opaque RGB picture.

    note: what was decided about an unusual picture, one line, else "". changed: the kind of picture where decoder 2
    decides otherwise, so that the pixels differ, else "".
    """

    rgb: Image.Image
    note: str = ""
    changed: str = ""


class _Switch:
    """The host program's value of a switch, and off for the threads that decode here."""

    def __init__(self, value: object):
        self.value = value

    def __bool__(self) -> bool:
        return bool(self.value) and not getattr(_here, "decodes", False)


class CountedReads(io.BytesIO):
    """The bytes of a file, which can be asked for only so often."""

    def __init__(self, data: bytes):
        super().__init__(data)
        self._left = MOST_READS
        self._header = JPEG_HEADER if data.startswith(b"\xff\xd8") else None

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ImageError(f"damaged or hostile: more than {MOST_READS} parts")
        if self._header is not None and self.tell() > self._header:
            raise ImageError(f"JPEG with a header of more than {JPEG_HEADER // 1024**2} MiB")
        return super().read(size)

    def header_ends(self) -> None:
        """From here on it is pixels that are read."""
        self._header = None


def in_one_line(error: BaseException) -> str:
    """The message of one of `HOSTILE`, printable and not longer than a line can be read."""
    text = " ".join(str(error).split())
    if not text or not isinstance(error, PLAIN_WORDS):
        text = f"{type(error).__name__} {text}".strip()
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


@contextmanager
def pillow_as_it_comes() -> Iterator[None]:
    """Pillow's switches are off for this thread, and for no other. Raises ImageError where one was set meanwhile."""
    for module, name in SWITCHES:
        value = getattr(module, name)
        if value and not isinstance(value, _Switch):
            setattr(module, name, _Switch(value))
    outer = getattr(_here, "decodes", False)
    _here.decodes = True
    try:
        yield
        for module, name in SWITCHES:
            if getattr(module, name):
                raise ImageError(f"the program has set {module.__name__}.{name} while this picture was decoded")
    finally:
        _here.decodes = outer


def open_picture(data: bytes) -> ImageFile.ImageFile:
    """What `Image.open` gives for the formats of `OPENERS`, by Pillow's own classes. To be called, and the picture
    loaded, in `pillow_as_it_comes`.

    Raises ImageError as `refuse_unfit`, UnidentifiedImageError, and whatever Pillow raises.
    """
    opener = next((opener for magic, opener in OPENERS.items() if data.startswith(magic)), None)
    header = heif_header(data) if opener is None and is_heif(data) else None
    if header:
        data, opener = _heif_opener(data, header)
    if opener is None and int.from_bytes(data[:4], "little") in DIB_HEADERS:
        opener = BmpImagePlugin.DibImageFile
    if opener is None:
        raise UnidentifiedImageError("no image of a known format")
    file = CountedReads(data)
    try:
        picture = opener(file, "")
    except (SyntaxError, IndexError, TypeError) as error:
        raise UnidentifiedImageError(str(error)) from error
    picture.decodermaxblock = BLOCK
    for tile in picture.tile:
        if Image.DECODERS.get(tile.codec_name) is not _DECODERS.get(tile.codec_name):
            raise ImageError(f"a plug-in of Pillow has replaced its decoder of {tile.codec_name}")
    file.header_ends()
    if header:
        picture.info.pop("xmp", None)  # whose orientation Pillow would add to that of the box
        if picture.width * picture.height > header.pixels:
            raise ImageError(f"{header.kind} with a damaged header: it says two sizes")
    if not isinstance(picture, JpegImagePlugin.JpegImageFile):  # whose decoder may shrink it
        refuse_unfit(picture)
    return picture


def _heif_opener(data: bytes, header: HeifHeader) -> tuple[bytes, type[ImageFile.ImageFile]]:
    """(the file as it is opened, by what) of a HEIC or AVIF. Raises ImageError where that is not here."""
    if header.kind == "AVIF":
        if not AvifImagePlugin.SUPPORTED:
            raise ImageError("AVIF, which this Pillow was built without: install Pillow's wheel, or convert it to JPEG")
        return data[:8] + b"avif" + data[12:], AvifImagePlugin.AvifImageFile  # of an animation its still picture
    pi_heif = _pi_heif()
    if pi_heif is None:
        raise ImageError("HEIC, which takes pi-heif: pip install pi-heif, or convert it to JPEG")
    if pi_heif.options.DISABLE_SECURITY_LIMITS:
        raise ImageError("HEIC, and the program has set pi_heif.options.DISABLE_SECURITY_LIMITS")
    # It reads all that describes an item, once for each, and crashes on types that it does not know. Nothing of that is
    # needed: how a HEIC is turned stands in another box.
    silent = bytearray(data)
    for place in header.descriptions:
        silent[place : place + 4] = b"free"
    return bytes(silent), pi_heif.HeifImageFile


@cache
def _pi_heif() -> ModuleType | None:
    """The library of that name, if it is installed and decodes HEVC."""
    try:
        import pi_heif

        return pi_heif if pi_heif.libheif_info()["decoders"] else None
    except ImportError:
        return None


def refuse_unfit(picture: Image.Image) -> None:
    """Raise ImageError for a picture without pixels, or with more than Pillow's limit."""
    width, height = picture.size
    if not width * height:
        raise ImageError(f"picture of {width}x{height} pixels")
    if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(f"{BOMB} {width}x{height} pixels, more than {Image.MAX_IMAGE_PIXELS}")


def rawmode_of(picture: Image.Image) -> str:
    """Pillow's name for how the samples of a picture lie in its file; "" once it is loaded."""
    tiles = getattr(picture, "tile", None)
    args = tiles[0].args if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args or "")


def upright(picture: Image.Image, again: Again | None = None, as_decoder_2: bool = False) -> Upright:
    """Turn any picture into 8-bit RGB, upright by its EXIF orientation, and opaque.

    `again` is what 16-bit colours take, of which Pillow keeps 8 bits. `as_decoder_2`: as that version did.

    Raises ImageError (no pixels, or more than Pillow's limit, refused before any is decoded), or one of `HOSTILE`.
    """
    refuse_unfit(picture)
    rawmode = rawmode_of(picture)
    colour = picture.info.get("transparency")
    if colour is not None and isinstance(picture, PngImagePlugin.PngImageFile):
        mend_transparent_colour(picture, colour)
    picture.load()
    method = _way_up(picture)
    opaque = _opaque(picture, rawmode, colour, again, as_decoder_2)
    return opaque if method is None else opaque._replace(rgb=opaque.rgb.transpose(method))


def _way_up(picture: Image.Image) -> Image.Transpose | None:
    # A TIFF has been turned while it was loaded, and its tag is gone.
    try:
        return UPRIGHT.get(picture.getexif().get(ORIENTATION, 1))
    except HOSTILE:
        return None  # unreadable EXIF is no reason to refuse the picture: viewers show it as it lies


def _opaque(picture: Image.Image, rawmode: str, colour: object, again: Again | None, as_decoder_2: bool) -> Upright:
    if picture.mode.startswith(("I", "F")):
        return Upright(*grey_as_rgb(picture, as_decoder_2))
    note = changed = ""
    if again and rawmode in LOWER:
        note, changed = mend_sixteen_bits(picture, rawmode, colour, again, keep=as_decoder_2)
    if picture.has_transparency_data:
        rgb, shown, otherwise = on_white(picture, rawmode, again, as_decoder_2)
        return Upright(rgb, shown or note, otherwise or changed)
    # CMYK by the plain formula (Pillow has undone Adobe's inversion), LAB by LittleCMS from D50 to sRGB.
    return Upright(picture if picture.mode == "RGB" else picture.convert("RGB"), note, changed)


def fit(picture: Image.Image, size: tuple[int, int], resize: str, box: Box | None = None) -> Image.Image:
    """An RGB picture, or the part of it in `box`, stretched to `size` (height, width).

    resize: antialias, nearest, or the text of a `Crop`, which has a box of its own where none is given.
    """
    height, width = size
    if resize not in ("antialias", "nearest") and (crop := Crop.of(resize)):
        # By Pillow itself, whose numbers these recipes were made with: to the last bit, but of thin pictures.
        way = Image.Resampling[crop.filter.upper()]
        if box or crop.is_thin(picture.size, size):
            return picture.resize((width, height), way, box=box or crop.box(picture.size, size))
        new_height, new_width = crop.resized(picture.size, size)
        return picture.resize((new_width, new_height), way).crop(crop.place(picture.size, size))
    if resize == "nearest":
        return picture.resize((width, height), Image.Resampling.NEAREST, box=box)
    left, upper, right, lower = box or (0, 0, *picture.size)
    part = cykooz_resizer.CropBox(left, upper, right - left, lower - upper)
    options = cykooz_resizer.ResizeOptions(resize_alg=TRIANGLE, use_alpha=False, crop_box=part if box else None)
    resized = Image.new("RGB", (width, height))
    cykooz_resizer.Resizer().resize_pil(picture, resized, options)
    return resized
