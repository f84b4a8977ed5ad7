"""A view follows from the picture's bytes and the view's name alone, and shows part of the picture."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cache.errors import UserError
from cache.spec import content_digest
from featurize.decode import decode
from featurize.recipes import views_of
from featurize.views import CROPS, _box, _chances, render

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


def test_more_views_begin_with_the_same_ones() -> None:
    assert views_of("crops", 12)[:3] == views_of("crops", 3) == ["crops-1", "crops-2", "crops-3"]


@pytest.mark.parametrize("view", ["crops", "crops-0", "crops-01", "flips-1", "original-1", ""])
def test_an_unknown_view_is_refused(view: str) -> None:
    with pytest.raises(UserError, match="unknown view"):
        decode(PHOTOGRAPH, (32, 32), view=view)


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(UserError, match="recipe 'flips'"):
        views_of("flips", 2)


def test_a_view_knows_no_resize_without_antialiasing() -> None:
    with pytest.raises(UserError, match="bilinear"):
        decode(PHOTOGRAPH, (32, 32), "bilinear", "crops-1")


@settings(deadline=None)
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
