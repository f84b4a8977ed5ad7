"""Pictures of every kind become the same upright, opaque 8-bit RGB."""

import io

import numpy as np
import pytest
import skimage.data
from helpers.files.picture_files import encode, png, tiff
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageChops, ImageCms, ImageOps

from featurize.decoding.levels import agreed_white, to_8bit
from featurize.decoding.upright_rgb import upright
from featurize.pictures.find_images import ImageError

# pytest sets the filters of warnings for each test and so undoes those of the decoder.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")

PHOTO = Image.fromarray(skimage.data.astronaut()).crop((150, 0, 294, 96))  # 144 x 96: face and rocket, wider than high
GREY = PHOTO.convert("L")
WHITE = (255, 255, 255)


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(upright(picture).rgb)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


# --- orientation ---

TURNED = {  # how a camera stores the upright picture under each EXIF orientation
    1: PHOTO,
    2: ImageOps.mirror(PHOTO),
    3: PHOTO.rotate(180),
    4: ImageOps.flip(PHOTO),
    5: ImageOps.mirror(PHOTO.rotate(-90, expand=True)),
    6: PHOTO.rotate(90, expand=True),
    7: ImageOps.mirror(PHOTO.rotate(90, expand=True)),
    8: PHOTO.rotate(-90, expand=True),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
    ],
)
def test_every_orientation_shows_the_same_scene(kind: str, options: dict[str, object], orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    shown = pixels(encode(TURNED[orientation], kind, exif=exif, **options))
    assert shown.shape == (96, 144, 3)
    assert difference(shown, np.asarray(PHOTO)) <= (2 if kind == "JPEG" else 0)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_unreadable_exif_counts_as_none(exif: bytes) -> None:
    assert np.array_equal(pixels(encode(PHOTO, "PNG", exif=exif)), np.asarray(PHOTO))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_counts_as_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    assert np.array_equal(pixels(encode(PHOTO, "PNG", exif=exif)), np.asarray(PHOTO))


# --- grey, palettes, other colour spaces ---


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_grey_has_three_equal_channels(kind: str) -> None:
    assert np.array_equal(pixels(encode(GREY, kind)), np.asarray(GREY.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    shown = pixels(encode(PHOTO.convert("1"), kind))
    assert set(np.unique(shown)) == {0, 255}
    assert np.array_equal(shown[:, :, 0] == 255, np.asarray(PHOTO.convert("1")))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_palette_colours_are_looked_up(kind: str) -> None:
    palette = PHOTO.quantize(64)
    assert np.array_equal(pixels(encode(palette, kind)), np.asarray(palette.convert("RGB")))


def test_cmyk_keeps_its_colours_with_and_without_the_inversion_of_adobe() -> None:
    cmyk = PHOTO.convert("CMYK")
    assert difference(pixels(encode(cmyk, "TIFF")), np.asarray(PHOTO)) == 0
    assert difference(pixels(encode(cmyk, "JPEG", quality=100, subsampling=0)), np.asarray(PHOTO)) < 2


def test_ycbcr_and_lab_keep_their_colours() -> None:
    assert difference(pixels(encode(PHOTO.convert("YCbCr"), "TIFF")), np.asarray(PHOTO)) < 2
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(PHOTO, to_lab)
    assert lab is not None
    assert difference(pixels(encode(lab, "TIFF")), np.asarray(PHOTO)) < 2


# --- transparency ---


def expected_on_white(alpha: Image.Image) -> np.ndarray:
    part = np.asarray(alpha)[:, :, None] / 255
    return np.rint(np.asarray(PHOTO) * part + 255 * (1 - part)).astype(np.uint8)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_transparency_is_laid_on_white(kind: str, options: dict[str, object]) -> None:
    picture = PHOTO.copy()
    alpha = Image.linear_gradient("L").resize(PHOTO.size)
    picture.putalpha(alpha)
    shown = pixels(encode(picture, kind, **options))
    assert np.abs(shown.astype(int) - expected_on_white(alpha)).max() <= 1


def test_hidden_colours_under_transparent_pixels_stay_hidden() -> None:
    hidden = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (pixels(encode(hidden, "PNG")) == 255).all()
    assert (pixels(encode(Image.new("LA", (8, 8), (0, 0)), "PNG")) == 255).all()


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "LA", "RGBA"])
def test_every_mode_with_transparency_is_laid_on_white(mode: str) -> None:
    half = Image.new("LA", (4, 4), (100, 128))
    picture = half.convert("La") if mode == "La" else half.convert("RGBA").convert(mode)
    assert difference(np.asarray(upright(picture).rgb), np.full((4, 4, 3), 177)) <= 1


def test_transparent_palette_entries_are_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert pixels(encode(palette, "PNG", transparency=0)).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    assert pixels(encode(palette, "GIF", transparency=0)).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    half = pixels(encode(palette, "PNG", transparency=b"\x80\xff")).tolist()
    assert half == [[[255, 127, 127], [0, 0, 255]]]


@pytest.mark.parametrize(
    ("depth", "colour_type", "row", "transparent", "shown"),
    [
        (1, 0, b"\x40", b"\0\1", [0, 255]),  # samples 0 1, the 1 transparent: white as it was
        (1, 0, b"\x40", b"\0\0", [255, 255]),
        (2, 0, b"\x60", b"\0\1", [255, 170]),  # samples 1 2
        (4, 0, b"\x5a", b"\0\5", [255, 170]),  # samples 5 10
        (8, 0, b"\x05\xaa", b"\0\5", [255, 170]),
        (16, 0, b"\x12\x34\xaa\xaa", b"\x12\x34", [255, 170]),
        (8, 2, b"\1\2\3\4\5\6", b"\0\1\0\2\0\3", [WHITE, (4, 5, 6)]),
        (16, 2, b"\1\1\2\2\3\3\4\4\5\5\6\6", b"\1\1\2\2\3\3", [WHITE, (4, 5, 6)]),
    ],
)
def test_the_one_transparent_colour_of_a_png_is_white_at_every_depth(
    depth: int, colour_type: int, row: bytes, transparent: bytes, shown: list[object]
) -> None:
    result = pixels(png(depth, colour_type, [row], 2, transparent))
    assert np.array_equal(result, np.broadcast_to(np.array(shown).reshape(1, 2, -1), (1, 2, 3)))


# --- more than 8 bits ---


def test_sixteen_bits_agree_with_eight() -> None:
    eight = np.asarray(GREY)
    sixteen = eight.astype("<u2") * 257
    for data in (
        encode(Image.fromarray(sixteen), "PNG"),
        encode(Image.fromarray(sixteen), "TIFF"),
        encode(Image.fromarray(sixteen), "TIFF", compression="tiff_adobe_deflate"),
        encode(Image.frombytes("I;16B", GREY.size, sixteen.astype(">u2").tobytes()), "TIFF"),
        tiff(sixteen.tobytes(), *GREY.size, 16),
        tiff((65535 - sixteen).tobytes(), *GREY.size, 16, photometric=0),
        tiff((sixteen // 2).astype("<i2").tobytes(), *GREY.size, 16, sample_format=2),
        tiff((eight.astype("<u4") * 16843009).tobytes(), *GREY.size, 32),
        tiff((eight.astype("<i4") * 8421504).tobytes(), *GREY.size, 32, sample_format=2),
        tiff((eight.astype("<i4") * 257).tobytes(), *GREY.size, 32, sample_format=2),
        tiff(eight.astype("<i4").tobytes(), *GREY.size, 32, sample_format=2),
        tiff((eight / 255).astype("<f4").tobytes(), *GREY.size, 32, sample_format=3),
        tiff((1 - eight / 255).astype("<f4").tobytes(), *GREY.size, 32, sample_format=3, photometric=0),
        tiff(eight.astype("<f4").tobytes(), *GREY.size, 32, sample_format=3),
    ):
        assert np.array_equal(pixels(data), np.asarray(GREY.convert("RGB")))


def test_sixteen_bit_colour_agrees_with_eight() -> None:
    rows = [bytes(np.repeat(row.ravel(), 2)) for row in np.asarray(PHOTO)]  # v, v: 257 times v, big-endian
    data = png(16, 2, rows, PHOTO.width, b"\0\0\0\0\0\1")
    assert np.array_equal(pixels(data), np.asarray(PHOTO))


def test_twelve_bits_are_scaled_by_what_twelve_bits_hold() -> None:
    packed = bytes.fromhex("fff000800111")
    assert pixels(tiff(packed, 4, 1, 12))[0, :, 0].tolist() == [255, 0, 128, 17]


def test_a_dark_sixteen_bit_picture_stays_dark() -> None:
    assert pixels(encode(Image.fromarray(np.full((2, 2), 514, np.uint16)), "PNG")).max() == 2


def test_negative_numbers_are_black() -> None:
    data = tiff(np.array([-5, 200], "<i4").tobytes(), 2, 1, 32, sample_format=2)
    assert pixels(data)[0, :, 0].tolist() == [0, 200]


def test_floats_of_no_agreed_range_are_stretched() -> None:
    phase = np.linspace(-np.pi, np.pi, 256, dtype="<f4")
    data = tiff(phase.tobytes(), 256, 1, 32, sample_format=3)
    assert np.abs(pixels(data)[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    constant = tiff(np.full(4, -7, "<f4").tobytes(), 2, 2, 32, sample_format=3)
    assert pixels(constant).max() == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_floats_without_any_value_are_refused(bad: float) -> None:
    data = tiff(np.array([bad, bad], "<f4").tobytes(), 2, 1, 32, sample_format=3)
    with pytest.raises(ImageError, match="NaN or infinite values, and no other"):
        pixels(data)


def test_the_white_of_floats() -> None:
    assert agreed_white(0, 1) == 1
    assert agreed_white(-0.02, 1.03) == 1  # cubic resizing overshoots
    assert agreed_white(0, 1.2) == 255
    assert agreed_white(-9, 260) == 255
    assert agreed_white(-1, 1) is None
    assert agreed_white(0, 4095) is None


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 1100), st.integers(1, 4))))
def test_scaling_up_and_down_again_changes_nothing(values: np.ndarray) -> None:
    assert np.array_equal(to_8bit(values.astype(np.uint16) * 257, 0, 65535), values)
    assert np.array_equal(to_8bit(values / 255, 0, 1), values)
    assert np.array_equal(to_8bit(values.astype(np.float32) - 100, -100, 155), values)


# --- several frames ---


@pytest.mark.parametrize(
    ("kind", "options"),
    [("GIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {}), ("MPO", {"quality": 95})],
)
def test_the_first_frame_is_taken(kind: str, options: dict[str, object]) -> None:
    frames = [PHOTO, ImageChops.invert(PHOTO)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as picture:
        assert getattr(picture, "n_frames", 1) == 2
    assert difference(pixels(data), np.asarray(PHOTO)) < {"GIF": 12, "MPO": 3}.get(kind, 0.001)


# --- limits ---


def test_too_many_pixels_are_refused_before_any_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(PHOTO, "BMP")[:100]  # whoever reads a pixel of this gets another error
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 144 * 96 - 1)
    with pytest.raises(ImageError, match=r"decompression bomb\? 144x96 pixels, more than 13823"):
        pixels(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 144 * 96)
    with pytest.raises(OSError, match="truncated"):
        pixels(data)


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="0x5 pixels"):
        upright(Image.new("RGB", (0, 5)))
