"""Rotate, shift, shear, zoom and flip a picture of any size as Keras' `ImageDataGenerator` does.

Keras resizes a picture to the size of the input first, and transforms it then. Here the same affine map samples the
larger picture, so that an augmented view is as sharp as its source.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featurize.pictures.recipes import Ranges

# Rows that are sampled at a time: what is held for each pixel is ten times the pixel.
STRIP = 32


@dataclass(frozen=True)
class Drawn:
    """The random numbers of one augmented view. Angles are in degrees, shifts in shares of the width and the height."""

    theta: float
    across: float
    down: float
    shear: float
    zoom_across: float
    zoom_down: float
    mirrored: bool
    upside_down: bool
    brightness: float


def draw(ranges: Ranges, chances: Sequence[float]) -> Drawn:
    """The augmented view that nine `chances` in 0..1 give."""

    def either_way(limit: float, chance: float) -> float:
        return limit * (2 * chance - 1)

    return Drawn(
        theta=either_way(ranges.rotation_range, chances[0]),
        across=either_way(ranges.width_shift_range, chances[1]),
        down=either_way(ranges.height_shift_range, chances[2]),
        shear=either_way(ranges.shear_range, chances[3]),
        zoom_across=between(ranges.zoom_range, chances[4]),
        zoom_down=between(ranges.zoom_range, chances[5]),
        mirrored=ranges.horizontal_flip and chances[6] < 0.5,
        upside_down=ranges.vertical_flip and chances[7] < 0.5,
        brightness=between(ranges.brightness_range, chances[8]),
    )


def between(limits: tuple[float, float], chance: float) -> float:
    """The number at `chance` in 0..1 of the way from the lower to the upper limit."""
    low, high = limits
    return low + (high - low) * chance


def warp(pixels: np.ndarray, drawn: Drawn, size: tuple[int, int], finer: int, fill_mode: str) -> np.ndarray:
    """`pixels` (rows, columns, 3) uint8, as if of `size` (height, width), transformed: (finer * height, ...) uint8.

    `fill_mode` as in `featurize.pictures.recipes.Ranges`. Bilinear where `finer` is 1: the numbers that Keras has, in a
    third of the time of `scipy.ndimage.affine_transform`, which it calls. A finer picture is to be shrunk, which takes
    the mean of its neighbours anyway: its pixels are the nearest ones, in another quarter of the time, and come out as
    near to a much finer view as bilinear ones do (`python benchmarks/cost/rendering.py`).
    """
    rows, columns = pixels.shape[:2]
    height, width = size
    (a, b, left), (c, d, top), _ = (
        _scaled(columns / width, rows / height) @ _about_centre(drawn, size) @ _scaled(1 / finer, 1 / finer)
    )
    across = np.arange(finer * width)
    warped = np.empty((finer * height, finer * width, 3), np.uint8)
    sampled = _bilinear if finer == 1 else _nearest
    for start in range(0, len(warped), STRIP):
        strip = warped[start : start + STRIP]
        down = np.arange(start, start + len(strip))[:, None]
        x, y = a * across + (b * down + left), c * across + (d * down + top)
        strip[:] = sampled(pixels, x, y, fill_mode)
        if fill_mode == "constant":
            strip[(x < 0) | (x > columns - 1) | (y < 0) | (y > rows - 1)] = 0
    return warped


def _nearest(pixels: np.ndarray, x: np.ndarray, y: np.ndarray, fill_mode: str) -> np.ndarray:
    """The pixels (..., 3) nearest to places (...) in columns and rows."""
    rows, columns = pixels.shape[:2]
    numbers = _inside(np.rint(y).astype(np.int32), rows, fill_mode) * columns
    numbers += _inside(np.rint(x).astype(np.int32), columns, fill_mode)
    return pixels.reshape(-1, 3).take(numbers, axis=0)


def _bilinear(pixels: np.ndarray, x: np.ndarray, y: np.ndarray, fill_mode: str) -> np.ndarray:
    """What is between the four pixels around places (...) in columns and rows, plus a half: (..., 3) float32."""
    rows, columns = pixels.shape[:2]
    column, row = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    lefts, rights = (_inside(column + step, columns, fill_mode) for step in (0, 1))
    uppers, lowers = (_inside(row + step, rows, fill_mode) * columns for step in (0, 1))
    part_x, part_y = (x - column).astype(np.float32)[..., None], (y - row).astype(np.float32)[..., None]
    flat = pixels.reshape(-1, 3)
    above = _between(flat.take(uppers + lefts, axis=0), flat.take(uppers + rights, axis=0), part_x)
    below = _between(flat.take(lowers + lefts, axis=0), flat.take(lowers + rights, axis=0), part_x)
    return _between(above, below, part_y) + np.float32(0.5)


def _about_centre(drawn: Drawn, size: tuple[int, int]) -> np.ndarray:
    """From (column, row, 1) in an augmented view to (column, row, 1) in the picture, both of `size`: (3, 3).

    The matrices of `keras.src.legacy.preprocessing.image.apply_affine_transform`, in its order, and with what it mixes
    up as it is documented: there the two shifts are exchanged, and width and height in the centre.
    """
    height, width = size
    theta, shear = np.deg2rad(drawn.theta), np.deg2rad(drawn.shear)
    turned = np.array([[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]])
    shifted = np.array([[1, 0, drawn.across * width], [0, 1, drawn.down * height], [0, 0, 1]])
    sheared = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    zoomed = np.diag([drawn.zoom_across, drawn.zoom_down, 1])
    flipped = np.diag([-1.0 if drawn.mirrored else 1.0, -1.0 if drawn.upside_down else 1.0, 1.0])
    to_centre = np.array([[1, 0, (1 - width) / 2], [0, 1, (1 - height) / 2], [0, 0, 1]])
    from_centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    return from_centre @ turned @ shifted @ sheared @ zoomed @ flipped @ to_centre


def _scaled(across: float, down: float) -> np.ndarray:
    """From the places of pixels' centres to those in a picture so many times as large: (3, 3)."""
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])


def _inside(numbers: np.ndarray, count: int, fill_mode: str) -> np.ndarray:
    """Numbers of pixels, those beyond the edges of `count` replaced by the ones that are shown there."""
    if fill_mode == "reflect":  # the pixel at the edge is shown twice
        numbers = numbers % (2 * count)
        return np.minimum(numbers, 2 * count - 1 - numbers)
    return np.clip(numbers, 0, count - 1)


def _between(start: np.ndarray, end: np.ndarray, part: np.ndarray) -> np.ndarray:
    result = start.astype(np.float32)
    result += (end - result) * part
    return result
