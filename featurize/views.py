"""Renderings of a picture other than the picture itself: crops, turned, mirrored, in grey, brighter or darker.

A view's name is RECIPE-NUMBER ("crops-3"). What it shows follows from the picture's bytes and that name alone: the
same everywhere and always, so that it is one cached row, computed once. Another rendering under the same name would
be a stale row: whoever changes one here raises `DECODER` in featurize/decode.py.
"""

import hashlib
import re

import numpy as np
from PIL import Image, ImageEnhance

from cache.errors import UserError
from cache.spec import ORIGINAL_VIEW

AREA = 0.3, 1.0  # share of the picture's area
STRETCH = 1.3  # the crop's sides relative to the picture's, at most; both ways
GREY, TURNED = 0.1, 0.15  # shares of the crops
LIGHT = 0.7, 1.3  # factors of brightness, contrast and colour


def views_of(recipe: str, count: int) -> list[str]:
    """The names of the first `count` views of a recipe. Raises UserError for an unknown recipe."""
    names = [f"{recipe}-{number}" for number in range(1, count + 1)]
    for name in names[:1]:
        check_view(name)
    return names


def render(picture: Image.Image, view: str, digest: bytes, size: tuple[int, int], way: Image.Resampling) -> Image.Image:
    """That view of an RGB `picture`, whose file has the SHA-256 `digest`, at `size` (height, width)."""
    chance = _chances(digest, view)
    height, width = size
    crop = picture.resize((width, height), way, box=_box(picture.size, *chance[:4]))
    if chance[4] < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if chance[5] < TURNED:
        turns = [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]
        crop = crop.transpose(turns[int(3 * chance[6])]).resize((width, height), way)
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    for enhancer, lot in zip(enhancers, chance[7:10], strict=True):
        crop = enhancer(crop).enhance(_between(LIGHT, lot))
    return crop.convert("L").convert("RGB") if chance[10] < GREY else crop


def _box(size: tuple[int, int], area: float, stretch: float, x: float, y: float) -> tuple[float, float, float, float]:
    """(left, upper, right, lower) in pixels of a crop, all four chances in 0..1."""
    width, height = size
    side = _between(AREA, area) ** 0.5
    factor = STRETCH ** (2 * stretch - 1)
    across, down = min(1.0, side * factor) * width, min(1.0, side / factor) * height
    left, upper = (width - across) * x, (height - down) * y
    return left, upper, left + across, upper + down


def _between(limits: tuple[float, float], lot: float) -> float:
    low, high = limits
    return low + (high - low) * lot


def _chances(digest: bytes, view: str) -> list[float]:
    """Sixteen numbers in 0..1, evenly distributed, that only these bytes and this view have."""
    numbers = hashlib.blake2b(digest + view.encode(), digest_size=64).digest()
    return (np.frombuffer(numbers, "<u4") / 2**32).tolist()


def check_view(view: str) -> None:
    """Raise UserError where there is no such view."""
    if view != ORIGINAL_VIEW and not re.fullmatch(r"crops-[1-9]\d*", view):
        raise UserError(f"unknown view {view!r}: the recipe there is is crops, such as crops-1")
