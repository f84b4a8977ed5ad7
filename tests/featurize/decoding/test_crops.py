"""Recipes of other frameworks: pixels are those of the plain way, to resize with Pillow and then to crop."""

import io

import numpy as np
import pytest
from conftest import BUNDLED
from PIL import Image

from cache.errors import UserError
from featurize.decoding.crops import FILTERS, Crop, short_side
from featurize.decoding.decode import decode, decode_views
from featurize.decoding.upright_rgb import fit

CROPS = [
    Crop("bicubic", short=36),
    Crop("bicubic", short=36, rounding="round"),
    Crop("bilinear", short=32),
    Crop("lanczos", stretch=(40, 37)),
    Crop("nearest", short=41),
    Crop("bicubic", stretch=(33, 35), rounding="round"),
    Crop("bilinear"),
    Crop("lanczos", short=60),
]


def plain(picture: Image.Image, size: tuple[int, int], crop: Crop) -> np.ndarray:
    """Resize, then cut: as torchvision (offsets rounded to even) and transformers (rounded down) do."""
    width, height = picture.size
    new = crop.stretch or size
    if crop.short:
        short, long = min(width, height), max(width, height)
        longer = int(crop.short * long / short)
        new = (longer, crop.short) if height > width else (crop.short, longer)
    resized = picture.resize(new[::-1], Image.Resampling[crop.filter.upper()])
    if crop.rounding == "floor":
        top, left = (new[0] - size[0]) // 2, (new[1] - size[1]) // 2
    else:
        top, left = round((new[0] - size[0]) / 2), round((new[1] - size[1]) / 2)
    return np.asarray(resized)[top : top + size[0], left : left + size[1]]


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    with Image.open(BUNDLED / "astronaut.png") as picture:
        return picture.convert("RGB")


@pytest.mark.parametrize("crop", CROPS, ids=lambda crop: crop.text)
@pytest.mark.parametrize("shape", [(512, 512), (301, 203), (90, 511), (33, 34), (20, 27)])
@pytest.mark.parametrize("size", [(32, 32), (31, 30)])
def test_pixels_are_those_of_resizing_and_cropping(
    photograph: Image.Image, crop: Crop, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    picture = photograph.crop((0, 0, *shape))
    found = np.asarray(fit(picture, size, crop.text)).astype(int)
    expected = plain(picture, size, crop).astype(int)
    assert found.shape == expected.shape
    if crop.is_thin(picture.size, size):
        assert shape == (90, 511) and np.abs(found - expected).mean() < 1
    else:
        assert (found == expected).all()


def test_every_text_gives_its_crop_again() -> None:
    for crop in (*CROPS, *(Crop(name) for name in FILTERS)):
        assert Crop.of(crop.text) == crop


@pytest.mark.parametrize(
    "text",
    ["", "antialias", "nearest", "bilinear", "bicubic", "bicubic-short", "bicubic-short0-floor", "bicubic-short9",
     "bicubic-squash9x-floor", "bicubic-squashfloor", "bicubic-squash-floor", "cubic-squash",
     "bicubic-short99999-floor", "bicubic-short9-up", "bicubic-squash1x2", "bicubic-squash\n"],
)  # fmt: skip
def test_other_texts_are_none(text: str) -> None:
    assert Crop.of(text) is None


def test_a_crop_fits_what_it_is_cut_from() -> None:
    assert Crop("bicubic", short=32).fits((32, 32)) and not Crop("bicubic", short=32).fits((32, 33))
    assert Crop("bicubic", stretch=(40, 20)).fits((40, 20)) and not Crop("bicubic", stretch=(40, 20)).fits((20, 40))
    assert Crop("bicubic").fits((4096, 1))


def test_timms_share_is_rounded_down() -> None:
    assert [short_side(side, share) for side, share in ((224, 0.875), (224, 0.95), (240, 0.9), (224, 1))] == [
        256, 235, 266, 224,
    ]  # fmt: skip


def test_a_thin_picture_takes_no_memory_for_what_is_cut_off() -> None:
    file = io.BytesIO()
    Image.new("RGB", (60_000, 1), (9, 99, 200)).save(file, "PNG")
    pixels = decode(file.getvalue(), (32, 32), "bicubic-short48-floor")  # the plain way takes 400 MB
    assert pixels.shape == (32, 32, 3) and (pixels == (9, 99, 200)).all()


def test_a_photograph_is_decoded_whole_and_views_follow(photograph: Image.Image) -> None:
    file = io.BytesIO()
    photograph.save(file, "JPEG", quality=95)
    with Image.open(file) as again:
        expected = plain(again.convert("RGB"), (24, 24), CROPS[0])
    found = decode(file.getvalue(), (24, 24), CROPS[0].text)
    assert (found == expected).all()  # its decoder does not shrink it
    mirrored = decode(file.getvalue(), (24, 24), CROPS[0].text, "flip-1")
    assert (mirrored == found[:, ::-1]).all()


@pytest.mark.parametrize(
    "recipe", ["crops-1", "mirror-crops-2", "mirror-crops-3", "horizontal_flip=True rotation_range=40-1"]
)
def test_other_views_are_of_the_whole_picture(photograph: Image.Image, recipe: str) -> None:
    file = io.BytesIO()
    photograph.save(file, "PNG")
    views = decode_views(file.getvalue(), (24, 24), "bicubic-short48-floor", ("original", recipe)).pixels
    assert views.shape == (2, 24, 24, 3) and (views[0] != views[1]).any()
    assert (views[0] == decode(file.getvalue(), (24, 24), "bicubic-short48-floor")).all()


def test_an_unknown_way_is_named() -> None:
    with pytest.raises(UserError, match="unknown resize 'bicubic'"):
        decode(b"x", (8, 8), "bicubic")
