"""Files that every viewer shows and Pillow refuses: the same picture without what is wrong with them.

Nothing is guessed: every pixel has to be in the file. Only imported when something is decoded.
"""

import hashlib
import re
import zlib

from PIL import ImageFile, UnidentifiedImageError

from featurize.decoding.levels import strips
from featurize.decoding.memory_gate import before_loading
from featurize.decoding.upright_rgb import HOSTILE, open_picture
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import Reserve

END = b"\xff\xd9"
# Bytes that a decoder which still waits for some takes for different pixels, some of them hardly different.
PADDING = tuple(bytes([value]) * 1024 for value in (0x00, 0x55, 0xAA, 0xCC, 0x6D, 0xF0))
MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # others stand inside a scan
FRAMES, SCAN = (0xC0, 0xC1, 0xC2), 0xDA  # baseline, extended and progressive; others Pillow does not read

TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def mended(data: bytes, error: BaseException, reserve: Reserve) -> tuple[bytes, str] | None:
    """(a file of the same pixels, what is announced, or "") for a file that made Pillow raise `error`, if there is one.

    To be called in `pillow_as_it_comes`. Raises what decoding raises.
    """
    found: tuple[bytes, str] | None = None
    if data.startswith(b"\x89PNG"):
        if type(error) is ValueError:
            found = _without_text(data), ""
        elif isinstance(error, UnidentifiedImageError) and "checksum" in str(error):
            found = _without_damaged_chunks(data)
    elif data.startswith(b"\xff\xd8\xff") and type(error) is OSError and "truncated" in str(error):
        body = data.removesuffix(END[:1])
        if _has_every_pixel(body, reserve):
            found = body + END, "JPEG without its end marker, all pixels are there"
    return found if found and found[0] != data else None


def _chunks(png: bytes) -> list[tuple[bytes, int, int]]:
    """(kind, where it begins, where it ends) of each chunk."""
    chunks, start = [], 8
    while start < len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4])
        chunks.append((png[start + 4 : start + 8], start, end))
        start = end
    return chunks


def _without_text(png: bytes) -> bytes:
    """The same PNG without texts and colour profile.

    Pillow refuses a whole picture for a text or profile of more than 1 MiB (ValueError); photo editors write such
    histories, scanners such profiles, and every viewer shows the picture.
    """
    return png[:8] + b"".join(png[start:end] for kind, start, end in _chunks(png) if kind not in TEXTS)


def _without_damaged_chunks(png: bytes) -> tuple[bytes, str]:
    """The same PNG without chunks whose checksum is wrong, where these say nothing about a pixel."""
    kept, left_out = [png[:8]], set()
    for kind, start, end in _chunks(png):
        ancillary = kind.isalpha() and kind[:1].islower() and kind != b"tRNS"
        if ancillary and zlib.crc32(png[start + 4 : end - 4]) != int.from_bytes(png[end - 4 : end]):
            left_out.add(kind.decode())
        else:
            kept.append(png[start:end])
    return b"".join(kept), f"PNG with a wrong checksum in {', '.join(sorted(left_out)[:5])}: read without"


def _has_every_pixel(jpeg: bytes, reserve: Reserve) -> bool:
    """Whether a JPEG without its end marker lacks nothing else: then what comes after it changes no pixel."""
    try:
        if not _has_every_scan(jpeg):
            return False
        pixels = _pixels(jpeg + END, reserve)
        return all(_pixels(jpeg + padding + END, reserve) == pixels for padding in PADDING)
    except ImageError:
        raise
    except HOSTILE:
        return False


def _has_every_scan(jpeg: bytes) -> bool:
    """Whether every component's coefficients come in some scan to their last bit. ITU-T T.81, B.2.3 and G.1."""
    left: set[tuple[int, int]] = set()
    at = 2
    while found := MARKER.search(jpeg, at):
        kind, start = found[1][0], found.end()
        segment = jpeg[start + 2 : start + int.from_bytes(jpeg[start : start + 2])]
        if kind in FRAMES:
            left = {(component, number) for component in segment[6::3] for number in range(64)}
        elif kind == SCAN:
            count = segment[0]
            first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
            if bits & 15 == 0:
                numbers = range(first, last + 1)
                left -= {(component, number) for component in segment[1 : 1 + 2 * count : 2] for number in numbers}
        at = start + 2 + len(segment)
    return not left


def _pixels(jpeg: bytes, reserve: Reserve) -> bytes:
    """A digest of all pixels of a JPEG, none of them averaged."""
    with open_picture(jpeg) as picture:
        before_loading(picture, jpeg, picture.size, (1, 1), reserve)
        picture.load()
        return _digest(picture)


def _digest(picture: ImageFile.ImageFile) -> bytes:
    sha256 = hashlib.sha256()
    for top, bottom in strips(*picture.size):
        sha256.update(picture.crop((0, top, picture.width, bottom)).tobytes())
    return sha256.digest()
