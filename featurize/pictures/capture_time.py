"""When a picture was taken, by its EXIF; no pixel is decoded, and of a JPEG little more than its beginning is read.

EXIF (CIPA DC-008) is a small TIFF inside the picture: a segment of a JPEG, a chunk of a PNG or WebP, an item of a HEIC
or AVIF. Of its tags only those of times are looked up, so a hostile file cannot make it large.
"""

import io
import re
import struct
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from featurize.decoding.heif_header import exif_of, is_heif
from featurize.machine.parallel import in_order
from featurize.pictures.find_images import ImageError
from featurize.pictures.sources import opened

HEAD = 64 * 1024  # bytes that are read at once: the EXIF of most cameras
MOST_READS = 2000  # of a file, beyond its head
LARGEST_HEIF = 64 * 1024**2  # bytes: such a file is read as a whole
AHEAD = 64

# Tags, in the order of their worth: of the time, and of the fraction of its second.
OF_EXIF = ((0x9003, 0x9291), (0x9004, 0x9292))  # DateTimeOriginal, DateTimeDigitized
OF_PICTURE = (0x0132, 0x9290)  # DateTime, whose fraction is in EXIF as well
EXIF_TABLE = 0x8769
TEXT = 2  # the type of a value
SPELLED = re.compile(
    r"(\d{4})[-:/.](\d\d?)[-:/.](\d\d?)[T ](\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d+))?)? ?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)

ReadAt = Callable[[int, int], bytes]  # (offset, size) -> the bytes that are there, fewer at the end


def capture_times(paths: Iterable[str]) -> list[datetime | None]:
    """The capture time of each file, as the clock of its camera showed it; None where it has none, or is no picture."""
    return list(in_order(capture_time, paths, AHEAD))  # threads wait for disks


def capture_time(path: str) -> datetime | None:
    """As `capture_times`, of one file: DateTimeOriginal, else DateTimeDigitized, else DateTime."""
    try:
        with opened(path) as (file, size):
            at = _reader(file, size)
            tiff = _tiff_of(at, size)
            return _time_of(tiff) if tiff else None
    except (ImageError, struct.error):
        return None


def time_of_text(text: str) -> datetime | None:
    """The time that a text spells, as EXIF or ISO 8601 has it; None for others, and for a day without a time.

    One with an offset from UTC becomes UTC.
    """
    if not (found := SPELLED.fullmatch(text.strip("\0 \t\r\n"))):
        return None
    *numbers, fraction, offset = found.groups()
    year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
    try:
        time = datetime(year, month, day, hour, minute, second) + _fraction(fraction or "")
        if offset and offset != "Z":
            sign = -1 if offset[0] == "-" else 1
            time -= sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
    except (ValueError, OverflowError):
        return None
    return time


def _reader(file: io.RawIOBase | io.BytesIO, size: int) -> ReadAt:
    """What reads parts of a file, its head at once. Raises ImageError where it is asked too often."""
    head, left = file.read(HEAD) or b"", MOST_READS

    def at(offset: int, count: int) -> bytes:
        nonlocal left
        if offset + count <= len(head) or size <= len(head):
            return head[offset : offset + count]
        left -= 1
        if left < 0 or offset > size:
            raise ImageError(f"damaged or hostile: more than {MOST_READS} parts before its EXIF")
        file.seek(offset)
        return file.read(count) or b""

    return at


def _tiff_of(at: ReadAt, size: int) -> ReadAt | None:
    """What reads the TIFF that holds the tags of a picture; None where it has none."""
    head = at(0, 16)
    if head.startswith((b"II*\0", b"MM\0*")):
        return at
    if is_heif(head):
        if size > LARGEST_HEIF:
            return None
        return _inside(exif_of(at(0, size)))
    found = None
    if head.startswith(b"\xff\xd8"):
        found = _in_jpeg(at)
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        found = _in_png(at)
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        found = _in_webp(at)
    if found is None:
        return None
    start = found + 6 if at(found, 6) == b"Exif\0\0" else found
    return lambda offset, count: at(start + offset, count)


def _inside(exif: bytes) -> ReadAt:
    return lambda offset, count: exif[offset : offset + count]


def _in_jpeg(at: ReadAt) -> int | None:
    """Where the EXIF of a JPEG begins. ITU-T T.81, B.1.1.4: segments follow each other up to the first scan."""
    place = 2
    while len(segment := at(place, 10)) == 10:
        if segment[0] != 0xFF or segment[1] in (0xDA, 0xD9):
            return None
        if segment[1] == 0xFF:  # padding
            place += 1
            continue
        if segment[1] == 0xE1 and segment[4:10] == b"Exif\0\0":
            return place + 4
        place += 2 + max(2, int.from_bytes(segment[2:4]))
    return None


def _in_png(at: ReadAt) -> int | None:
    place = 8
    while len(chunk := at(place, 8)) == 8:
        if chunk[4:] == b"eXIf":
            return place + 8
        place += 12 + int.from_bytes(chunk[:4])
    return None


def _in_webp(at: ReadAt) -> int | None:
    place = 12
    while len(chunk := at(place, 8)) == 8:
        if chunk[:4] == b"EXIF":
            return place + 8
        length = int.from_bytes(chunk[4:], "little")
        place += 8 + length + length % 2  # padded to whole words
    return None


def _time_of(at: ReadAt) -> datetime | None:
    """The capture time that the tags of a TIFF tell."""
    order = "<" if at(0, 2) == b"II" else ">"
    picture = _tags(at, order, struct.unpack(f"{order}I", at(4, 4))[0])
    exif = {}
    if pointer := picture.get(EXIF_TABLE):
        exif = _tags(at, order, struct.unpack(f"{order}I", pointer[2])[0])
    for tags, time_tag, fraction_tag in ((exif, *OF_EXIF[0]), (exif, *OF_EXIF[1]), (picture, *OF_PICTURE)):
        if time := time_of_text(_text(at, order, tags.get(time_tag))):
            return time + _fraction(_text(at, order, exif.get(fraction_tag)))
    return None


def _tags(at: ReadAt, order: str, place: int) -> dict[int, tuple[int, int, bytes]]:
    """Tag -> (type, count, value or its offset) of one table of a TIFF. TIFF 6.0, section 2."""
    (count,) = struct.unpack(f"{order}H", at(place, 2))
    entries = at(place + 2, 12 * count)
    return {
        tag: (kind, number, value)
        for tag, kind, number, value in struct.iter_unpack(f"{order}HHI4s", entries[: len(entries) // 12 * 12])
    }


def _text(at: ReadAt, order: str, tag: tuple[int, int, bytes] | None) -> str:
    if tag is None or tag[0] != TEXT:
        return ""
    _, count, value = tag
    text = value[:count] if count <= 4 else at(struct.unpack(f"{order}I", value)[0], min(count, 40))
    return text.split(b"\0")[0].decode("ascii", "replace")


def _fraction(digits: str) -> timedelta:
    """The part of a second that digits behind its point say."""
    digits = digits.strip()[:6]
    return timedelta(seconds=float(f"0.{digits}")) if digits.isascii() and digits.isdigit() else timedelta()
