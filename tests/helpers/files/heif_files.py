"""HEIC fixtures, and containers of their parts that no encoder writes."""

import struct
from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "fixtures" / "heic"

Item = tuple[bytes, bytes, list[bytes]]  # type, content, properties


def heic(name: str) -> bytes:
    return (FIXTURES / f"{name}.heic").read_bytes()


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def found(data: bytes, kind: bytes) -> bytes:
    """The first box of a kind, with its header."""
    at = data.index(kind) - 4
    return data[at : at + int.from_bytes(data[at : at + 4])]


def sized(data: bytes, width: int, height: int) -> bytes:
    """The same file, which says that its picture, or first part, is of another size."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def size_box(width: int, height: int) -> bytes:
    return box(b"ispe", bytes(4), struct.pack(">II", width, height))


def coded(data: bytes) -> Item:
    """The picture of a HEIC of one item."""
    return b"hvc1", found(data, b"mdat")[8:], [found(data, b"hvcC"), size_box(96, 64)]


def container(items: list[Item], references: list[tuple[bytes, int, list[int]]] = (), extents: int = 1) -> bytes:
    """A HEIC of these items, numbered from 1, which is shown; each in as many extents, all of the same bytes."""
    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    names = [
        box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), kind, b"\0")
        for number, (kind, _, _) in enumerate(items, 1)
    ]
    properties = [place for _, _, places in items for place in places]
    associated, used = b"", 0
    for number, (_, _, places) in enumerate(items, 1):
        associated += struct.pack(f">HB{len(places)}B", number, len(places), *range(used + 1, used + len(places) + 1))
        used += len(places)

    def meta(start: int) -> bytes:
        places = b""
        for number, (_, content, _) in enumerate(items, 1):
            places += struct.pack(">HHH", number, 0, extents) + struct.pack(">II", start, len(content)) * extents
            start += len(content)
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), b"\0\1"),
            box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", len(items)), places),
            box(b"iinf", bytes(4), struct.pack(">H", len(items)), *names),
            box(b"iprp", box(b"ipco", *properties), box(b"ipma", bytes(4), struct.pack(">I", len(items)), associated)),
            box(
                b"iref",
                bytes(4),
                *(box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for kind, source, to in references),
            ),
        )

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *(content for _, content, _ in items))
