"""Files of one photograph in every format that is read, also those that Pillow does not write."""

import io
import struct
import zlib

import numpy as np
import skimage.data
from PIL import Image, ImageCms

PHOTO = Image.fromarray(skimage.data.astronaut()).resize((160, 120))
GREY = np.asarray(PHOTO.convert("L"))
COLOUR = skimage.data.astronaut()[:96, 150:294].copy()  # 96 x 144, black and white in a corner
COLOUR[:3, :3], COLOUR[:3, 3:6] = 0, 255


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def slow_jpeg(width: int = 4000, height: int = 3000, scans: int = 100) -> bytes:
    """A small progressive JPEG that takes one to two seconds to decode: its last scan comes again and again."""
    data = encode(Image.fromarray(skimage.data.coffee()).resize((width, height)), "JPEG", progressive=True)
    table = data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))  # Huffman table and scan
    return data[:-2] + data[table:-2] * scans + data[-2:]


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def with_alpha(mode: str) -> Image.Image:
    picture = PHOTO.convert(mode)
    picture.putalpha(Image.linear_gradient("L").resize(PHOTO.size))
    return picture


LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
FILES = {
    "jpeg": encode(PHOTO, "JPEG"),
    "turned jpeg": encode(PHOTO, "JPEG", exif=turned(6)),
    "turned png": encode(PHOTO, "PNG", exif=turned(5)),
    "turned tiff": encode(PHOTO, "TIFF", exif=turned(8)),
    "turned webp": encode(PHOTO, "WEBP", exif=turned(3)),
    "grey": encode(PHOTO.convert("L"), "PNG"),
    "one bit": encode(PHOTO.convert("1"), "PNG"),
    "palette": encode(PHOTO.quantize(16), "GIF"),
    "transparent palette": encode(PHOTO.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
    "transparent gif": encode(PHOTO.quantize(16), "GIF", transparency=3),
    "transparent colour": encode(PHOTO.convert("L"), "PNG", transparency=int(GREY[5, 5])),
    "rgba": encode(with_alpha("RGB"), "PNG"),
    "la": encode(with_alpha("L"), "PNG"),
    "cmyk jpeg": encode(PHOTO.convert("CMYK"), "JPEG"),
    "cmyk tiff": encode(PHOTO.convert("CMYK"), "TIFF"),
    "ycbcr": encode(PHOTO.convert("YCbCr"), "TIFF"),
    "lab": encode(ImageCms.applyTransform(PHOTO, LAB) or PHOTO, "TIFF"),
    "16 bit png": encode(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
    "16 bit tiff": encode(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"),
    "32 bit": encode(PHOTO.convert("I"), "TIFF"),
    "float": encode(Image.fromarray(GREY.astype(np.float32) / 255), "TIFF"),
    "animated": encode(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90)]),
    "mpo": encode(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
}


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def tiff(samples: bytes, width: int, height: int, bits: int, sample_format: int = 1, photometric: int = 1) -> bytes:
    """One uncompressed grey strip, little-endian: kinds of samples that Pillow reads and does not write."""
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 8 + 2 + 9 * 12 + 4,
        277: 1,
        279: len(samples),
        339: sample_format,
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + samples


def png(depth: int, colour_type: int, rows: list[bytes], width: int, transparent: bytes) -> bytes:
    """A PNG that names one transparent colour (tRNS) in its own bit depth."""

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    scanlines = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = (chunk(b"IHDR", header), chunk(b"tRNS", transparent), chunk(b"IDAT", scanlines), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bmp32(alpha: int, mask: int = 0xFF000000, header: int = 124) -> bytes:
    rows = np.concatenate([COLOUR[::-1, :, ::-1], np.full((*COLOUR.shape[:2], 1), alpha, np.uint8)], axis=2).tobytes()
    fields = struct.pack(
        "<IiiHHIIiiII", header, COLOUR.shape[1], COLOUR.shape[0], 1, 32, 3, len(rows), 2835, 2835, 0, 0
    )
    fields += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, mask)
    return b"BM" + struct.pack("<IHHI", 14 + header + len(rows), 0, 0, 14 + header) + fields.ljust(header, b"\0") + rows


def premultiplied(tiff_file: bytes) -> bytes:
    """A TIFF with alpha, its ExtraSamples saying that the colours are multiplied by it."""
    tag = struct.pack("<HHI", 338, 3, 1)
    assert tag + b"\2" in tiff_file
    return tiff_file.replace(tag + b"\2", tag + b"\1")


def write_png(values: np.ndarray, transparent: tuple[int, ...] = ()) -> bytes:
    """16-bit PNG; Pillow writes grey ones only. https://www.w3.org/TR/png-3/"""
    height, width = values.shape[:2]
    colour = {2: 0}.get(values.ndim) or {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2] if values.ndim == 3 else 1]
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([16, colour, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    named = chunk(b"tRNS", struct.pack(">3H", *transparent)) if transparent else b""
    content = chunk(b"IHDR", header) + named + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def colour_tiff(values: np.ndarray, compression: str = "raw") -> bytes:
    """16-bit RGB TIFF, which Pillow does not write: made of an 8-bit one of twice the width."""
    content = values.astype("<u2").tobytes()
    height, width = values.shape[:2]
    if compression != "raw":
        five = encode(
            Image.frombytes("RGB", (2 * width, height), content), "TIFF", compression=compression, strip_size=2**20
        )
        with Image.open(io.BytesIO(five)) as picture:
            tags = picture.tag_v2
            (offset,), (count,) = tags[273], tags[279]
        content = five[offset : offset + count]
    code = {"raw": 1, "tiff_lzw": 5}[compression]
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 250), (259, 3, 1, code), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 256), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(content))]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    return head.ljust(250, b"\0") + struct.pack("<3H", 16, 16, 16) + content
