"""The memory of decoding: estimated from the header before a picture is decoded, refused, or waited for.

Pillow refuses too many pixels; what it lets through, decompression bombs among it, is refused here. A few huge
pictures, decoded in one thread per core, would take all the memory of the machine: a picture that does not fit now
waits. Only imported when something is decoded.
"""

import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import BmpImagePlugin, Image, JpegImagePlugin, TiffImagePlugin

from featurize.decoding.heif_header import heif_header, is_heif
from featurize.decoding.sixteen_bits import LOWER
from featurize.decoding.upright_rgb import ORIENTATION, rawmode_of
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import MOST, Reserve, within_limit

PART = 64 * 10**6  # bytes of a thread; ordinary photographs need far less
LARGE_FILE = 32 * 1024**2  # smaller files are read at once, whatever is being decoded
# Pixels times scans of a progressive JPEG, 3 ns each if there is nothing in them: 12 megapixels in 178 scans. Encoders
# write about 10.
MOST_SCANNED = 2**31
LEAST_CODED = 8 * 64  # pixels of a JPEG in a byte: each block of 64 takes a bit or more
MOST_STRIPS = 2**17  # of a TIFF, which Pillow lists as Python objects; there is no use for more than rows
MOST_RLE_PIXELS = 2**24  # of a BMP with run lengths, which Pillow decodes in Python

# Bytes a pixel that libwebp (two canvases) and Pillow (a copy and the picture) hold at once. Without the copy there is
# room to turn it, but not to lay it on white before.
WEBP_PIXEL, ON_WHITE = 16.5, 4
# The same of HEIC and AVIF, by libheif and libavif: (more than 8 bits, transparent) -> bytes.
HEIF_PIXEL = {(False, False): 11.5, (False, True): 14.5, (True, False): 16, (True, True): 21}
STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # bytes of a pixel in Pillow's memory; others 4


def trim() -> None:
    """Give free memory back to the system: glibc keeps much of it for later, and the next picture comes on top."""
    if _malloc_trim:
        _malloc_trim(0)


_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None


class MemoryGate:
    """A budget of `MOST` bytes, or of `PART` for each of many threads. Pictures take from it and give back."""

    def __init__(self, threads: int):
        self._left = max(MOST, threads * PART)
        self._given_back = threading.Condition()
        self._large_file = threading.Lock()

    @contextmanager
    def picture(self) -> Iterator["Reservation"]:
        """The reservation of one picture, given back at the end."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            reservation.give_back()

    def take(self, size: int) -> None:
        with self._given_back:
            self._given_back.wait_for(lambda: self._left >= size)
            self._left -= size

    def give_back(self, size: int) -> None:
        with self._given_back:
            self._left += size
            self._given_back.notify_all()


class Reservation:
    """The bytes that one picture has taken.

    A large file reserves its size before it is read, and the rest when its header is known. Only one picture at a time
    may be between the two steps: otherwise two of them could wait for each other.
    """

    def __init__(self, memory: MemoryGate):
        self._memory = memory
        self._taken = 0
        self._between = False

    def file(self, size: int) -> None:
        """Wait for the memory of a file of `size` bytes."""
        if size > LARGE_FILE:
            self._memory._large_file.acquire()
            self._between = True
            self._take(size)

    def picture(self, size: int) -> None:
        """Wait for the memory of a picture, `size` bytes with its file. Raises ImageError as `within_limit`.

        Whoever decodes it another time and needs more gives back all before: two could wait for each other else.
        """
        within_limit(size)
        if size > self._taken and not self._between:
            self._memory.give_back(self._taken)
            self._taken = 0
        self._take(max(0, size - self._taken))
        self._settled()

    def give_back(self) -> None:
        if self._taken > PART:
            trim()
        self._memory.give_back(self._taken)
        self._settled()

    def _take(self, size: int) -> None:
        self._memory.take(size)
        self._taken += size

    def _settled(self) -> None:
        if self._between:
            self._between = False
            self._memory._large_file.release()


def before_opening(data: bytes, size: tuple[int, int], reserve: Reserve) -> None:
    """Reserve the memory that Pillow takes as soon as it opens a file. Raises ImageError for a TIFF of many strips."""
    if data.startswith((b"\xff\xd8", b"\x89PNG")):  # JPEG and PNG take it as they are loaded
        return
    if data.startswith(b"RIFF"):
        width, height, transparent = _webp_canvas(data)
        if not Image.MAX_IMAGE_PIXELS or width * height <= Image.MAX_IMAGE_PIXELS:  # else Pillow refuses it
            pixels = int((WEBP_PIXEL + ON_WHITE * transparent) * width * height)
            reserve(2 * len(data) + pixels + _halfway((width, height), size))
    elif is_heif(data):
        header = heif_header(data)
        pixels = int(HEIF_PIXEL[header.bits > 8, header.transparent] * header.pixels)
        reserve(2 * len(data) + 3 * header.parts + pixels + _halfway(header.size, size))
    elif data.startswith((b"II", b"MM")) and (strips := _tiff_strips(data)) > MOST_STRIPS:
        raise ImageError(f"TIFF of {strips} strips or tiles, more than {MOST_STRIPS}")


def before_loading(
    picture: Image.Image, data: bytes, full: tuple[int, int], size: tuple[int, int], reserve: Reserve
) -> None:
    """Reserve the memory of an opened picture that comes to be `size`; it was `full` before its decoder shrank it.

    Raises ImageError for what would take minutes.
    """
    pixels = picture.width * picture.height
    # Loaded, as RGB, and turned: whether it is, JPEG and PNG may tell only in the end.
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        turned = picture.tag_v2.get(ORIENTATION, 1) != 1
    else:
        turned = picture.format not in ("BMP", "DIB")  # a GIF is not, but becomes RGBA first where it is transparent
    stored, rawmode = STORED.get(picture.mode, 4), rawmode_of(picture)
    taken = (stored + 4 * (picture.mode != "RGB") + 4 * turned) * pixels
    if picture.mode.startswith(("I", "F")):  # as 8-bit grey before
        taken = max(taken, int((stored + 5.5) * pixels))
    elif rawmode in LOWER:  # the lower bytes beside the upper
        taken = max(taken, (4 + 4 + 4 * picture.has_transparency_data) * pixels)
    elif rawmode.startswith("RGBa"):  # once more, with colours that alpha has not divided
        taken += 4 * pixels
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        taken = max(taken, _coefficients(picture, data, full) + stored * pixels)
    elif isinstance(picture, TiffImagePlugin.TiffImageFile):
        taken += _tile(picture)
    elif isinstance(picture, BmpImagePlugin.BmpImageFile) and picture.tile and picture.tile[0].codec_name == "bmp_rle":
        if pixels > MOST_RLE_PIXELS:
            raise ImageError(f"BMP of {full[0]}x{full[1]} pixels in run lengths, more than {MOST_RLE_PIXELS}")
        taken += 2 * pixels
    if picture.format not in ("WEBP", "HEIF", "AVIF"):  # asked for before
        reserve(len(data) + taken + _halfway(picture.size, size))


def _halfway(old: tuple[int, int], new: tuple[int, int]) -> int:
    """Bytes of a picture that is resized in one direction and not yet in the other: many for a long thin one."""
    return 4 * max(old) * max(new)


def _coefficients(picture: JpegImagePlugin.JpegImageFile, data: bytes, full: tuple[int, int]) -> int:
    """Bytes of a JPEG's coefficients, if libjpeg keeps all. Raises ImageError for what takes long or cannot be true."""
    every, several = full[0] * full[1], _in_several_scans(picture, data)
    if (scans := data.count(b"\xff\xda") if several else 1) * every > MOST_SCANNED:
        raise ImageError(f"JPEG of {full[0]}x{full[1]} pixels in {scans} scan{'s' * (scans > 1)}")
    if every > max(Image.MAX_IMAGE_PIXELS or every, LEAST_CODED * len(data)):
        raise ImageError(f"JPEG of {full[0]}x{full[1]} pixels in {len(data)} bytes")
    return 2 * len(picture.getbands()) * every if several else 0


def _in_several_scans(picture: JpegImagePlugin.JpegImageFile, data: bytes) -> bool:
    """Whether libjpeg keeps the whole picture as coefficients (16 bits): not if its first scan has all components."""
    bands = picture.layers
    end = picture.fp.tell() if picture.fp else 0
    only_scan = b"\xff\xda" + struct.pack(">HB", 6 + 2 * bands, bands)
    return "progressive" in picture.info or data[end - 8 - 2 * bands : end - 3 - 2 * bands] != only_scan


def _tile(picture: TiffImagePlugin.TiffImageFile) -> int:
    """Bytes of one tile, which may be larger than the picture."""
    width, height = (picture.tag_v2.get(tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
    bits = picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    samples = picture.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    return int(width) * int(height) * int(samples) * int(max(bits)) // 8


def _webp_canvas(data: bytes) -> tuple[int, int, bool]:
    """(width, height, transparent); no pixels where Pillow will find none.

    https://developers.google.com/speed/webp/docs/riff_container
    """
    kind, head = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[i : i + 3], "little") + 1 for i in (4, 7))
        return width, height, bool(head[0] & 0x10)
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[6:10])
        return width & 0x3FFF, height & 0x3FFF, False
    return 0, 0, False


def _tiff_strips(data: bytes) -> int:
    """How many strips or tiles the first page says that it has; 0 where Pillow will find the file damaged. TIFF 6.0."""
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    entry = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        start += 8 if big else 2
        entries = (entry.unpack_from(data, start + entry.size * number) for number in range(min(count, 2**16)))
        return max((n for tag, _, n in entries if tag in (273, 279, 324, 325)), default=0)
    except struct.error:
        return 0
