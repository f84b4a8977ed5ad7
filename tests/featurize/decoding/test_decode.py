"""The decoder: the sizes and ways of stretching, files that lie, and silence."""

import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import skimage
import skimage.data
from helpers.files.picture_files import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cache.errors import UserError
from featurize.decoding.decode import RESIZES, decode, decode_views, decode_within
from featurize.pictures.find_images import ImageError, find_images

# pytest sets the filters of warnings for each test and so undoes those of the decoder; that they work is tested
# in a process of its own.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")

# The two TIFFs of scikit-image hold stacks of float64, which no viewer shows.
PHOTOS = [path for path in find_images(str(Path(skimage.__file__).parent / "data")).images if not path.endswith(".tif")]
PHOTO = Image.fromarray(skimage.data.astronaut()).resize((160, 120))


INTACT = {
    "jpeg": encode(PHOTO, "JPEG"),
    "progressive jpeg": encode(PHOTO, "JPEG", progressive=True),
    "mpo": encode(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
    "png": encode(PHOTO, "PNG"),
    "palette png": encode(PHOTO.quantize(32), "PNG", transparency=3),
    "bmp": encode(PHOTO, "BMP"),
    "dib": encode(PHOTO, "DIB"),
    "gif": encode(PHOTO, "GIF"),
    "webp": encode(PHOTO, "WEBP"),
    "lossless webp": encode(PHOTO, "WEBP", lossless=True),
    "tiff": encode(PHOTO, "TIFF"),
    "lzw tiff": encode(PHOTO, "TIFF", compression="tiff_lzw"),
    "jpeg tiff": encode(PHOTO, "TIFF", compression="jpeg"),
    "fax tiff": encode(PHOTO.convert("1"), "TIFF", compression="group4"),
}


def reason(data: bytes) -> str:
    with pytest.raises(ImageError) as refused:
        decode(data, (32, 32))
    return str(refused.value)


# --- sizes and resizing ---


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("name", INTACT)
def test_every_format_gives_rgb_of_the_asked_size(name: str, resize: str) -> None:
    pixels = decode(INTACT[name], (48, 64), resize)
    assert pixels.shape == (48, 64, 3)
    assert pixels.dtype == (np.float32 if resize == "bilinear" else np.uint8)
    close_to = decode(INTACT["png"], (48, 64), resize).astype(float)
    assert np.abs(pixels - close_to).mean() < {"fax tiff": 100, "palette png": 30, "gif": 20}.get(name, 6)


def test_real_photographs_decode_as_pillow_shows_them() -> None:
    assert len(PHOTOS) >= 20
    for path in PHOTOS:
        pixels = decode(Path(path).read_bytes(), (240, 320))
        with Image.open(path) as picture:
            assert picture.mode in ("RGB", "RGBA", "L", "P", "LA", "1"), path
            rgba = picture.convert("RGBA")
        shown = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        expected = np.asarray(shown.resize((320, 240), Image.Resampling.BILINEAR))
        assert np.abs(pixels.astype(int) - expected).max() <= 1, path


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_much_larger_jpeg_is_shrunk_by_its_decoder_and_looks_the_same(orientation: int) -> None:
    picture = Image.fromarray(skimage.data.retina())  # 1411 x 1411
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(picture, "JPEG", quality=90, exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        opened.draft(None, (3 * 160, 3 * 160))
        assert opened.size == (706, 706)  # three times 160, and more
    differences = []
    for size in ((128, 160), (160, 128), (300, 300)):
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        expected = np.asarray(upright.resize(size[::-1], Image.Resampling.BILINEAR)).astype(float)
        differences.append(float(np.sqrt(((decode(data, size) - expected) ** 2).mean())))
    assert max(differences[:2]) < 1.5 and differences[2] < 0.5, differences  # in steps of 255; the last is not reduced


def test_a_jpeg_of_more_pixels_than_the_limit_is_shrunk_by_its_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(skimage.data.astronaut()).resize((1600, 1600))
    data = encode(picture, "JPEG", quality=95)
    asked: list[int] = []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)
    for resize in RESIZES:
        pixels = decode(data, (100, 100), resize, reserve=asked.append)
        whole = np.asarray(picture.resize((100, 100), Image.Resampling.BILINEAR))
        assert np.abs(pixels - whole.astype(float)).mean() < (3 if resize == "antialias" else 12)
    assert decode_views(data, (100, 100), views=("original", "flip-1"), reserve=asked.append).pixels.shape[0] == 2
    assert decode_within(data, 300).size == (300, 300)
    assert max(asked) < 9 * 800 * 800 + len(data) + 10**6
    with pytest.raises(ImageError, match="1600x1600 pixels, more than 500000"):
        decode(encode(picture, "PNG"), (50, 50))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_108_megapixels_fits(progressive: bool) -> None:
    data = encode(Image.new("RGB", (12_000, 9000), (200, 30, 30)), "JPEG", progressive=progressive)
    asked: list[int] = []
    pixels = decode(data, (224, 224), reserve=asked.append).astype(int)
    assert (np.abs(pixels - (200, 30, 30)) < 3).all()
    assert max(asked) < (670 if progressive else 30) * 10**6
    if progressive:
        table = data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))
        with pytest.raises(ImageError, match=r"JPEG of 12000x9000 pixels in 2\d scans"):
            decode(data[:-2] + data[table:-2] * 15 + data[-2:], (224, 224))


def test_the_picture_is_stretched_and_not_cropped() -> None:
    halves = Image.new("RGB", (200, 50), "red")
    halves.paste((0, 0, 255), (100, 0, 200, 50))
    pixels = decode(encode(halves, "PNG"), (50, 10), "nearest")
    assert (pixels[:, :5] == (255, 0, 0)).all()
    assert (pixels[:, 5:] == (0, 0, 255)).all()


def test_antialias_averages_what_nearest_and_bilinear_pass_over() -> None:
    stripes = Image.fromarray(np.tile(np.array([[0, 0, 255, 0]], np.uint8), (64, 64)))
    data = encode(stripes, "PNG")
    assert np.abs(decode(data, (16, 16), "antialias").astype(int) - 64).max() < 8
    assert not decode(data, (16, 16), "nearest").any()
    assert not decode(data, (16, 16), "bilinear").any()


def test_an_unknown_resize_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown resize 'lanczos': choose one of antialias, nearest, bilinear"):
        decode(INTACT["png"], (8, 8), "lanczos")


def test_nearest_is_what_keras_load_img_does() -> None:
    from keras.utils import img_to_array, load_img

    for path in PHOTOS:
        with Image.open(path) as picture:
            if picture.has_transparency_data:  # Keras drops the transparency
                continue
        for size in ((224, 224), (31, 77), (700, 600)):
            theirs = img_to_array(load_img(path, target_size=size))
            assert np.array_equal(decode(Path(path).read_bytes(), size, "nearest"), theirs), path


@pytest.mark.parametrize("size", [(224, 224), (150, 97), (1, 1), (513, 800), (1999, 3)])
def test_bilinear_is_what_tensorflow_does(size: tuple[int, int]) -> None:
    import tensorflow as tf

    for shape in ((512, 512), (300, 451), (1, 7), (2, 2), (20_000, 3)):
        noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        picture = Image.fromarray(noise)
        theirs = tf.image.resize(np.asarray(picture), size, method="bilinear").numpy()
        assert np.abs(decode(encode(picture, "PNG"), size, "bilinear") - theirs).max() < 1e-3


def test_bilinear_is_what_image_dataset_from_directory_does(tmp_path: Path) -> None:
    from keras.utils import image_dataset_from_directory

    for name, picture in {"a": PHOTO, "b": PHOTO.resize((333, 500)), "c": PHOTO.resize((20, 30))}.items():
        (tmp_path / "class").mkdir(exist_ok=True)
        picture.save(tmp_path / "class" / f"{name}.png")
    batches = image_dataset_from_directory(str(tmp_path), shuffle=False, image_size=(160, 96), verbose=False)
    theirs = np.concatenate([images for images, _ in batches.as_numpy_iterator()])
    ours = [decode(path.read_bytes(), (160, 96), "bilinear") for path in sorted(tmp_path.glob("*/*.png"))]
    assert np.abs(np.stack(ours) - theirs).max() < 1e-3


# --- files that lie ---


@pytest.mark.parametrize("part", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", INTACT)
def test_a_truncated_file_is_refused_with_one_line(name: str, part: float) -> None:
    data = INTACT[name]
    if name == "mpo":  # its first picture may be whole; only that one is looked at
        data = data[: len(INTACT["jpeg"])]
    text = reason(data[: int(len(data) * part)])
    assert text.isprintable()
    assert 10 < len(text) < 300


NO_IMAGES = {
    "empty": (b"", "empty file"),
    "zeros": (bytes(5000), r"no image of a known format: begins with b'\x00"),
    "ones": (b"\xff" * 5000, "no image of a known format"),
    "page": (b"<!DOCTYPE html><html>404 Not Found</html>", "begins with b'<!DOCTYPE ht'"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "no image of a known format"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "begins with b'%!PS-Adobe-3'"),
    "pdf": (b"%PDF-1.4\n", "no image of a known format"),
    "ppm": (b"P6 1 1 255 \0\0\0", "no image of a known format"),
    "ico": (encode(PHOTO, "ICO"), "no image of a known format"),
    "tga": (encode(PHOTO, "TGA"), "no image of a known format"),
    "text": ("Привет\n".encode(), "no image of a known format"),
    "jpeg start only": (b"\xff\xd8", "JPEG with a damaged"),
    "jpeg of ones": (b"\xff\xd8" + b"\xff" * 3000, "JPEG with a damaged header"),
    "png start only": (b"\x89PNG\r\n\x1a\n", "PNG with a damaged header"),
    "png without pixels": (INTACT["png"][:33] + INTACT["png"][-12:], "damaged PNG"),
    "png with a wrong checksum": (INTACT["png"][:1000] + b"?" + INTACT["png"][1001:], "damaged PNG"),
    "gif start only": (b"GIF89a", "GIF"),
    "gif without frame": (b"GIF89a\1\0\1\0\0\0\0;", "GIF"),
    "bmp start only": (b"BM" + bytes(12), "BMP"),
    "bmp of huge size": (INTACT["bmp"][:18] + b"\xff\xff\xff\x7f" * 2 + INTACT["bmp"][26:], "decompression bomb? "),
    "webp start only": (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
    "a sound": (b"RIFF\x24\0\0\0WAVEfmt ", "WebP with a damaged header or an unsupported kind"),
    "tiff start only": (b"II*\0", "TIFF with a damaged header"),
    "tiff in a loop": (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "TIFF"),
    "tiff far away": (b"MM\0*\xff\xff\xff\xff", "TIFF"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_usable_image_is_refused_with_a_reason(name: str) -> None:
    data, expected = NO_IMAGES[name]
    text = reason(data)
    assert expected in text
    assert text.isprintable()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixel."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")


BOMB = png_of_size(9500, 9500)  # between once and twice Pillow's limit, where Pillow itself only warns


def test_a_size_that_nobody_can_hold_is_refused_at_the_header() -> None:
    assert reason(BOMB) == "decompression bomb? 9500x9500 pixels, more than 89478485"
    assert "decompression bomb? " in reason(png_of_size(20_000, 20_000))
    assert "decompression bomb? " in reason(png_of_size(2**31 - 1, 2**31 - 1))
    assert "damaged header" in reason(png_of_size(0, 5))


def test_so_is_a_frame_that_is_larger_than_its_header_says() -> None:
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x08\x00;"
    data = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + frame
    assert reason(data) == "decompression bomb? 4294836225 pixels, more than 89478485"


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_png_with_an_oversized_text_or_profile_is_shown_like_any_viewer_does(kind: bytes, at_the_end: bool) -> None:
    bloat = png_chunk(kind, b"History\0\0" + zlib.compress(b"edited " * 300_000))
    place = len(INTACT["png"]) - 12 if at_the_end else 33
    data = INTACT["png"][:place] + bloat + INTACT["png"][place:]
    assert np.array_equal(decode(data, (60, 80)), decode(INTACT["png"], (60, 80)))
    assert "damaged PNG" in reason(data[: place + len(bloat) - 5 if at_the_end else -9000])


# Those of the shared folder that no ordinary viewer shows either, each with its reason.
UNUSABLE = {
    "SOURCE.md": "no image of a known format",
    "badbitcount.bmp": "Unsupported BMP pixel depth",
    "badpalettesize.bmp": "Unsupported BMP Palette size",
    "badwidth.bmp": "decompression bomb? ",
    "broken.png": "damaged header",
    "broken_data_stream.png": "unrecognized data stream",
    "crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif": "decoder error",  # cut off before its first strip
    "crash-1152ec2d1a1a71395b6f2ce6721c38924d025bf3.tif": "decoder error",  # likewise
    "crash-2020-10-test.tif": "TIFF",  # strip of 0 bytes
    "decompression_bomb.gif": "decompression bomb? ",
    "hopper_unknown_pixel_mode.tif": "unsupported kind of pixels",  # 3 x 32-bit integers
    "shortfile.bmp": "truncated",
    "tiff_overflow_rows_per_strip.tif": "damaged header",  # 3 strips declared as 39
    "zero_width.gif": "damaged header",
}


def test_each_hostile_file_gives_pixels_or_one_line(shared: Path) -> None:
    refused = {}
    for path in sorted((shared / "images" / "hostile").iterdir()):
        try:
            assert decode(path.read_bytes(), (64, 64)).shape == (64, 64, 3)
        except ImageError as error:
            refused[path.name] = str(error)
    for name, text in refused.items():
        assert UNUSABLE.get(name, "this one should decode") in text, name
        assert text.isprintable()


def test_the_hostile_scene_agrees_in_all_its_orientations_and_formats(shared: Path) -> None:
    folder = shared / "images" / "hostile"
    reference = decode((folder / "hopper.png").read_bytes(), (64, 64)).astype(int)
    for name in (
        *(f"hopper_orientation_{n}.jpg" for n in range(2, 9)),
        *("hopper_orientation_2.webp", "hopper.jpg", "hopper.webp", "hopper.bmp", "hopper.tif", "hopper.gif"),
        "hopper.Lab.tif",
    ):
        assert np.abs(decode((folder / name).read_bytes(), (64, 64)) - reference).mean() < 3, name


@given(st.binary(max_size=400), st.sampled_from([b"", *{data[:40] for data in INTACT.values()}]))
@settings(max_examples=300)
def test_random_bytes_never_raise_anything_else(noise: bytes, beginning: bytes) -> None:
    try:
        decode(beginning + noise, (8, 8))
    except ImageError as error:
        assert str(error).isprintable()


@given(
    st.sampled_from(sorted(INTACT)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6), st.booleans()), min_size=1, max_size=8),
)
@settings(max_examples=400)
def test_mutated_files_never_raise_anything_else(name: str, changes: list[tuple[float, bytes, bool]]) -> None:
    data = bytearray(INTACT[name])
    for place, change, in_header in changes:
        start = int(place * (200 if in_header else len(data)))
        data[start : start + len(change)] = change
    try:
        assert decode(bytes(data), (8, 8)).shape == (8, 8, 3)
    except ImageError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PPM", "TGA", "ICNS", "PCX", "SGI"])
def test_only_formats_that_are_looked_after_are_opened(kind: str) -> None:
    assert "no image of a known format" in reason(encode(PHOTO, kind))


# --- threads and silence ---


def test_threads_get_what_one_alone_gets() -> None:
    files = [*INTACT.values(), BOMB, INTACT["jpeg"][:2000]] * 12
    random.Random(0).shuffle(files)

    def outcome(data: bytes) -> bytes | str:
        try:
            return decode(data, (40, 40)).tobytes()
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(outcome, files)) == [outcome(data) for data in files]


def test_warnings_turned_into_errors_still_give_a_decode_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "decompression bomb? " in reason(BOMB)


def test_nothing_is_printed_about_any_file(tmp_path: Path) -> None:
    rng = random.Random(1)
    for name, data in INTACT.items():
        for n in range(25):
            damaged = bytearray(data[: rng.choice([len(data), len(data) // 2, 300])])
            for _ in range(n):
                damaged[rng.randrange(min(len(damaged), 400))] = rng.randrange(256)
            (tmp_path / f"{name}-{n}").write_bytes(damaged)
    many_samples = bytearray(INTACT["tiff"])
    many_samples[many_samples.index(struct.pack("<HH", 277, 3)) + 8] = 99  # Pillow logs an error about these
    (tmp_path / "many samples").write_bytes(many_samples)
    (tmp_path / "bomb").write_bytes(BOMB)
    script = (
        "import sys, pathlib; from featurize.decoding.decode import decode, ImageError\n"
        "for path in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    try: decode(path.read_bytes(), (8, 8))\n"
        "    except ImageError: pass\n"
        "print('done')"
    )
    command = [sys.executable, "-W", "always", "-c", script, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert (run.stdout, run.stderr) == ("done\n", "")
