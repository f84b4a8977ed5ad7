"""HEIC and AVIF: what their boxes say of a picture before any of its pixels is decoded.

Both keep pictures as items of one container (HEIF, ISO/IEC 23008-12, in boxes of ISO/IEC 14496-12), coded in HEVC or
AV1. libheif and libavif, which decode them, read what many items share once for each, and libavif decodes frames larger
than the container says: that is counted here. Only imported when something is decoded.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from featurize.decoding.coded_frames import av1_frame, hevc_frames
from featurize.pictures.find_images import ImageError

BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"avif", b"avis")
)
KINDS = {b"hvc1": "HEIC", b"av01": "AVIF"}
ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
MOST_PARTS = 100_000  # boxes, items, references and extents; a picture of a phone has a few hundred
SHARED = 16 * 1024**2  # bytes that items may have in common, each read once for each


class HeifHeader(NamedTuple):
    """What the boxes say.

    kind: HEIC or AVIF. size: (width, height) of the picture as it lies, before it is turned. pixels: of all that is
    decoded for it, tiles and frames larger than the container says among them. parts: bytes of all items and
    properties, each as often as it is read. descriptions: where the file says `cdsc`, that an item describes another.
    """

    kind: str
    size: tuple[int, int]
    pixels: int
    bits: int
    transparent: bool
    parts: int
    descriptions: list[int]


def is_heif(data: bytes) -> bool:
    """Whether a file begins as a HEIC or AVIF."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS


def heif_header(data: bytes) -> HeifHeader:
    """Read the boxes of a file that `is_heif`.

    Raises ImageError for damaged boxes, for pictures coded otherwise, and for what would take minutes.
    """
    with _damage_named():
        return _Container(data).header()


def exif_of(data: bytes) -> bytes:
    """The EXIF of a file that `is_heif`, a TIFF; empty where it has none. Raises ImageError for damaged boxes."""
    with _damage_named():
        return _Container(data).exif()


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except (struct.error, IndexError, KeyError, StopIteration, ValueError) as error:
        raise ImageError("HEIC or AVIF with a damaged header") from error


class _Fields:
    """Big-endian numbers of a box, one after the other."""

    def __init__(self, data: bytes, start: int, end: int):
        self._data, self._at, self._end = data, start, end

    def take(self, size: int) -> int:
        start, self._at = self._at, self._at + size
        if self._at > self._end:
            raise IndexError(self._at)
        return int.from_bytes(self._data[start : self._at])


class _Container:
    """The boxes of one file as tables: the type of each item, its properties, where it lies, what it refers to."""

    def __init__(self, data: bytes):
        self._data = data
        self._left = MOST_PARTS
        (meta,) = [(start, end) for kind, start, end in self._boxes(0, len(data), top=True) if kind == b"meta"]
        found: dict[bytes, tuple[int, int]] = {}
        for kind, start, end in self._boxes(meta[0] + 4, meta[1]):
            if kind in found and kind in (b"pitm", b"iinf", b"iloc", b"iref", b"iprp", b"idat"):
                raise ImageError(f"HEIC or AVIF with two boxes {kind!r}")
            found[kind] = start, end
        self._idat = found.get(b"idat", (0, 0))
        start, end = found[b"pitm"]
        self.primary = _Fields(data, start + 4, end).take(4 if data[start] else 2)
        self.types = dict(self._items(*found[b"iinf"]))
        self.extents = dict(self._locations(*found[b"iloc"]))
        self.descriptions: list[int] = []
        self.references = list(self._references(*found[b"iref"])) if b"iref" in found else []
        self.properties = self._properties(*found[b"iprp"])

    def header(self) -> HeifHeader:
        parts = self._bytes_of_parts()
        leaves = self._leaves(self.primary)
        alphas = [
            leaf
            for kind, source, targets in self.references
            if kind == b"auxl" and not {self.primary, *leaves}.isdisjoint(targets)
            if self._property(source, b"auxC")[4:].startswith(ALPHA)
            for leaf in self._leaves(source)
        ]
        kinds = {self.types[leaf] for leaf in (*leaves, *alphas)}
        if len(kinds) != 1 or not kinds <= KINDS.keys():
            names = ", ".join(sorted(kind.decode("ascii", "replace") for kind in kinds))
            raise ImageError(f"HEIF with pixels in {names or 'no tiles'}: only HEVC (HEIC) and AV1 (AVIF) are read")
        frames = {leaf: self._frame(leaf) for leaf in {*leaves, *alphas}}
        size = self._size(self.primary)
        return HeifHeader(
            KINDS[kinds.pop()],
            size,
            max(size[0] * size[1], *(sum(frames[leaf][0] for leaf in part) for part in (leaves, alphas))),
            max(bits for _, bits in frames.values()),
            bool(alphas),
            parts,
            self.descriptions,
        )

    def exif(self) -> bytes:
        """The first item of EXIF, from where its TIFF begins: the first four bytes say how far that is (A.2.1)."""
        for item, kind in self.types.items():
            if kind == b"Exif":
                content = b"".join(self._bytes_of(item))
                return content[4 + int.from_bytes(content[:4]) :]
        return b""

    def _leaves(self, item: int) -> list[int]:
        """The coded items that an item is made of, each as often as it is decoded."""
        for _ in range(3):
            kind = self.types[item]
            if kind not in (b"iden", b"grid"):
                return [item]
            targets = next(to for name, source, to in self.references if (name, source) == (b"dimg", item))
            if kind == b"grid":
                return targets
            (item,) = targets
        raise ImageError("HEIF that derives its picture from another more than twice")

    def _frame(self, item: int) -> tuple[int, int]:
        """(pixels, bits of a sample) of a coded item."""
        width, height = self._size(item)
        content = b"".join(self._bytes_of(item))
        if self.types[item] == b"hvc1":
            # libheif lets no frame be larger than the box says.
            config = self._property(item, b"hvcC")
            frames, bits = hevc_frames(content, 1 + (config[21] & 3)), 8 + (config[17] & 7)
        else:
            coded, frames = av1_frame(content)
            width, height = max(width, coded[0]), max(height, coded[1])
            bits = 10 if self._property(item, b"av1C")[2] & 0x40 else 8
        if frames > 1:
            raise ImageError(f"HEIC or AVIF of {frames} frames in one picture")
        return width * height, bits

    def _size(self, item: int) -> tuple[int, int]:
        width, height = struct.unpack(">4xII", self._property(item, b"ispe"))
        return width, height

    def _property(self, item: int, kind: bytes) -> bytes:
        (place,) = [place[1:] for place in self.properties[item] if place[0] == kind]
        return self._data[slice(*place)]

    def _bytes_of(self, item: int) -> Iterator[bytes]:
        in_meta, extents = self.extents[item]
        begin, end = self._idat if in_meta else (0, len(self._data))
        for offset, length in extents:
            if begin + offset + length > end:
                raise ImageError("truncated HEIC or AVIF")
            yield self._data[begin + offset : begin + offset + length or end]

    def _bytes_of_parts(self) -> int:
        items = sum(length or len(self._data) for _, extents in self.extents.values() for _, length in extents)
        properties = sum(end - start for places in self.properties.values() for _, start, end in places)
        parts = items + properties
        if parts > 3 * len(self._data) + SHARED:
            raise ImageError(f"damaged or hostile: {parts} bytes of parts in a file of {len(self._data)}")
        return parts

    def _boxes(self, start: int, end: int, top: bool = False) -> Iterator[tuple[bytes, int, int]]:
        """(kind, where its content begins, where it ends) of each box; at the top anything may come after them."""
        while start + 8 <= end:
            size, kind = struct.unpack_from(">I4s", self._data, start)
            begin = start + 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", self._data, begin)
                begin += 8
            after = start + size if size else end
            if not begin <= after <= end:
                if top and kind != b"meta":
                    return
                raise ImageError("truncated HEIC or AVIF")
            self._count(1)
            yield kind, begin, after
            start = after

    def _items(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        for kind, begin, after in self._boxes(start + (8 if self._data[start] else 6), end):
            version = self._data[begin]
            if kind == b"infe" and version >= 2:
                fields = _Fields(self._data, begin + 4, after)
                item = fields.take(4 if version > 2 else 2)
                fields.take(2)
                yield item, fields.take(4).to_bytes(4)

    def _locations(self, start: int, end: int) -> Iterator[tuple[int, tuple[bool, list[tuple[int, int]]]]]:
        """(item, (whether its bytes lie in the box idat, (offset, length) of each extent)), of each item."""
        version, fields = self._data[start], _Fields(self._data, start + 4, end)
        sizes = fields.take(2)
        offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        wide = 4 if version > 1 else 2
        count = fields.take(wide)
        for _ in range(count):
            item = fields.take(wide)
            in_meta = bool(version and fields.take(2) & 15)
            fields.take(2)
            base, extents = fields.take(base_size), fields.take(2)
            self._count(1 + extents)
            places = []
            for _ in range(extents):
                fields.take(index_size if version else 0)
                places.append((base + fields.take(offset_size), fields.take(length_size)))
            yield item, (in_meta, places)

    def _references(self, start: int, end: int) -> Iterator[tuple[bytes, int, list[int]]]:
        """(kind, the item that refers, those that it refers to)"""
        wide = 4 if self._data[start] else 2
        for kind, begin, after in self._boxes(start + 4, end):
            fields = _Fields(self._data, begin, after)
            source, count = fields.take(wide), fields.take(2)
            self._count(count)
            if kind == b"cdsc":
                self.descriptions.append(begin - 4)
            yield kind, source, [fields.take(wide) for _ in range(count)]

    def _properties(self, start: int, end: int) -> dict[int, list[tuple[bytes, int, int]]]:
        """The (kind, begin, end) of the properties of each item."""
        boxes = list(self._boxes(start, end))
        (every,) = [list(self._boxes(begin, after)) for kind, begin, after in boxes if kind == b"ipco"]
        found: dict[int, list[tuple[bytes, int, int]]] = {}
        for kind, begin, after in boxes:
            if kind != b"ipma":
                continue
            fields, version, flags = _Fields(self._data, begin + 4, after), self._data[begin], self._data[begin + 3]
            for _ in range(fields.take(4)):
                item, count = fields.take(4 if version else 2), fields.take(1)
                self._count(1 + count)
                indices = [fields.take(1 + (flags & 1)) & (0x7FFF if flags & 1 else 0x7F) for _ in range(count)]
                found.setdefault(item, []).extend(every[index - 1] for index in indices if index)
        return found

    def _count(self, parts: int) -> None:
        self._left -= parts
        if self._left < 0:
            raise ImageError(f"damaged or hostile: more than {MOST_PARTS} parts")
