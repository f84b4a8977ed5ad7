"""Pictures of more than 8 bits look like their 8-bit version: no-data values, 10 to 14 bits, dark ones, counts."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from helpers.files.picture_files import COLOUR, bmp32, colour_tiff, encode, premultiplied, tiff, write_png
from PIL import Image

from featurize.decoding.decode import Decoded, decode_views

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

GREY = np.asarray(Image.fromarray(COLOUR).convert("L"))
SIZE = GREY.shape


def shown(data: bytes, decoder: int = 3) -> tuple[np.ndarray, Decoded]:
    decoded = decode_views(data, SIZE, "nearest", decoder=decoder)
    return decoded.pixels[0].astype(int), decoded


def sixteen(values: np.ndarray) -> bytes:
    return encode(Image.fromarray(values.astype(np.uint16)), "TIFF")


def floats(values: np.ndarray) -> bytes:
    return encode(Image.fromarray(values.astype(np.float32)), "TIFF")


def signed(values: np.ndarray, bits: int) -> bytes:
    return tiff(values.astype(f"<i{bits // 8}").tobytes(), values.shape[1], values.shape[0], bits, sample_format=2)


def with_one(values: np.ndarray, number: float) -> np.ndarray:
    changed = values.copy()
    changed[10, 20] = number
    return changed


def assert_like_grey(data: bytes, apart: float = 1, but: tuple[int, int] | None = (10, 20)) -> Decoded:
    pixels, decoded = shown(data)
    difference = np.abs(pixels - GREY[:, :, None])
    if but:
        assert not pixels[but].any()  # no data is black
        difference[but] = 0
    assert difference.max() <= apart
    return decoded


# --- no data ---


@pytest.mark.parametrize("number", [-9999, -32768, 1e20, -3.4028234663852886e38, 9.96921e36, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("white", [1, 255])
def test_one_float_without_data_leaves_the_others_as_they_are(number: float, white: int) -> None:
    decoded = assert_like_grey(floats(with_one(GREY / 255 * white, number)))
    assert "1 number without data" in decoded.note
    assert f"scaled from 0 to {white}" in decoded.note
    assert decoded.changed == "float numbers"


def test_a_quarter_of_a_picture_without_data_too() -> None:
    values = GREY / 255
    values[:24] = -9999
    pixels, decoded = shown(floats(values))
    assert not pixels[:24].any()
    assert np.abs(pixels[24:] - GREY[24:, :, None]).max() <= 1
    assert f"{24 * 144} numbers without data (-9999) left out" in decoded.note


@pytest.mark.parametrize("bits", [16, 32])
def test_signed_integers_without_data(bits: int) -> None:
    for number in (-9999, -32768, *([2**31 - 1, -(2**31)] if bits == 32 else [])):
        assert "1 number without data" in assert_like_grey(signed(with_one(GREY.astype(int), number), bits)).note
        twelve = with_one(GREY.astype(int) * 16, number)
        assert "read as 12-bit numbers, the largest is 4080" in assert_like_grey(signed(twelve, bits)).note


def test_the_last_number_of_sixteen_bits_among_those_of_twelve() -> None:
    assert "(65535) left out" in assert_like_grey(sixteen(with_one(GREY.astype(int) * 16, 65535))).note


def test_the_value_that_a_file_names_is_no_data() -> None:
    values = with_one(GREY / 255 * 0.8 + 0.1, 0.97)
    info = Image.Exif()
    info[42113] = "0.97 "
    named = encode(Image.fromarray(values.astype(np.float32)), "TIFF", tiffinfo=info)
    assert not shown(named)[0][10, 20].any()
    assert shown(floats(values))[0][10, 20].all()
    info[42113] = "what?"
    assert shown(encode(Image.fromarray(values.astype(np.float32)), "TIFF", tiffinfo=info))[0][10, 20].all()


def test_a_few_spikes_do_not_decide_how_the_others_look() -> None:
    values = GREY / 255
    values[10, 20], values[50, 60], values[70, 3] = 5, 12.5, -0.8
    assert_like_grey(floats(values), but=None, apart=255)  # it decodes
    pixels, decoded = shown(floats(values))
    difference = np.abs(pixels - GREY[:, :, None])
    assert (difference.max(axis=2) > 1).sum() <= 3
    assert "numbers from -0.8 to 12.5" in decoded.note


def test_a_few_bright_dots_on_black_are_the_picture() -> None:
    stars = np.zeros(SIZE)
    stars[10, 20], stars[50, 60], stars[70, 3] = 1000, 2000, 4000
    pixels, _ = shown(floats(stars))
    assert [pixels[10, 20, 0], pixels[50, 60, 0], pixels[70, 3, 0]] == [64, 128, 255]


def test_heights_are_stretched_over_what_they_have() -> None:
    heights = 200 + GREY * 11.0
    pixels, decoded = shown(floats(with_one(heights, -9999)))
    expected = (GREY - GREY.min()) * (255 / np.ptp(GREY))
    expected[10, 20] = 0
    assert np.abs(pixels[:, :, 0] - expected).max() <= 1
    assert "scaled from 200 to 3005; 1 number without data (-9999)" in decoded.note


def test_nothing_but_no_data_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinite values, and no other"):
        shown(floats(np.full(SIZE, np.nan)))


def test_two_tones_are_no_missing_data() -> None:
    tones = np.where(GREY > 100, 32767, 0)
    assert np.array_equal(shown(signed(tones, 16))[0][:, :, 0], np.where(GREY > 100, 255, 0))
    masked = np.where(GREY > 100, 1.0, 0)
    assert np.array_equal(shown(floats(masked))[0][:, :, 0], np.where(GREY > 100, 255, 0))


# --- bits ---


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("full", [0.85, 0.93, 1])
def test_fewer_bits_in_sixteen_are_as_bright_as_they_are_meant(bits: int, full: float) -> None:
    values = np.rint(GREY / 255 * full * (2**bits - 1))
    expected = GREY * full
    for data in (sixteen(values), write_png(values), signed(values, 16), signed(values, 32)):
        pixels, decoded = shown(data)
        assert np.abs(pixels - expected[:, :, None]).max() <= 1
        assert f"read as {bits}-bit numbers" in decoded.note
        assert decoded.changed


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_colours_of_fewer_bits_too(bits: int) -> None:
    values = np.rint(COLOUR / 255 * (2**bits - 1))
    alpha = np.full((*SIZE, 1), 65535)
    for data in (write_png(values), colour_tiff(values), colour_tiff(values, "tiff_lzw")):
        pixels, decoded = shown(data)
        assert np.abs(pixels - COLOUR).max() <= 1
        assert f"read as {bits}-bit numbers" in decoded.note
        assert decoded.changed == "16-bit colours"
    for opaque in (alpha, np.full((*SIZE, 1), 2**bits - 1)):
        assert np.abs(shown(write_png(np.concatenate([values, opaque], axis=2)))[0] - COLOUR).max() <= 1
    grey = np.rint(GREY / 255 * (2**bits - 1))[:, :, None]
    assert np.abs(shown(write_png(np.concatenate([grey, alpha], axis=2)))[0] - GREY[:, :, None]).max() <= 1


@pytest.mark.parametrize("times", [1, 1 / 3, 1 / 6, 1 / 30])
def test_what_was_widened_from_eight_bits_is_as_bright_as_these(times: float) -> None:
    eight = (GREY * times).astype(np.uint8)
    colours = (COLOUR * times).astype(np.uint8)
    for factor in (256, 257):
        pixels, decoded = shown(sixteen(eight * np.uint16(factor)))
        assert np.abs(pixels - eight[:, :, None]).max() <= 1
        assert (decoded.note, decoded.changed) == ("", "")
        assert np.array_equal(shown(write_png(colours * np.uint16(factor)))[0], colours)


@pytest.mark.parametrize("brightest", [65535, 40000, 20000, 13000, 9000, 6500])
def test_a_true_picture_of_sixteen_bits_stays_as_dark_as_it_is(brightest: int) -> None:
    noise = np.random.default_rng(0).random((*SIZE, 3))
    colours = np.clip(COLOUR / 255 * brightest + noise * 60, 0, brightest)
    for values in (colours, colours[:, :, 1]):
        expected = values / 257 if values.ndim == 3 else values[:, :, None] / 257
        pixels, decoded = shown(write_png(values))
        assert np.abs(pixels - expected).max() <= 1.01
        assert decoded.changed == ""
        assert ("dark picture" in decoded.note) == (brightest < 16384 and values.ndim == 2)


def test_counts_without_dark_numbers_are_stretched() -> None:
    pixels, decoded = shown(sixteen(7000 + GREY * 8.0))
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert "no dark numbers: scaled from 7000 to 9" in decoded.note


def test_values_below_zero_are_stretched() -> None:
    """As in computed tomography: air is -1000, water 0."""
    values = GREY.astype(int) * 16 - 1000
    assert_like_grey(signed(values, 16), but=None)
    assert_like_grey(signed(with_one(values, -32768), 16))


def test_labels_of_a_mask_stay_labels() -> None:
    mask = GREY // 13
    assert np.array_equal(shown(sixteen(mask))[0][:, :, 0], mask)


def test_inverted_ones_are_turned_over() -> None:
    """X-ray pictures, of which MONOCHROME1 has white at zero."""
    values = (4095 - np.rint(GREY / 255 * 4095)).astype("<u2")
    pixels, _ = shown(tiff(values.tobytes(), SIZE[1], SIZE[0], 16, photometric=0))
    assert np.abs(pixels - GREY[:, :, None]).max() <= 1
    pixels, _ = shown(tiff(with_one(values, 65535).tobytes(), SIZE[1], SIZE[0], 16, photometric=0))
    assert not pixels[10, 20].any()


def test_the_transparent_colour_of_a_dark_picture_is_that_one_alone() -> None:
    values = np.rint(COLOUR / 255 * 4095).astype(np.uint16)
    black = (values == 0).all(axis=2)
    assert 0 < black.sum() < black.size
    pixels, _ = shown(write_png(values, transparent=(0, 0, 0)))
    assert (pixels[black] == 255).all()
    assert np.abs(pixels[~black] - COLOUR[~black]).max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("times", [257, 16])
def test_colours_in_planes_one_after_the_other(order: str, times: int) -> None:
    pixels, decoded = shown(planar_tiff(COLOUR.astype(np.uint16) * times, order))
    assert np.abs(pixels - COLOUR).max() <= 1
    assert decoded.changed
    garbage, former = shown(planar_tiff(COLOUR.astype(np.uint16) * times, order), decoder=2)
    assert np.abs(garbage - COLOUR).mean() > 20
    assert former.changed == "16-bit colours in planes"


# --- alpha ---


def with_alpha(mode: str, alpha: int) -> Image.Image:
    picture = Image.fromarray(COLOUR).convert(mode)
    picture.putalpha(alpha)
    return picture


UNUSED: dict[str, Callable[[], bytes]] = {
    "bmp v3": lambda: bmp32(0, header=56),
    "bmp v4": lambda: bmp32(0, header=108),
    "bmp v5": lambda: bmp32(0),
    "dib": lambda: bmp32(0)[14:],
    "png": lambda: encode(with_alpha("RGB", 0), "PNG"),
    "tiff": lambda: encode(with_alpha("RGB", 0), "TIFF"),
    "tiff lzw": lambda: encode(with_alpha("RGB", 0), "TIFF", compression="tiff_lzw"),
    "tiff premultiplied": lambda: premultiplied(encode(with_alpha("RGB", 0), "TIFF")),
    "webp": lambda: encode(with_alpha("RGB", 0), "WEBP", lossless=True, exact=True),
    "png of 16 bits": lambda: write_png(np.concatenate([COLOUR * 257.0, np.zeros((*SIZE, 1))], axis=2)),
}


@pytest.mark.parametrize("name", UNUSED)
def test_an_alpha_channel_that_is_zero_everywhere_is_not_used(name: str) -> None:
    pixels, decoded = shown(UNUSED[name]())
    assert np.array_equal(pixels, COLOUR)
    assert decoded.note == "alpha channel 0 everywhere: not used"
    before, former = shown(UNUSED[name](), decoder=2)
    assert (before == 255).all()
    assert (decoded.changed, former.changed) == ("alpha channel 0 everywhere",) * 2


def test_grey_with_an_unused_alpha_channel_and_a_palette_of_transparent_colours() -> None:
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(shown(encode(with_alpha("L", 0), kind))[0][:, :, 0], GREY)
    palette = Image.fromarray(COLOUR).quantize(64)
    invisible = encode(palette, "PNG", transparency=bytes(256))
    assert np.array_equal(shown(invisible)[0], np.asarray(palette.convert("RGB")))


def test_one_visible_pixel_shows_that_alpha_is_used() -> None:
    picture = with_alpha("RGB", 0)
    picture.putpixel((143, 95), (10, 20, 30, 1))
    pixels, decoded = shown(encode(picture, "PNG"))
    assert (pixels.reshape(-1, 3)[:-1] == 255).all()
    assert (decoded.note, decoded.changed) == ("", "")


def test_a_transparent_picture_without_colours_stays_white() -> None:
    pixels, decoded = shown(encode(Image.new("RGBA", SIZE[::-1], (9, 9, 9, 0)), "PNG"))
    assert (pixels == 255).all()
    assert decoded.note == "transparent everywhere and of one colour: shown white"
    assert decoded.changed == ""


# --- decoder 2 is still there ---


def test_decoder_2_reads_as_it_did() -> None:
    assert shown(sixteen(GREY * 16.0), decoder=2)[0].max() == 16
    assert shown(floats(with_one(GREY / 255, -9999)), decoder=2)[0].mean() > 254
    with pytest.raises(ValueError, match="NaN or infinite"):
        shown(floats(with_one(GREY / 255, np.nan)), decoder=2)
    values = np.rint(COLOUR / 255 * 4095).astype(np.uint16)
    pixels, decoded = shown(write_png(values), decoder=2)
    assert np.array_equal(pixels, values >> 8)
    assert (decoded.note, decoded.changed) == ("", "16-bit colours")


def test_the_signature_is_the_same_whatever_the_decoder() -> None:
    data = UNUSED["bmp v5"]()
    assert np.array_equal(shown(data)[1].signature, shown(data, decoder=2)[1].signature)


def planar_tiff(values: np.ndarray, order: str) -> bytes:
    """16-bit RGB TIFF with a plane for each colour (PlanarConfiguration 2), little- or big-endian."""
    height, width = values.shape[:2]
    planes = [values[:, :, band].astype(f"{order}u2").tobytes() for band in range(3)]
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 3, 210), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 3, 230), (284, 3, 1, 2)]
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    for tag, kind, count, value in entries:
        short = (kind, count) == (3, 1)
        head += struct.pack(f"{order}HHI" + ("HH" if short else "I"), tag, kind, count, value, *[0] * short)
    head = head.ljust(200, b"\0") + struct.pack(f"{order}3H", 16, 16, 16)
    head = head.ljust(210, b"\0") + struct.pack(f"{order}3I", *(250 + band * len(planes[0]) for band in range(3)))
    head = head.ljust(230, b"\0") + struct.pack(f"{order}3I", *map(len, planes))
    return head.ljust(250, b"\0") + b"".join(planes)
