"""Frames in the bytes of a picture coded in HEVC or AV1: how many there are, and how large they may be.

Only imported when something is decoded.
"""

from featurize.pictures.find_images import ImageError

MOST_UNITS = 100_000  # slices and the like; encoders write one, or one for each row of blocks

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6  # types of AV1's units, section 6.2.2


def hevc_frames(content: bytes, length_size: int) -> int:
    """How many frames begin in an item of HEVC, each unit of which has its length before it (ISO/IEC 14496-15).

    Those of further layers, the other eye's in a spatial photograph, are not decoded.
    """
    frames = at = units = 0
    while at + length_size + 2 < len(content):
        length = int.from_bytes(content[at : at + length_size])
        at += length_size
        kind, layer, first = content[at] >> 1 & 63, (content[at] & 1) << 5 | content[at + 1] >> 3, content[at + 2] >> 7
        frames += kind < 32 and not layer and first
        at += length
        units = _counted(units)
    return frames


def av1_frame(content: bytes) -> tuple[tuple[int, int], int]:
    """(width and height that no frame exceeds, how many frames there are) in an item of AV1."""
    width = height = frames = at = units = 0
    while at < len(content):
        kind, extended, sized = content[at] >> 3 & 15, content[at] & 4, content[at] & 2
        at += 2 if extended else 1
        length, at = _leb128(content, at) if sized else (len(content) - at, at)
        if kind == SEQUENCE_HEADER:
            size = _largest_frame(content[at : at + min(length, 1024)])
            width, height = max(width, size[0]), max(height, size[1])
        frames += kind in (FRAME_HEADER, FRAME)
        at += length
        units = _counted(units)
    return (width, height), frames


def _counted(units: int) -> int:
    if units == MOST_UNITS:
        raise ImageError(f"HEIC or AVIF of more than {MOST_UNITS} units in one picture")
    return units + 1


def _leb128(content: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = 0
    for place in range(8):
        value |= (content[at + place] & 127) << 7 * place
        if not content[at + place] & 128:
            return value, at + place + 1
    raise IndexError(at)


def _largest_frame(header: bytes) -> tuple[int, int]:
    """Width and height that no frame exceeds, by a sequence header: AV1, section 5.5.1."""
    value, left = int.from_bytes(header), 8 * len(header)

    def bits(count: int) -> int:
        nonlocal left
        left -= count
        if left < 0:
            raise IndexError(count)
        return value >> left & (1 << count) - 1

    bits(4)  # profile, still
    if reduced := bits(1):
        bits(5)
    else:
        delay = 0
        if bits(1):  # timing
            bits(64)
            if bits(1):
                zeros = 0
                while not bits(1):
                    zeros += 1
                bits(zeros)
            if bits(1):
                delay = 1 + bits(5)
                bits(42)
        shown_later = bits(1)
        for _ in range(1 + bits(5)):
            bits(12)
            if bits(5) > 7:
                bits(1)
            if delay and bits(1):
                bits(2 * delay + 1)
            if shown_later and bits(1):
                bits(4)
    wide, high = 1 + bits(4), 1 + bits(4)
    if reduced:
        return 1 + bits(wide), 1 + bits(high)
    return 1 << wide, 1 << high  # any frame may say its own size, in as many bits
