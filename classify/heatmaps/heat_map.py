"""What a heat map is, and one drawn over its picture."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from classify.heads.numerics import Floats
from featurize.decoding.crops import Crop
from featurize.decoding.decode import decode_within

# Dark blue, purple, red, orange, yellow: their brightness rises evenly, so that they can be told apart without seeing
# colours. Nothing below `FAINT` is drawn, and the picture always shines through.
COLOURS = np.array([(13, 8, 135), (126, 3, 168), (204, 71, 120), (248, 149, 64), (240, 249, 33)])
FAINT = 0.15
DENSEST = 0.75


@dataclass(frozen=True, eq=False)
class HeatMap:
    """How much each part of a picture speaks for `label`: values (h, w) float32, from the upper left of the picture.

    The grid covers what the network saw of the upright picture: size, (height, width) in pixels, and resize are those
    of its spec. Where the map is `exact` the mean of the values is the head's decision for the label, less the mean of
    those for the others; else a value is by how much the label's probability falls where that part is hidden.
    """

    label: str
    values: Floats
    exact: bool
    size: tuple[int, int] | None
    resize: str

    @property
    def place(self) -> str:
        """Where most of it comes from, such as "upper left", "centre", "right"; "nowhere" if nothing speaks for it."""
        if self.values.max() <= 0:
            return "nowhere"
        row, column = np.unravel_index(self.values.argmax(), self.values.shape)
        down, across = ((2 * at + 1) / (2 * side) for at, side in zip((row, column), self.values.shape, strict=True))
        words = ["upper", "", "lower"][int(3 * down)], ["left", "", "right"][int(3 * across)]
        return " ".join(filter(None, words)) or "centre"


def colours(heat: HeatMap, size: tuple[int, int]) -> Image.Image:
    """The map alone at `size` (width, height): RGBA, transparent where it is low or speaks against the label.

    Each map is scaled to its own maximum.
    """
    strongest = float(heat.values.max())
    shares = np.maximum(heat.values, 0) / (strongest if strongest > 0 else 1)
    smooth = Image.fromarray(shares.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    shares = np.clip(np.asarray(smooth, np.float64), 0, 1)
    scale = np.linspace(0, 1, len(COLOURS))
    planes = [np.interp(shares, scale, COLOURS[:, channel]) for channel in range(3)]
    alpha = 255 * DENSEST * np.clip((shares - FAINT) / (1 - FAINT), 0, 1)
    return Image.fromarray(np.dstack([*planes, alpha]).round().astype(np.uint8))


def layer(heat: HeatMap, size: tuple[int, int]) -> Image.Image:
    """What lies over the whole picture at `size` (width, height): RGBA. Of a crop, only what it keeps is covered."""
    crop = Crop.of(heat.resize)
    if not crop or not heat.size:
        return colours(heat, size)
    left, upper, right, lower = map(round, crop.box(size, heat.size))
    over = Image.new("RGBA", size)
    over.paste(colours(heat, (max(1, right - left), max(1, lower - upper))), (left, upper))
    return over


def overlaid(data: bytes, heat: HeatMap, side: int) -> Image.Image:
    """The picture in the bytes of an image file with its map, fitted into `side` x `side`: RGB.

    Raises ImageError as `decode_within`.
    """
    picture = decode_within(data, side).convert("RGBA")
    return Image.alpha_composite(picture, layer(heat, picture.size)).convert("RGB")


def as_jpeg(picture: Image.Image, comment: bytes) -> bytes:
    """The bytes of a JPEG file with a comment in its header."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88, comment=comment)
    return file.getvalue()
