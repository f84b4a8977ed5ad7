"""Files that every viewer shows are decoded, and said to be unusual; files that lack pixels are refused."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from helpers.files.picture_files import chunk, encode
from PIL import Image

from featurize.decoding.decode import NetworkInput, decode, decode_views, decode_within
from featurize.decoding.isolation import isolated_decoder
from featurize.pictures.find_images import ImageError

PHOTO = Image.fromarray(skimage.data.coffee()).resize((160, 107))
SIZE = (107, 160)
KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "444": {"quality": 95, "subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "grey": {},
}
NOTE = "JPEG without its end marker, all pixels are there"


def jpeg(kind: str) -> bytes:
    return encode(PHOTO.convert("L") if kind == "grey" else PHOTO, "JPEG", **KINDS[kind])


def damaged_png(kind: bytes, body: bytes) -> bytes:
    """A PNG with a chunk whose checksum is wrong."""
    data = encode(PHOTO, "PNG")
    return data[:33] + chunk(kind, body)[:-4] + b"\0\1\2\3" + data[33:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_is_whole(kind: str, missing: int) -> None:
    decoded = decode_views(jpeg(kind)[:-missing], SIZE)
    assert decoded.note == NOTE
    assert np.array_equal(decoded.pixels, decode_views(jpeg(kind), SIZE).pixels)
    assert decode_within(jpeg(kind)[:-missing], 50).width == 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_a_pixel_is_refused(kind: str) -> None:
    data = jpeg(kind)
    for missing in (*range(3, 40), 200, 1000, len(data) // 2):
        with pytest.raises(ImageError, match="truncated"):
            decode(data[:-missing], SIZE)


def test_a_progressive_jpeg_that_lacks_a_scan_is_refused() -> None:
    data = jpeg("progressive")
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert len(scans) > 5
    for start in scans[1:]:
        end = data.rindex(b"\xff\xc4", 0, start) if b"\xff\xc4" in data[start - 200 : start] else start
        for cut in (start, end):
            with pytest.raises(ImageError, match="truncated"):
                decode(data[:cut], SIZE)


def test_it_is_compared_within_the_limit_of_memory() -> None:
    data = jpeg("baseline")[:-2]
    asked: list[int] = []
    decode(data, (8, 8), reserve=asked.append)
    assert max(asked) > 8 * 160 * 107

    def little(size: int) -> None:
        if size > 50_000:
            raise ImageError("too much")

    decode(data + b"\xff\xd9", (8, 8), reserve=little)
    with pytest.raises(ImageError, match="too much"):
        decode(data, (8, 8), reserve=little)


def test_a_process_of_its_own_may_ask_for_memory_again() -> None:
    large = encode(Image.fromarray(skimage.data.coffee()).resize((3000, 2000)), "JPEG")
    asked: list[int] = []
    with isolated_decoder() as decoder:
        (decoded,) = decoder(large[:-2], [NetworkInput((50, 50))], asked.append).values()
    assert decoded.note == NOTE and len(asked) > 1
    assert np.array_equal(decoded.pixels[0], decode(large, (50, 50)))


@pytest.mark.parametrize(
    ("kind", "body"),
    [(b"pHYs", bytes(9)), (b"tEXt", b"a\0b"), (b"eXIf", b"MM\0*"), (b"gAMA", bytes(4)), (b"prVt", b"words")],
)
def test_a_png_is_read_without_a_damaged_chunk_that_holds_no_pixels(kind: bytes, body: bytes) -> None:
    decoded = decode_views(damaged_png(kind, body), SIZE)
    assert decoded.note == f"PNG with a wrong checksum in {kind.decode()}: read without"
    assert np.array_equal(decoded.pixels[0], decode(encode(PHOTO, "PNG"), SIZE))


DECISIVE = [(b"tRNS", bytes(6)), (b"PLTE", bytes(768)), (b"IDAT", b"x"), (b"\0aaa", b"")]


@pytest.mark.parametrize(("kind", "body"), DECISIVE)
def test_a_png_with_a_damaged_chunk_that_may_change_pixels_is_refused(kind: bytes, body: bytes) -> None:
    with pytest.raises(ImageError, match="PNG"):
        decode(damaged_png(kind, body), SIZE)


def test_the_shared_cases(shared: Path) -> None:
    folder = shared / "cases" / "images"
    if not folder.exists():
        pytest.skip("the shared folder holds no such cases")
    reference = decode((folder / "reference.png").read_bytes(), (96, 144)).astype(int)
    for name in ("jpeg_without_end_marker.jpg", "png_bad_crc_in_pHYs.png"):
        decoded = decode_views((folder / name).read_bytes(), (96, 144))
        assert decoded.note and np.abs(decoded.pixels[0] - reference).mean() < 4, name
