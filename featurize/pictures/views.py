"""Views of a picture: the picture itself, its mirror image, crops, and what Keras' augmentation parameters describe.

The picture's bytes and the view's name (see `featurize.pictures.recipes`) alone decide the pixels of a view: it is one
cached row, computed once. Other pixels under the same name would leave stale rows. Raise `DECODER` in
featurize/decoding/decode.py with every change of the pixels here or in featurize/pictures/affine.py.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance

from cache.row_key import ORIGINAL_VIEW
from featurize.decoding.crops import Box, Crop
from featurize.decoding.upright_rgb import fit
from featurize.pictures.affine import between, draw, warp
from featurize.pictures.recipes import ranges_of, recipe_of

# Of the crops of each recipe: share of the picture's area; the sides relative to the picture's, at most, both ways.
CROPS = (0.3, 1.0), 1.3
MIRROR_CROPS = (0.35, 1.0), 4 / 3
GREY, TURNED = 0.1, 0.15  # shares of `crops`
LIGHT = 0.7, 1.3  # factors of brightness, contrast and colour
FINER = 2  # times the input is what is turned and shifted, and then shrunk


def render(
    picture: Image.Image, views: Sequence[str], digest: bytes, size: tuple[int, int], resize: str
) -> list[np.ndarray]:
    """Those views of an RGB `picture`, whose file has the SHA-256 `digest`, at `size`: (height, width, 3) uint8 each.

    `resize`: antialias or nearest. With nearest, what Keras' parameters describe is done to the picture at the size
    of the input, as Keras does it. Of a `Crop`, the picture and its mirror image are its centre, other views are made
    of the whole picture.
    """
    finer = 1 if resize == "nearest" else FINER
    source: np.ndarray | None = None
    shown = []
    for view in views:
        if view == ORIGINAL_VIEW:
            shown.append(fit(picture, size, resize))
            continue
        recipe, number = recipe_of(view)
        chances = _chances(digest, view)
        if recipe == "crops":
            shown.append(_varied_crop(picture, chances, size, resize))
        elif recipe in ("flip", "mirror-crops"):
            box = None if number == 1 else _snapped(_box(picture.size, *MIRROR_CROPS, *chances[:4]), picture.size)
            crop = fit(picture, size, resize, box)
            shown.append(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number % 2 else crop)
        else:
            if source is None:  # once for all views: beyond so many pixels there is nothing to be seen
                width, height = (min(old, finer * new) for old, new in zip(picture.size, size[::-1], strict=True))
                way = "antialias" if Crop.of(resize) else resize
                source = np.asarray(fit(picture, size if finer == 1 else (height, width), way))
            shown.append(_transformed(source, recipe, chances, size, finer))
    return [np.asarray(view) for view in shown]


def _transformed(
    source: np.ndarray, recipe: str, chances: list[float], size: tuple[int, int], finer: int
) -> Image.Image:
    """What Keras' parameters describe, of the picture's pixels `source` (rows, columns, 3)."""
    ranges = ranges_of(recipe)
    drawn = draw(ranges, chances)
    warped = Image.fromarray(warp(source, drawn, size, finer, ranges.fill_mode))
    shown = warped if finer == 1 else fit(warped, size, "antialias")
    return shown if drawn.brightness == 1 else ImageEnhance.Brightness(shown).enhance(drawn.brightness)


def _varied_crop(picture: Image.Image, chance: list[float], size: tuple[int, int], resize: str) -> Image.Image:
    """A crop of `crops`: mirrored, turned, in grey, brighter or darker as its chances are."""
    height, width = size
    way = Image.Resampling.NEAREST if resize == "nearest" else Image.Resampling.BILINEAR
    crop = picture.resize((width, height), way, box=_box(picture.size, *CROPS, *chance[:4]))
    if chance[4] < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if chance[5] < TURNED:
        turns = [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]
        crop = crop.transpose(turns[int(3 * chance[6])]).resize((width, height), way)
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    for enhancer, lot in zip(enhancers, chance[7:10], strict=True):
        crop = enhancer(crop).enhance(between(LIGHT, lot))
    return crop.convert("L").convert("RGB") if chance[10] < GREY else crop


def _box(
    size: tuple[int, int], areas: tuple[float, float], most: float, area: float, stretch: float, x: float, y: float
) -> Box:
    """A crop of a picture of `size` (width, height), its sides stretched by up to `most`; the last four in 0..1."""
    width, height = size
    side = between(areas, area) ** 0.5
    factor = most ** (2 * stretch - 1)
    across, down = min(1.0, side * factor) * width, min(1.0, side / factor) * height
    left, upper = (width - across) * x, (height - down) * y
    return left, upper, left + across, upper + down


def _snapped(box: Box, size: tuple[int, int]) -> Box:
    """`box` by 64ths of a pixel, in which sums are exact: none of its sides lies outside by rounding."""
    left, upper, right, lower = (round(64 * side) / 64 for side in box)
    return left, upper, min(right, size[0]), min(lower, size[1])


def _chances(digest: bytes, view: str) -> list[float]:
    """Sixteen numbers in 0..1, evenly distributed, that only these bytes and this view have."""
    numbers = hashlib.blake2b(digest + view.encode(), digest_size=64).digest()
    return (np.frombuffer(numbers, "<u4") / 2**32).tolist()
