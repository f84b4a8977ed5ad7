"""Open an image file with Pillow. Settings that the host program has made in Pillow do not change the pixels.

Pillow's settings belong to the process. `LOAD_TRUNCATED_IMAGES` turns half a picture into a whole one, others choose
between decoders; a plug-in may take over a format. Only imported when something is decoded.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from featurize.decoding.size_limits import CountedReads
from featurize.decoding.upright_rgb import DecodeError

# A fixed list: for EPS Pillow would run an external program, and many of its formats nobody looks after. The first
# picture of an MPO (several in one JPEG) is a JPEG. By the bytes that a file begins with; a DIB is a BMP without these.
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
_DECODERS = dict(Image.DECODERS)  # those written in Python, by name: before any plug-in of the host is imported
_here = threading.local()


class _Switch:
    """The host program's value of a switch, and off for the threads that decode here."""

    def __init__(self, value: object):
        self.value = value

    def __bool__(self) -> bool:
        return bool(self.value) and not getattr(_here, "decodes", False)


@contextmanager
def pillow_as_it_comes() -> Iterator[None]:
    """Pillow's switches are off for this thread, and for no other. Raises DecodeError where one was set meanwhile."""
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
                raise DecodeError(f"the program has set {module.__name__}.{name} while this picture was decoded")
    finally:
        _here.decodes = outer


def open_picture(file: CountedReads) -> ImageFile.ImageFile:
    """What `Image.open` gives for the formats of `OPENERS`, by Pillow's own classes. To be called, and the picture
    loaded, in `pillow_as_it_comes`.

    Raises UnidentifiedImageError, and whatever Pillow raises.
    """
    beginning = file.read(8)
    file.seek(0)
    opener = next((opener for magic, opener in OPENERS.items() if beginning.startswith(magic)), None)
    if opener is None and int.from_bytes(beginning[:4], "little") in DIB_HEADERS:
        opener = BmpImagePlugin.DibImageFile
    if opener is None:
        raise UnidentifiedImageError("no image of a known format")
    try:
        picture = opener(file, "")
    except (SyntaxError, IndexError, TypeError) as error:
        raise UnidentifiedImageError(str(error)) from error
    picture.decodermaxblock = BLOCK
    for tile in picture.tile:
        if Image.DECODERS.get(tile.codec_name) is not _DECODERS.get(tile.codec_name):
            raise DecodeError(f"a plug-in of Pillow has replaced its decoder of {tile.codec_name}")
    return picture
