"""Point 8: a scene gives the same features however it is turned in its file, and in 16 bits as in 8."""

import itertools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SPEC
from helpers.files.picture_files import chunk
from PIL import Image, TiffImagePlugin
from reliability.conftest import Count, Figure

import pipeline
from featurize.decoding.upright_rgb import ORIENTATION, UPRIGHT
from featurize.pictures.find_images import find_images

# To turn a picture and then write what a viewer must do to see it upright: the inverse of each turn.
INVERSE = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}
BLOCK = 16  # pixels: a JPEG of whole blocks can be turned without decoding it, and without loss


def scenes(photographs: Callable[[int], Path], number: int) -> list[Image.Image]:
    pictures = []
    for path in find_images(str(photographs(number))).images:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((640, 640))
        pictures.append(small.crop((0, 0, small.width // BLOCK * BLOCK, small.height // BLOCK * BLOCK)))
    return pictures


def features(paths: list[Path], tmp_path: Path, **options: object) -> np.ndarray:
    extractor = pipeline.open_extractor(str(tmp_path / "cache"), **SPEC, **options)
    outcome, rows = extractor.features([str(path) for path in paths])
    assert not outcome.failures
    return rows


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    way = UPRIGHT.get(orientation)
    return picture if way is None else picture.transpose(INVERSE.get(way, way))


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)


@pytest.mark.parametrize("isolate", [False, True], ids=["here", "isolate"])
def test_the_eight_orientations_of_a_scene_agree(
    tmp_path: Path, photographs: Callable[[int], Path], count: Count, figure: Figure, isolate: bool
) -> None:
    pictures = scenes(photographs, count(20, 3))
    kinds = {"png": {}, "webp": {"lossless": True, "exact": True}, "tif": {}, "tiff": {"compression": "tiff_lzw"}}
    paths = []
    for (number, picture), (suffix, options) in itertools.product(enumerate(pictures), kinds.items()):
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[ORIENTATION] = orientation
            paths.append(tmp_path / f"{number}-{orientation}.{suffix}")
            turned(picture, orientation).save(paths[-1], exif=exif, **options)
    rows = features(paths, tmp_path, isolate=isolate).reshape(len(pictures), len(kinds), 8, -1)
    assert np.ptp(rows[:, 0, 0], axis=0).max() > 0.01  # the scenes are different
    largest = np.abs(rows - rows[:, :1, :1]).max()
    assert largest <= 1e-4
    if not isolate:
        figure(8, f"8 orientations of {len(pictures)} scenes in PNG, WebP and TIFF: largest difference {largest:.1e}")


def test_the_eight_orientations_of_a_jpeg_agree(
    tmp_path: Path, photographs: Callable[[int], Path], count: Count, figure: Figure
) -> None:
    """Blocks of one colour each survive JPEG in whatever direction they lie."""
    pictures = scenes(photographs, count(20, 3))
    paths = []
    for number, picture in enumerate(pictures):
        blocks = picture.resize((picture.width // BLOCK, picture.height // BLOCK), Image.Resampling.BOX)
        blocks = blocks.resize(picture.size, Image.Resampling.NEAREST)
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[ORIENTATION] = orientation
            paths.append(tmp_path / f"{number}-{orientation}.jpg")
            turned(blocks, orientation).save(paths[-1], exif=exif, quality=100, subsampling=0)
    rows = features(paths, tmp_path).reshape(len(pictures), 8, -1)
    largest = np.abs(rows - rows[:, :1]).max()
    assert largest <= 1e-4
    figure(8, f"8 orientations of {len(pictures)} JPEGs: largest difference {largest:.1e}")


def test_a_wrong_turn_is_noticed(tmp_path: Path, photographs: Callable[[int], Path]) -> None:
    """So the tests above can fail."""
    (picture,) = scenes(photographs, 1)
    for number, way in enumerate([None, *UPRIGHT.values()]):
        (picture if way is None else picture.transpose(way)).save(tmp_path / f"{number}.png")
    rows = features(sorted(tmp_path.glob("*.png")), tmp_path)
    assert (np.abs(rows[1:] - rows[0]).max(1) > 1e-2).all()


def test_sixteen_bits_look_like_eight(
    tmp_path: Path, photographs: Callable[[int], Path], count: Count, figure: Figure, seed: int
) -> None:
    pictures = scenes(photographs, count(20, 3))
    random = np.random.default_rng(seed)
    paths: dict[str, list[Path]] = {}

    def add(kind: str, eight: np.ndarray, sixteen: np.ndarray, write: Callable[[np.ndarray, Path], None], suffix: str):
        both = [tmp_path / f"{kind}-{len(paths.get(kind, ()))}-{bits}.{suffix}" for bits in (8, 16)]
        Image.fromarray(eight).save(both[0])
        write(sixteen, both[1])
        paths.setdefault(kind, []).extend(both)

    for picture in pictures:
        for mode in ("L", "RGB"):
            eight = np.asarray(picture.convert(mode))
            lower = random.integers(0, 256, eight.shape, dtype=np.uint16)  # what 8 bits leave out
            sixteen = np.clip(eight.astype(np.int32) * 256 + lower, 0, 65535).astype(np.uint16)
            for suffix, write in (("png", write_png), ("tif", write_tiff)):
                add(f"{mode} {suffix}", eight, sixteen, write, suffix)
    smallest = 1.0
    for kind, files in paths.items():
        rows = features(files, tmp_path)
        found = cosines(rows[::2], rows[1::2])
        assert found.min() >= 0.999, kind
        smallest = min(smallest, float(found.min()))
    figure(
        8, f"16 bits beside 8, grey and colour, PNG and TIFF, {len(pictures)} scenes: smallest cosine {smallest:.6f}"
    )


def write_png(values: np.ndarray, path: Path) -> None:
    """16-bit PNG; Pillow writes grey ones only. https://www.w3.org/TR/png-3/"""
    height, width = values.shape[:2]
    colour = 0 if values.ndim == 2 else 2
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([16, colour, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def write_tiff(values: np.ndarray, path: Path) -> None:
    """16-bit TIFF in one strip; Pillow writes grey ones only. TIFF 6.0, Baseline."""
    height, width = values.shape[:2]
    samples = 1 if values.ndim == 2 else 3
    content = values.astype("<u2").tobytes()
    short, long, start = TiffImagePlugin.TiffTags.SHORT, TiffImagePlugin.TiffTags.LONG, 256
    entries = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, samples, 16 if samples == 1 else start - 6),
        (259, short, 1, 1),
        (262, short, 1, 1 if samples == 1 else 2),
        (273, long, 1, start),
        (277, short, 1, samples),
        (278, long, 1, height),
        (279, long, 1, len(content)),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    path.write_bytes(head.ljust(start - 6, b"\0") + struct.pack("<3H", 16, 16, 16) + content)
