"""Hostile files: photographs that come with scikit-image, damaged in many ways, and what never was a picture.

Each function yields (name, content, whether there are features); None where both would be right.
"""

import io
import itertools
import os
import random
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
from helpers.files.picture_files import chunk, encode, slow_jpeg
from PIL import Image

FOLDER = Path(skimage.__file__).parent / "data"
FORMATS = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "gif": "GIF", "webp": "WEBP", "tif": "TIFF"}

File = tuple[str, bytes, bool | None]


def make_all(folder: Path, seed: int, full: bool) -> dict[str, bool | None]:
    """Put every hostile file into `folder`: name -> whether it has features."""
    expected: dict[str, bool | None] = {}
    kinds = [cut(), swapped(seed), lies(), strange(), foreign(), small_bombs(), large_bombs() if full else ()]
    for name, content, good in itertools.chain(*kinds):
        (folder / name).write_bytes(content)
        expected[name] = good
    return expected | special(folder)


def photograph(name: str = "coffee.png") -> Image.Image:
    return Image.open(FOLDER / name).convert("RGB").resize((300, 200))


def cut() -> Iterator[File]:
    """Each format, ending too early."""
    for suffix, kind in FORMATS.items():
        data = encode(photograph(), kind)
        for part in (0.001, 0.02, 0.3, 0.6, 0.9):
            yield f"cut-{part}.{suffix}", data[: int(part * len(data))], False
    data = encode(photograph("astronaut.png"), "JPEG", progressive=True)
    yield "cut-progressive.jpg", data[: len(data) // 2], False
    yield "cut-lzw.tif", encode(photograph(), "TIFF", compression="tiff_lzw")[:5000], False


def swapped(seed: int) -> Iterator[File]:
    """Beginnings and ends of different formats, and bytes that chance has changed."""
    chance = random.Random(seed)
    beginnings = {suffix: encode(photograph(), kind)[:4] for suffix, kind in FORMATS.items()}
    for (suffix, kind), other in zip(FORMATS.items(), ("tif", "jpg", "png", "bmp", "gif", "webp"), strict=True):
        data = bytearray(encode(photograph("chelsea.png"), kind))
        yield f"as-{other}.{suffix}", beginnings[other] + bytes(data[4:]), False
        for _ in range(10):
            data[chance.randrange(len(data))] = chance.randrange(256)
        yield f"changed.{suffix}", bytes(data), None


def lies() -> Iterator[File]:
    """Headers that do not tell the truth."""
    png, gif, bmp = (encode(photograph(), kind) for kind in ("PNG", "GIF", "BMP"))
    at = png.index(b"IDAT")
    yield "crc.png", png[: at + 50] + bytes([png[at + 50] ^ 1]) + png[at + 51 :], False
    for name, size in {
        "wide": (2**31 - 1, 1),
        "square": (60_000, 60_000),
        "no": (0, 0),
        "all": (2**32 - 1,) * 2,
    }.items():
        yield f"{name}-pixels.png", png_of(*size), False
    yield "huge.gif", gif[:6] + b"\xff" * 4 + gif[10:], None
    yield "huge.bmp", bmp[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + bmp[26:], False
    yield "upwards.bmp", bmp[:22] + struct.pack("<i", -(2**31)) + bmp[26:], False
    yield "huge.jpg", resized_jpeg(65_500, 65_500), False
    yield "flat.jpg", resized_jpeg(65_500, 0), False
    yield "strips.tif", tiff_of(10, 10, strips=10**6), False
    yield "tile.tif", tiff_of(10, 10, tile=40_000), False
    yield "no-directory.tif", b"II*\0\xff\xff\xff\x7f", False
    yield "loop.tif", looping_tiff(), None
    yield "riff.webp", b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\x10\0\0\0" + b"\xff" * 6, False


def strange() -> Iterator[File]:
    """Unusual, and right."""
    picture = photograph("astronaut.png")
    yield "cmyk.jpg", encode(picture.convert("CMYK"), "JPEG"), True
    yield "sixteen.png", encode(sixteen_bits(picture), "PNG"), True
    yield "sixteen.tif", encode(sixteen_bits(picture), "TIFF"), True
    yield "floats.tif", encode(picture.convert("F"), "TIFF"), True
    yield "lab.tif", encode(Image.new("LAB", (30, 20), (90, 10, 200)), "TIFF"), True
    for suffix, size in {"pixel": (1, 1), "tall": (1, 60_000), "wide": (60_000, 1)}.items():
        yield f"{suffix}.png", encode(picture.resize(size), "PNG"), True
    frames = [photograph(name) for name in ("coffee.png", "chelsea.png", "astronaut.png")]
    for suffix, kind in {"gif": "GIF", "webp": "WEBP", "png": "PNG", "tif": "TIFF", "mpo": "MPO"}.items():
        yield f"frames.{suffix}", encode(frames[0], kind, save_all=True, append_images=frames[1:]), True
    yield "misnamed.jpg", encode(picture, "PNG"), True
    yield "trailing.jpg", encode(picture, "JPEG") + b"\0" * 10**6, True
    archive = io.BytesIO(encode(picture, "JPEG"))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("evil.py", "raise SystemExit")
    yield "archive-too.jpg", archive.getvalue(), True


def foreign() -> Iterator[File]:
    """What is no picture, or none that is opened."""
    yield "empty.jpg", b"", False
    yield "zeros.png", b"\0" * 10**5, False
    yield "text.jpg", b"These are words.\n" * 1000, False
    yield "page.jpg", b"<!DOCTYPE html><html><h1>404 Not Found</h1></html>", False
    yield "script.gif", b"GIF89a=1;alert(1)//", False
    yield "postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", False
    yield "document.png", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", False
    yield "vectors.png", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', False
    yield "archive.jpg", b"PK\x05\x06" + bytes(18), False
    yield "program.bmp", b"\x7fELF" + bytes(60), False
    yield "noise.tif", random.Random(0).randbytes(10**5), False
    yield "icon.png", encode(photograph(), "ICO"), False


def small_bombs() -> Iterator[File]:
    """Little to read, and much to do."""
    rows = zlib.compress(bytes(11_181 * 8000), 9)  # 89 megapixels in black and white
    for number in range(2):
        yield f"black-{number}.png", png_of(89_440, 8000 // 8 - number, depth=1, rows=rows), None
    yield "thin.png", png_of(80_000_000, 1, depth=1, rows=zlib.compress(bytes(10**7 + 1), 9)), False
    text = zlib.compress(bytes(10**8), 9)
    yield "text.png", png_of(10, 10, extra=chunk(b"zTXt", b"a\0\0" + text) * 5), True
    yield "scans.jpg", slow_jpeg(2000, 1500, 750), False
    yield "chunks.png", png_of(10, 10, extra=chunk(b"prVt", b"") * 250_000), False
    data = encode(photograph(), "JPEG")
    exif = b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)
    yield "exif.jpg", data[:2] + exif * 300 + data[2:], False
    yield "padding.jpg", data[:2] + b"\xff" * 10**6 + data[2:], False
    yield "lengths.bmp", rle_bmp(5000, 5000, b"\0\0" * 1000), False


def large_bombs() -> Iterator[File]:
    """As much memory as a picture may take, several times over."""
    for number, (mode, side) in enumerate({"RGB": 9400, "RGBA": 8000, "LA": 7990, "I;16": 8000}.items()):
        yield f"large-{number}.png", encode(Image.new(mode, (side, side)), "PNG", compress_level=1), True
    for number, side in enumerate((7000, 6990, 9400)):
        yield f"large-{number}.webp", encode(Image.new("RGB", (side, side)), "WEBP", method=0), side < 9000
    for number, side in enumerate((9300, 9290)):
        picture = Image.new("RGB", (side, side))
        yield f"large-{number}.jpg", encode(picture.convert("CMYK"), "JPEG", progressive=True, subsampling=0), True
        yield f"large-{number}.bmp", encode(picture, "BMP"), True
        yield f"large-{number}.tif", encode(picture, "TIFF", compression="tiff_lzw"), True


def special(folder: Path) -> dict[str, bool | None]:
    """What is no regular file, or none that can be read: nothing has features."""
    os.mkfifo(folder / "fifo.jpg")
    here = os.open(".", os.O_RDONLY)
    os.chdir(folder)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket.jpg")
    finally:
        os.fchdir(here)
        os.close(here)
    (folder / "folder.jpg").mkdir()
    targets = {
        "nowhere": "missing.jpg",
        "loop": "loop.jpg",
        "zero": "/dev/zero",
        "terminal": "/dev/tty",
        "pages": "/proc/self/pagemap",
        "log": "/proc/kmsg",
        "memory": "/proc/self/mem",
        "maps": "/proc/self/maps",
        "self": ".",
    }
    for name, target in targets.items():
        (folder / f"{name}.jpg").symlink_to(target)
    with (folder / "sparse.tif").open("wb") as file:
        file.truncate(100 * 2**30)
    with (folder / "zeros.tif").open("wb") as file:
        file.truncate(100 * 2**20)
    (folder / "secret.jpg").write_bytes(encode(photograph(), "JPEG"))
    (folder / "secret.jpg").chmod(0)
    names = ("fifo.jpg", "socket.jpg", "folder.jpg", *(f"{name}.jpg" for name in targets), "sparse.tif", "zeros.tif")
    return dict.fromkeys(names, False) | {"secret.jpg": os.geteuid() == 0}


def sixteen_bits(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def png_of(width: int, height: int, depth: int = 8, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A grey PNG of that size, black if no `rows` are given and it is small."""
    rows = rows or zlib.compress(bytes(min(10**6, height * (width * depth // 8 + 1))))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def resized_jpeg(width: int, height: int) -> bytes:
    data = encode(photograph(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def tiff_of(width: int, height: int, strips: int = 1, tile: int = 0) -> bytes:
    """A grey TIFF, in strips of no compression, or in tiles of deflate."""
    content = zlib.compress(bytes(tile * tile), 1) if tile else b"\1\0" * strips
    places = [(322, tile), (323, tile), (324, 200), (325, len(content))] if tile else [(273, 200), (278, 1), (279, 200)]
    entries = [(256, width), (257, height), (258, 8), (259, 8 if tile else 1), (262, 1), (277, 1), *places]
    table = b"".join(
        struct.pack("<HHII", tag, 3, strips, value) if tag in (273, 279) else struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in sorted(entries)
    )
    return (b"II*\0" + struct.pack("<IH", 8, len(entries)) + table).ljust(200, b"\0") + content


def looping_tiff() -> bytes:
    """A TIFF whose first page is followed by itself."""
    data = bytearray(encode(photograph(), "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    return bytes(data)


def rle_bmp(width: int, height: int, lengths: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(lengths), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + lengths
