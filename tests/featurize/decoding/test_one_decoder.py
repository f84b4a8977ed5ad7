"""A file, its bytes, a PIL image of it: the same pixels, whatever the program that asks has set in Pillow."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from conftest import REPOSITORY
from helpers.files.picture_files import FILES, PHOTO, bmp32, colour_tiff, encode, png, turned, write_png
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from cache.errors import UserError
from featurize.decoding.decode import decode_views
from featurize.pictures.find_images import ImageError, find_images
from featurize.pictures.sources import Source, bytes_of, expand

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LARGE = Image.fromarray(skimage.data.astronaut()).resize((1600, 1200))
COLOURS = np.asarray(PHOTO)
SIZE = 60, 80  # large JPEGs are reduced by their decoder


def two_bits(depth: int) -> bytes:
    """A grey PNG of few bits, one value of which is transparent."""
    rows = [bytes(range(row, row + 64)) for row in range(48)]
    return png(depth, 0, rows, 64 * 8 // depth, b"\0\1")


KINDS = FILES | {
    "large jpeg": encode(LARGE, "JPEG"),
    "large progressive jpeg": encode(LARGE, "JPEG", progressive=True),
    "large grey jpeg": encode(LARGE.convert("L"), "JPEG"),
    "large cmyk jpeg": encode(LARGE.convert("CMYK"), "JPEG"),
    "large turned jpeg": encode(LARGE, "JPEG", exif=turned(8)),
    "png of 1 bit with tRNS": two_bits(1),
    "png of 2 bits with tRNS": two_bits(2),
    "png of 4 bits with tRNS": two_bits(4),
    "png of 8 bits with tRNS": two_bits(8),
    "png of 16 bits with tRNS": write_png(COLOURS * 257.0, tuple(int(v) * 257 for v in COLOURS[5, 5])),
    "png of 16 bits": write_png(COLOURS * 257.0),
    "png of 16 bits with alpha": write_png(np.concatenate([COLOURS * 257.0, COLOURS[:, :, :1] * 257.0], axis=2)),
    "grey png of 12 bits": write_png(COLOURS[:, :, 0] * 16.0),
    "png of 12 bits": write_png(COLOURS * 16.0),
    "tiff of 12 bits": colour_tiff(COLOURS * 16.0),
    "lzw tiff": encode(PHOTO, "TIFF", compression="tiff_lzw"),
    "jpeg tiff": encode(PHOTO, "TIFF", compression="jpeg"),
    "two pages": encode(PHOTO, "TIFF", save_all=True, append_images=[PHOTO.rotate(180)]),
    "webp": encode(PHOTO, "WEBP"),
    "animated webp": encode(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(180)]),
    "bmp": encode(PHOTO, "BMP"),
    "bmp with unused alpha": bmp32(0),
    "interlaced gif": encode(PHOTO.quantize(64), "GIF", interlace=True),
}


def pixels(source: Source) -> np.ndarray:
    return decode_views(bytes_of(source), SIZE).pixels[0].astype(int)


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_that_is_opened_and_not_touched_is_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(KINDS[name])
    expected = pixels(str(path))
    with Image.open(path) as from_path, Image.open(io.BytesIO(KINDS[name])) as from_memory:
        position = from_path.fp.tell()
        assert expand([str(path), KINDS[name], from_path, from_memory])[1:] == [KINDS[name]] * 3
        assert from_path.fp.tell() == position
        assert np.array_equal(pixels(KINDS[name]), expected)
        from_path.load()  # it still can be


# Of a loaded picture the file is gone: what is in memory counts. A large JPEG is not reduced by its decoder then, and
# of 16-bit colours Pillow has kept the upper 8 bits.
REDUCED = [name for name in KINDS if "large" in name]
LOST = ("png of 12 bits", "tiff of 12 bits")


@pytest.mark.parametrize("name", [name for name in KINDS if name not in LOST])
def test_a_loaded_picture_has_the_pixels_of_its_file(name: str) -> None:
    with Image.open(io.BytesIO(KINDS[name])) as picture:
        picture.load()
        info = dict(picture.info)
        (data,) = expand(picture)
        assert expand(picture) == [data]
        assert picture.info == info
    assert isinstance(data, bytes)
    assert data.startswith(b"BM")
    apart = np.abs(pixels(data) - pixels(KINDS[name]))
    assert apart.max() <= 30 * (name in REDUCED)
    assert apart.mean() <= 1.5 * (name in REDUCED)


CREATED = {
    "1": PHOTO.convert("1"),
    "L": PHOTO.convert("L"),
    "P": PHOTO.quantize(32),
    "RGB": PHOTO,
    "LA": PHOTO.convert("LA"),
    "RGBA": PHOTO.convert("RGBA").rotate(20),
    "I;16": Image.fromarray(COLOURS[:, :, 0].astype(np.uint16) * 16),
    "I": Image.fromarray(COLOURS[:, :, 0].astype(np.int32) * 16),
    "F": Image.fromarray(COLOURS[:, :, 0] / np.float32(255)),
    "dark I": Image.fromarray(COLOURS[:, :, 0].astype(np.int32) // 9 * 257),
}


@pytest.mark.parametrize("name", CREATED)
def test_a_picture_in_memory_has_the_pixels_of_the_file_that_pillow_makes_of_it(name: str) -> None:
    (data,) = expand(CREATED[name])
    kind = "TIFF" if CREATED[name].mode in ("I", "F") else "PNG"
    assert np.array_equal(pixels(data), pixels(encode(CREATED[name], kind)))


@pytest.mark.parametrize(
    "touch",
    [
        lambda picture: picture.draft("L", (160, 120)),
        lambda picture: picture.info.update(transparency=7),
        lambda picture: picture.getexif().update({274: 3}),
        lambda picture: picture.thumbnail((50, 50)),
        lambda picture: picture.paste((1, 2, 3), (0, 0, 50, 50)),
    ],
)
def test_a_picture_that_was_changed_is_not_its_file(touch: object) -> None:
    with Image.open(io.BytesIO(KINDS["large jpeg"])) as picture:
        touch(picture)  # type: ignore[operator]
        (data,) = expand(picture)
        assert isinstance(data, bytes)
        assert data.startswith(b"BM")


def test_another_frame_is_not_the_first() -> None:
    for name in ("animated", "two pages", "mpo", "animated webp"):
        with Image.open(io.BytesIO(KINDS[name])) as picture:
            picture.seek(1)
            (data,) = expand(picture)
            assert isinstance(data, bytes)
            assert data.startswith(b"BM"), name


def test_the_hostile_files_too(shared: Path) -> None:
    compared = 0
    for path in find_images(str(shared / "images" / "hostile")).images:
        try:
            expected = pixels(path)
            with Image.open(path) as picture:
                (data,) = expand(picture)
        except (ImageError, ValueError):  # the latter where Pillow itself refuses a text
            continue
        assert np.array_equal(pixels(data), expected), path
        compared += 1
    assert compared >= 40


# --- whatever the program has set ---

TRUNCATED = {
    name: KINDS[name][: int(len(KINDS[name]) * 0.6)]
    for name in ("large jpeg", "large progressive jpeg", "rgba", "palette", "bmp", "webp", "lzw tiff", "16 bit tiff")
}


def outcome(data: bytes) -> bytes | str:
    try:
        return decode_views(data, SIZE).pixels.tobytes()
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (ImageFile, "LOAD_TRUNCATED_IMAGES", True),
        (ImageFile, "MAXBLOCK", 10),
        (ImageFile, "MAXBLOCK", 2**26),
        (ImageFile, "SAFEBLOCK", 100),
        (PngImagePlugin, "MAX_TEXT_CHUNK", 10),
        (PngImagePlugin, "MAX_TEXT_MEMORY", 10),
        (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS),
        (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_AFTER_DIFFERENT_PALETTE_ONLY),
        (BmpImagePlugin, "USE_RAW_ALPHA", True),
        (TiffImagePlugin, "READ_LIBTIFF", True),
        (Image, "WARN_POSSIBLE_FORMATS", True),
        (Image, "MAX_IMAGE_PIXELS", None),
    ],
)
def test_settings_of_pillow_change_nothing(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: object
) -> None:
    raw_alpha = bytearray(bmp32(77))
    raw_alpha[30] = 0  # no masks: the fourth byte is nothing
    files = [*KINDS.values(), *TRUNCATED.values(), bytes(raw_alpha)]
    expected = [outcome(data) for data in files]
    assert sum(isinstance(one, str) for one in expected) == len(TRUNCATED)
    monkeypatch.setattr(module, name, value)
    assert [outcome(data) for data in files] == expected
    assert bool(getattr(module, name)) == bool(value)


def test_the_program_that_set_it_still_gets_half_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    half = TRUNCATED["large jpeg"]
    assert "truncated" in str(outcome(half))
    Image.open(io.BytesIO(half)).load()


def test_a_setting_that_changes_meanwhile_fails_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    load = JpegImagePlugin.JpegImageFile.load

    def setting(picture: JpegImagePlugin.JpegImageFile) -> object:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        return load(picture)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", setting)
    assert "LOAD_TRUNCATED_IMAGES while this picture was decoded" in str(outcome(KINDS["jpeg"]))


def test_plug_ins_that_take_over_a_format_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {name: outcome(data) for name, data in KINDS.items()}

    def mine(*_: object) -> Image.Image:
        return Image.new("RGB", (9, 9), "red")

    for kind in ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF"):
        monkeypatch.setitem(Image.OPEN, kind, (mine, None))
    assert {name: outcome(data) for name, data in KINDS.items()} == expected
    monkeypatch.setitem(Image.DECODERS, "jpeg", ImageFile.PyDecoder)
    assert "a plug-in of Pillow has replaced its decoder of jpeg" in str(outcome(KINDS["jpeg"]))


HOST = """
import sys
from PIL import ImageFile
ImageFile.LOAD_TRUNCATED_IMAGES = True
import pipeline
report = pipeline.features(sys.argv[1], backbone="nano", cache_dir=sys.argv[2])
print(report["computed"], report["failed"])
"""


def test_no_row_of_half_a_picture_is_cached(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "half.jpg").write_bytes(TRUNCATED["large jpeg"])
    (tmp_path / "data" / "whole.jpg").write_bytes(KINDS["jpeg"])
    command = [sys.executable, "-c", HOST, str(tmp_path / "data"), str(tmp_path / "cache")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY, env=os.environ)
    assert run.stdout.split() == ["1", "1"]


# --- arrays of one call ---


def test_a_dark_frame_of_a_batch_is_as_dark_as_it_is() -> None:
    batch = np.stack([COLOURS, COLOURS // 255, np.zeros_like(COLOURS)]).astype(np.float32)
    for images in (batch, list(batch), tuple(batch)):
        shown = [pixels(data) for data in expand(images)]
        assert np.abs(shown[0] - pixels(encode(PHOTO, "PNG"))).max() == 0
        assert shown[1].max() <= 1
        assert shown[2].max() == 0
    assert pixels(expand(batch[1])[0]).max() > 100  # alone nobody can know: floats of 0..1


def test_what_the_batch_decides_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "bottleneck"):
        expand([COLOURS.astype(np.float32), COLOURS / 255, COLOURS / 255])
    assert "2 pictures such as image 2: floats of 0..1, read in 0..255 as those beside it" in caplog.text


def test_arrays_of_sixteen_bits_are_read_as_files_of_sixteen_bits() -> None:
    for times in (1, 7, 16, 200, 257):
        for values in (COLOURS, COLOURS[:, :, 0]):
            wide = values.astype(np.uint16) * times
            (data,) = expand(wide)
            assert np.array_equal(pixels(data), pixels(write_png(wide))), times
    dark, bright = COLOURS.astype(np.uint16), COLOURS.astype(np.uint16) * 16
    shown = [pixels(data) for data in expand([dark, bright])]
    assert shown[0].max() <= 16
    assert np.abs(shown[1] - pixels(encode(PHOTO, "PNG"))).max() <= 1


def test_the_bad_array_of_a_list_is_named() -> None:
    with pytest.raises(UserError, match=r"image 1 of the list: no image: array of shape .* NaN"):
        expand([COLOURS, np.full((4, 4), np.nan)])
