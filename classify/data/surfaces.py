"""Photographs that come with scikit-image -> crops -> a folder of labelled pictures with its own split.

One grey photograph for each class. What is left of its middle is to train on, what is right of it to test on: a crop
never reaches over the middle, so that no pixel is in both. Each crop has a seed of its own and comes out the same
whichever others are there already: rows of features that are cached stay valid.
"""

import io
import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cache.errors import UserError
from cache.files.atomic import TEMPORARY_SUFFIX, replacing

FOLDER = "surfaces"
# Label -> its function in skimage.data. Only files inside the package: scikit-image downloads its other ones.
PHOTOGRAPHS = {
    "brick": "brick",
    "coffee": "coffee",
    "coins": "coins",
    "fur": "chelsea",
    "grass": "grass",
    "gravel": "gravel",
    "handwriting": "text",
    "launch_pad": "rocket",
    "moon": "moon",
    "printed_page": "page",
    "retina": "retina",
    "star_field": "hubble_deep_field",
    "tissue": "immunohistochemistry",
}
COUNTS = {"train": 60, "test": 30}  # crops of each class
SMALLEST = 0.25  # side of a crop, as a share of the shorter side of its half
WRITTEN = (96, 160)  # pixels: smaller crops are enlarged to the first, larger ones reduced to the second
LEAST_CONTRAST = 6.0  # standard deviation of a crop's grey values: black sky shows no surface


@dataclass(frozen=True)
class Crop:
    """A square of a photograph, (left, upper, right, lower) in pixels, and how many quarter turns it is given."""

    box: tuple[int, int, int, int]
    turns: int

    def of(self, photograph: Image.Image) -> Image.Image:
        """The picture of this crop, brought to a side within `WRITTEN`."""
        picture = photograph.crop(self.box)
        side = min(max(picture.width, WRITTEN[0]), WRITTEN[1])
        return picture.rotate(90 * self.turns).resize((side, side), Image.Resampling.BICUBIC)


def surfaces_folder(folder: str = FOLDER) -> str:
    """Write the crops that `folder` lacks, as {train,test}/CLASS/nn.png, and return `folder`.

    Raises UserError where the folder holds anything else: it is then somebody's own.
    """
    expected = {
        os.path.join(part, label, f"{number:02}.png")
        for part, count in COUNTS.items()
        for label in PHOTOGRAPHS
        for number in range(count)
    }
    present = _files_below(folder)
    if strange := sorted(present - expected):
        raise UserError(
            f"the folder {folder!r} is for photographs that come with scikit-image, and holds {strange[0]!r}: "
            "name your own pictures with --data, or work in another folder"
        )
    for label in PHOTOGRAPHS:
        missing = [path for path in sorted(expected - present) if path.split(os.sep)[1] == label]
        if missing:
            grey = photograph(label)
            for path in missing:
                part, _, name = path.split(os.sep)
                _write(os.path.join(folder, path), draw_crop(grey, label, part, name).of(grey))
    return folder


def photograph(label: str) -> Image.Image:
    """The grey photograph of a class."""
    import skimage.data

    return Image.fromarray(getattr(skimage.data, PHOTOGRAPHS[label])()).convert("L")


def draw_crop(photograph: Image.Image, label: str, part: str, name: str) -> Crop:
    """The crop that the file `part/label/name` shows: drawn at random, from its name as the seed."""
    random = np.random.default_rng(list(f"{part}/{label}/{name}".encode()))
    half = photograph.width // 2
    start = 0 if part == "train" else photograph.width - half
    longest = min(half, photograph.height)
    while True:
        side = round(longest * SMALLEST ** random.random())  # as many between 1/4 and 1/2 as between 1/2 and 1
        left = start + int(random.integers(half - side + 1))
        upper = int(random.integers(photograph.height - side + 1))
        crop = Crop((left, upper, left + side, upper + side), int(random.integers(4)))
        if np.asarray(photograph.crop(crop.box)).std() >= LEAST_CONTRAST:
            return crop


def _files_below(folder: str) -> set[str]:
    """The files in a folder that are neither hidden nor left by a run that was killed, as paths below it."""
    return {
        os.path.relpath(os.path.join(inside, name), folder)
        for inside, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and not name.endswith(TEMPORARY_SUFFIX)
    }


def _write(path: str, picture: Image.Image) -> None:
    """Whole or not at all, so that a run that is interrupted leaves nothing that looks finished.

    Not flushed to the disk, which takes longer than to draw all of them. Raises `OSError` naming `path`.
    """
    data = io.BytesIO()
    picture.save(data, "PNG")
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data.getbuffer())
