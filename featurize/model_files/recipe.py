"""How a picture becomes the input of a model file: what the decoder does, and what is done to its numbers.

pixels 0..255 -> (pixels * scale - mean) / std -> the input of the network

The text of these numbers is the field `preprocess` of a spec, that of the resizing its field `resize`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cache.errors import UserError
from featurize.decoding.crops import MOST, Crop
from featurize.spec_options import LARGEST_SIDE

Three = tuple[float, float, float]

IDENTITY = "none"
WAYS = ("antialias", "nearest", "bilinear")  # of resizing, as `featurize.decoding.decode` has them
LARGEST = 1e6  # of any number here

# What `preprocess_input` of each module of Keras Applications does; the others leave pixels as they are.
_HALF, _255 = 1 / 127.5, 1 / 255
_KERAS: dict[str, tuple[float, Three, Three, bool]] = {
    **dict.fromkeys(
        ("inception_resnet_v2", "inception_v3", "mobilenet", "mobilenet_v2", "nasnet", "resnet_v2", "xception"),
        (_HALF, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), False),
    ),
    **dict.fromkeys(("resnet", "vgg16", "vgg19"), (1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), True)),
    "densenet": (_255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False),
}


@dataclass(frozen=True)
class Numbers:
    """(pixels * scale - mean) / std of each channel; bgr: channels in the order blue, green, red, as mean and std."""

    scale: float = 1.0
    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
    bgr: bool = False

    def __post_init__(self) -> None:
        for name, values in (("scale", (self.scale,)), ("mean", self.mean), ("std", self.std)):
            if not all(math.isfinite(value) and abs(value) <= LARGEST for value in values):
                raise UserError(f"{name} {_shown(values)} of the preprocessing: give finite numbers")
        if self.scale <= 0 or min(map(abs, self.std)) < 1 / LARGEST:
            raise UserError(f"scale {self.scale:g} and std {_shown(self.std)} of the preprocessing must be above 0")
        if self.scale > 2:
            raise UserError(f"scale {self.scale:g}: pixels are multiplied by it, so that it is 1 or such as 1/255")

    @property
    def text(self) -> str:
        """What `of` reads again, exactly; "none" where pixels stay as they are."""
        if self == Numbers():
            return IDENTITY
        scale = "1/255" if self.scale == _255 else _shown((self.scale,))
        return f"scale={scale} mean={_shown(self.mean)} std={_shown(self.std)}{' bgr' if self.bgr else ''}"

    @classmethod
    def of(cls, text: str) -> "Numbers":
        """The inverse of `text`; also of the name of a module of Keras Applications. Raises UserError for others."""
        if text == IDENTITY:
            return cls()
        if text in _KERAS:
            return cls(*_KERAS[text])
        words = words_of(text)
        if missing := {"scale", "mean", "std"} - words.keys():
            raise UserError(f"preprocess {text!r} lacks {', '.join(sorted(missing))}")
        return cls(float(words["scale"]), words["mean"], words["std"], bool(words.get("bgr")))


def words_of(text: str) -> dict[str, Any]:
    """What "scale=1/255 mean=0.5 std=0.2,0.2,0.2 crop=0.875 bgr" says. Raises UserError for anything else.

    mean and std are three numbers, or one for all channels; crop is a share of the shorter side, its pixels, or "none".
    """
    found: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name in found:
            raise UserError(f"preprocess {text!r}: {name} is there twice")
        if name == "scale":
            found[name] = number(value, word)
        elif name in ("mean", "std"):
            found[name] = three([number(one, word) for one in value.split(",")], word)
        elif name == "crop":
            found[name] = value
        elif word == "bgr":
            found[name] = True
        else:
            raise UserError(
                f"preprocess {text!r}: give scale=, mean=, std= and crop=, such as "
                "'scale=1/255 mean=0.5,0.5,0.5 std=0.5,0.5,0.5 crop=0.875', 'none', or a module of Keras Applications"
            )
    return found


def number(value: Any, where: str) -> float:
    """A finite number from text such as "0.5" or "1/255", or from JSON. Raises UserError for anything else."""
    numerator, _, denominator = str(value).partition("/")
    try:
        if isinstance(value, bool):
            raise ValueError
        result = float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        result = math.nan
    if not math.isfinite(result):
        raise UserError(f"{str(value)[:40]!r} in {where[:80]}: give a number such as 0.5 or 1/255")
    return result


def three(values: Iterable[float], where: str) -> Three:
    """One number for each channel; one alone is that of all. Raises UserError for another count."""
    several = tuple(values)
    several = several * 3 if len(several) == 1 else several
    if len(several) != 3:
        raise UserError(f"{where[:80]}: give three numbers, of red, green and blue, or one for all")
    return several[0], several[1], several[2]


@dataclass(frozen=True)
class Recipe:
    """size: (height, width) of the input in pixels. resize: as in a spec. source: where this was read."""

    size: tuple[int, int]
    resize: str
    numbers: Numbers
    source: str

    def __post_init__(self) -> None:
        if max(self.size) > LARGEST_SIDE:
            height, width = self.size
            raise UserError(f"size {height}x{width} of {self.source}: sides up to {LARGEST_SIDE} are computed")
        if self.resize not in WAYS and not Crop.of(self.resize):
            raise UserError(f"resize {self.resize} of {self.source}: sides up to {MOST} pixels are known")

    def __str__(self) -> str:
        """One line for people."""
        height, width = self.size
        return f"size {height}x{width}, resize {self.resize}, pixels {self.numbers.text} ({self.source})"


def _shown(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" if float(f"{value:g}") == value else repr(value) for value in values)
