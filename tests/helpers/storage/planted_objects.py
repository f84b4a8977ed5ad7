"""Pictures of an object that was put somewhere on a plain background, and of the background alone."""

from pathlib import Path

import numpy as np
from conftest import BUNDLED
from PIL import Image, ImageFilter

SIDE = 192
OBJECT = 64  # its side in pixels
CORNERS = {
    "upper left": (0, 0),
    "upper right": (0, SIDE - OBJECT),
    "lower left": (SIDE - OBJECT, 0),
    "lower right": (SIDE - OBJECT, SIDE - OBJECT),
}


def _background(random: np.random.Generator) -> Image.Image:
    """A soft piece of a photograph: nothing in it has an edge."""
    name = ("coffee.png", "chelsea.png", "astronaut.png")[random.integers(3)]
    with Image.open(BUNDLED / name) as photograph:
        left, upper = random.integers(0, 100, 2).tolist()
        crop = photograph.convert("RGB").crop((left, upper, left + SIDE, upper + SIDE))
    return crop.filter(ImageFilter.GaussianBlur(24))


def _object(random: np.random.Generator) -> Image.Image:
    """A piece of gravel or of coins, full of edges."""
    with Image.open(BUNDLED / "gravel.png") as photograph:
        left, upper = random.integers(0, photograph.width - OBJECT, 2).tolist()
        return photograph.convert("RGB").crop((left, upper, left + OBJECT, upper + OBJECT))


def plant(path: Path, seed: int, place: tuple[int, int] | None) -> str:
    """Write a background, with an object whose upper left corner is at `place` (row, column) where one is given."""
    random = np.random.default_rng(seed)
    picture, thing = _background(random), _object(random)
    if place is not None:
        picture.paste(thing, place[::-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return str(path)


def plant_many(folder: Path, count: int = 24) -> None:
    """A data set: `count` pictures with an object anywhere, in `gravel`, and as many without, in `nothing`."""
    random = np.random.default_rng(0)
    for number in range(count):
        row, column = random.integers(0, SIDE - OBJECT + 1, 2).tolist()
        plant(folder / "gravel" / f"{number}.png", number, (row, column))
        plant(folder / "nothing" / f"{number}.png", 1000 + number, None)
