"""A view follows from the picture's bytes and the view's name alone, and shows what its recipe says of the picture."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import BUNDLED, REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cache.errors import UserError
from cache.row_key import content_digest
from featurize.decoding.decode import decode, decode_views
from featurize.pictures.affine import Drawn, draw, warp
from featurize.pictures.recipes import FILL_MODES, RECIPES, ranges_of, views_of, views_with_original
from featurize.pictures.views import CROPS, MIRROR_CROPS, _box, _chances, _snapped, render

chances = st.floats(0, 1, exclude_max=True)
sides = st.integers(1, 5000)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


PHOTOGRAPH = png(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))


def test_a_view_is_the_same_every_time_and_everywhere() -> None:
    first = decode(PHOTOGRAPH, (32, 48), view="crops-1")
    assert first.shape == (32, 48, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, decode(PHOTOGRAPH, (32, 48), view="crops-1"))
    # other numbers here mean that cached rows of views are stale: raise DECODER
    assert [round(lot, 6) for lot in _chances(bytes(32), "crops-1")[:3]] == CHANCES


CHANCES = [0.151185, 0.712752, 0.652104]


def test_views_and_pictures_differ() -> None:
    other = png(np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8))
    shown = [
        decode(data, (32, 32), view=view).tobytes() for data in (PHOTOGRAPH, other) for view in views_of("crops", 8)
    ]
    assert len({*shown, decode(PHOTOGRAPH, (32, 32)).tobytes()}) == 17


@pytest.mark.parametrize("view", ["crops", "crops-0", "crops-01", "flips-1", "original-1", ""])
def test_an_unknown_view_is_refused(view: str) -> None:
    with pytest.raises(UserError, match="unknown view"):
        decode(PHOTOGRAPH, (32, 32), view=view)


def test_a_view_knows_no_resize_without_antialiasing() -> None:
    with pytest.raises(UserError, match="bilinear"):
        decode(PHOTOGRAPH, (32, 32), "bilinear", "crops-1")


@given(sides, sides, chances, chances, chances, chances)
def test_a_crop_lies_within_the_picture_and_is_large_enough(
    width: int, height: int, area: float, stretch: float, x: float, y: float
) -> None:
    left, upper, right, lower = _box((width, height), *CROPS, area, stretch, x, y)
    assert 0 <= left < right <= width * 1.000001
    assert 0 <= upper < lower <= height * 1.000001
    assert (right - left) * (lower - upper) >= 0.2 * width * height


def test_a_crop_shows_pixels_of_the_picture() -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    for number in range(1, 40):
        shown = render(grey, [f"crops-{number}"], content_digest(b"x"), (16, 16), "antialias")[0]
        assert shown.std(axis=(0, 1)).max() == 0  # an even picture stays even
        assert 85 <= shown.mean() <= 170


# ---- every recipe, on photographs

COFFEE = (BUNDLED / "coffee.png").read_bytes()  # 600 x 400
OWN = "brightness_range=0.5,1.5 fill_mode=constant rotation_range=90 shear_range=20 vertical_flip=True zoom_range=0.5"
ALL = [*RECIPES, OWN]
DIGESTS = """
import hashlib, json, sys
from pathlib import Path
from featurize.decoding.decode import decode_views
path, views = sys.argv[1], json.loads(sys.argv[2])
for resize in ("antialias", "nearest"):
    for pixels in decode_views(Path(path).read_bytes(), (64, 48), resize, views).pixels:
        print(hashlib.sha256(pixels.tobytes()).hexdigest())
"""


def views_up_to(count: int) -> list[str]:
    return [view for recipe in ALL for view in views_of(recipe, 1 if recipe == "flip" else count)]


def test_another_process_sees_the_same() -> None:
    command = [sys.executable, "-c", DIGESTS, str(BUNDLED / "coffee.png"), json.dumps(views_up_to(3))]
    runs = [subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0].split())) == 2 * (len(views_up_to(3)) - 1)  # all differ, but for two mirror images


@pytest.mark.parametrize("resize", ["antialias", "nearest"])
def test_together_or_one_by_one_they_are_the_same(resize: str) -> None:
    views = ["original", *views_up_to(2)]
    together = decode_views(COFFEE, (48, 64), resize, views).pixels
    assert together.shape == (len(views), 48, 64, 3) and together.dtype == np.uint8
    for view, pixels in zip(views, together, strict=True):
        assert np.array_equal(decode(COFFEE, (48, 64), resize, view), pixels), view


def test_a_large_jpeg_is_reduced_for_the_original_alone() -> None:
    with Image.open(io.BytesIO(COFFEE)) as picture:
        file = io.BytesIO()
        picture.convert("RGB").resize((1800, 1200)).save(file, "JPEG")
    data, views = file.getvalue(), views_with_original("mirror-crops", 3)
    together = decode_views(data, (64, 64), views=views).pixels
    for view, pixels in zip(views, together, strict=True):
        assert np.array_equal(decode(data, (64, 64), view=view), pixels)
    difference = np.abs(together[0].astype(int) - together[1][:, ::-1]).max()
    assert 0 < difference < 32  # one is the mirror image of the other, but for what reducing does


@pytest.mark.parametrize("resize", ["antialias", "nearest"])
def test_the_first_views_of_two_recipes_are_the_mirror_image(resize: str) -> None:
    original, flipped, first = decode_views(COFFEE, (64, 48), resize, ["original", "flip-1", "mirror-crops-1"]).pixels
    assert np.array_equal(flipped, original[:, ::-1]) and np.array_equal(first, flipped)


def test_mirror_crops_show_parts_odd_ones_mirrored_in_their_own_colours() -> None:
    ramp = np.zeros((90, 120, 3), np.uint8)
    ramp[..., 0] = np.arange(120) * 2  # brighter to the right
    ramp[..., 1] = np.arange(90)[:, None] * 2
    ramp[..., 2] = 99
    shown = decode_views(png(ramp), (32, 32), views=views_of("mirror-crops", 30)).pixels
    for number, pixels in enumerate(shown, start=1):
        red, green = pixels[..., 0].astype(int), pixels[..., 1].astype(int)
        rising = red[:, -1] - red[:, 0]
        assert (rising < 0).all() if number % 2 else (rising > 0).all()
        assert (pixels[..., 2] == 99).all()
        across, down = abs(rising.mean()) / 238, (green[-1] - green[0]).mean() / 178
        assert across * down > 0.35 * 0.85  # of the area, but for half a pixel at each edge
        if number == 1:
            assert across > 0.95 and down > 0.95


@given(sides, sides, chances, chances, chances, chances)
def test_a_snapped_crop_lies_within_the_picture_exactly(
    width: int, height: int, area: float, stretch: float, x: float, y: float
) -> None:
    box = _snapped(_box((width, height), *MIRROR_CROPS, area, stretch, x, y), (width, height))
    left, upper, right, lower = box
    assert 0 <= left < right <= width and 0 <= upper < lower <= height
    assert left + (right - left) == right and upper + (lower - upper) == lower


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_small_and_thin_pictures_have_all_views(size: tuple[int, int]) -> None:
    data = png(np.full((*size, 3), 77, np.uint8))
    for resize in ("antialias", "nearest"):
        views = [view for view in views_up_to(4) if not view.startswith(("crops", OWN))]
        shown = decode_views(data, (20, 30), resize, views).pixels
        assert (shown == 77).all()  # an even picture stays even, to its edges


# ---- as Keras does it


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("recipe", ["tutorial-breeds", "tutorial-alpaca", OWN.replace("brightness_range=0.5,1.5 ", "")])
def test_the_same_parameters_give_what_keras_gives(recipe: str) -> None:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    size = (192, 192)  # of a side: with others Keras turns about another point than the centre
    ranges = ranges_of(recipe)
    keras = ImageDataGenerator(fill_mode=ranges.fill_mode)
    for resize, most in (("nearest", 0.51), ("antialias", 2.5)):
        before = decode(COFFEE, size, resize).astype(np.float32)
        for view in views_of(recipe, 4):
            drawn = draw(ranges, _chances(content_digest(COFFEE), view))
            parameters = {
                "theta": drawn.theta, "shear": drawn.shear, "zx": drawn.zoom_across, "zy": drawn.zoom_down,
                "tx": drawn.across * size[1], "ty": drawn.down * size[0],
                "flip_horizontal": drawn.mirrored, "flip_vertical": drawn.upside_down,
            }  # fmt: skip
            theirs = keras.apply_transform(before, parameters)
            ours = decode(COFFEE, size, resize, view).astype(np.float32)
            difference = np.abs(ours - theirs)
            if resize == "nearest":  # which is done in the same order: rounding alone
                assert difference.max() < most
            else:  # sharper, as it is turned before it is shrunk
                assert difference.mean() < most < 10 < np.abs(ours[:, ::-1] - theirs).mean()


def test_a_fifth_of_a_turn_is_what_keras_layer_makes_of_it() -> None:
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    size = (120, 160)
    pixels = decode(COFFEE, size)
    for fill_mode in FILL_MODES:
        layer = keras.layers.RandomRotation((0.2, 0.2), fill_mode=fill_mode)
        theirs = np.asarray(layer(pixels[None].astype(np.float32), training=True))[0]
        ours = warp(pixels, Drawn(72, 0, 0, 0, 1, 1, False, False, 1), size, 1, fill_mode)
        inside = np.ones(size, bool) if fill_mode != "constant" else (ours > 0).any(axis=2) & (theirs > 0).any(axis=2)
        assert np.abs(ours - theirs)[inside].mean() < 0.5 and inside.mean() > 0.5


def test_shifts_are_in_the_directions_that_their_names_say() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[20, 30] = 255
    sideways = warp(pixels, Drawn(0, 0.1, 0, 0, 1, 1, False, False, 1), (40, 60), 1, "nearest")
    assert np.argwhere(sideways[..., 0]).tolist() == [[20, 24]]
    downwards = warp(pixels, Drawn(0, 0, 0.1, 0, 1, 1, False, False, 1), (40, 60), 1, "nearest")
    assert np.argwhere(downwards[..., 0]).tolist() == [[16, 30]]


def test_brightness_is_a_factor() -> None:
    data = png(np.full((30, 30, 3), 100, np.uint8))
    means = [decode(data, (8, 8), view=view).mean() for view in views_of("brightness_range=0.5,1.5", 40)]
    assert 50 <= min(means) < 65 and 135 < max(means) <= 150
