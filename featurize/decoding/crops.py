"""How recipes of other frameworks bring a picture to the input: resize it as Pillow does, then cut out its centre.

The text of a `Crop` is the field `resize` of a spec, such as "bicubic-short256-floor" or "bilinear-squash". Imports
nothing heavy.
"""

import math
import re
from dataclasses import dataclass

Box = tuple[float, float, float, float]  # left, upper, right, lower in pixels

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")  # of Pillow, in lower case
ROUNDINGS = ("floor", "round")
_TEXT = re.compile(rf"({'|'.join(FILTERS)})-(?:squash(?:(\d+)x(\d+)-)?|short(\d+)-)({'|'.join(ROUNDINGS)})?")
MOST = 2**14  # pixels of a side
LEAST_SHARE = 0.01  # of a side that is kept
WHOLE = 8  # times the pixels of the input that a picture may be resized to


@dataclass(frozen=True)
class Crop:
    """A filter of Pillow, what the picture is resized to, and how the place of the crop is rounded.

    short: the shorter side in pixels, the other one in proportion. stretch: (height, width), whatever the shape was.
    Without both the picture is stretched to the input itself, and nothing is cut off. rounding: where an odd number of
    pixels is cut off, "floor" cuts the smaller part at the left and top, as transformers does; "round" rounds half of
    it to the nearest even number, as torchvision and timm do.
    """

    filter: str
    short: int | None = None
    stretch: tuple[int, int] | None = None
    rounding: str = "floor"

    @property
    def text(self) -> str:
        """What `of` reads again."""
        if self.short:
            return f"{self.filter}-short{self.short}-{self.rounding}"
        if self.stretch:
            return f"{self.filter}-squash{self.stretch[0]}x{self.stretch[1]}-{self.rounding}"
        return f"{self.filter}-squash"

    @classmethod
    def of(cls, text: str) -> "Crop | None":
        """The inverse of `text`; None for any other text."""
        found = _TEXT.fullmatch(text)
        if not found:
            return None
        name, height, width, short, rounding = found.groups()
        sides = [int(side) for side in (height, width, short) if side]
        if any(not 0 < side <= MOST for side in sides) or bool(sides) != bool(rounding):
            return None
        if short:
            return cls(name, short=sides[0], rounding=rounding)
        return cls(name, stretch=(sides[0], sides[1]), rounding=rounding) if sides else cls(name)

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether a crop of `size` (height, width) lies within every picture that was resized."""
        height, width = size
        if self.short:
            return self.short >= max(height, width)
        return self.stretch is None or (self.stretch[0] >= height and self.stretch[1] >= width)

    def resized(self, picture: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
        """What a picture of (width, height) pixels is resized to, (height, width), for an input of `size`."""
        if not self.short:
            return self.stretch or size
        width, height = picture  # the longer side is rounded down, by all these libraries
        if width <= height:
            return int(self.short * height / width), self.short
        return self.short, int(self.short * width / height)

    def is_thin(self, picture: tuple[int, int], size: tuple[int, int]) -> bool:
        """Whether so much would be cut off that it is not computed: then `box` is what is resized."""
        return math.prod(self.resized(picture, size)) > WHOLE * math.prod(size)

    def place(self, picture: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
        """The part of the resized picture that is kept: left, upper, right, lower."""
        (height, width), (new_height, new_width) = size, self.resized(picture, size)
        left, upper = self._offset(new_width - width), self._offset(new_height - height)
        return left, upper, left + width, upper + height

    def box(self, picture: tuple[int, int], size: tuple[int, int]) -> Box:
        """The part of the picture itself that is kept, to rounding."""
        (old_width, old_height), (new_height, new_width) = picture, self.resized(picture, size)
        left, upper, right, lower = self.place(picture, size)
        across, down = old_width / new_width, old_height / new_height
        return left * across, upper * down, min(right * across, old_width), min(lower * down, old_height)

    def _offset(self, cut_off: int) -> int:
        return cut_off // 2 if self.rounding == "floor" else round(cut_off / 2)


def short_side(side: int, share: float) -> int:
    """The shorter side in pixels of which a crop of `side` is that share, as timm rounds it."""
    return math.floor(side / share)
