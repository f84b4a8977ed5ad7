"""Recipes of views: by name, or by parameters in the terms of Keras' `ImageDataGenerator`. Imports nothing heavy.

A view's name is RECIPE-NUMBER ("mirror-crops-3"), its recipe in the one wording that all requests for the same thing
have: the same request has the same rows.
"""

import math
import re
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from cache.errors import UserError
from cache.row_key import ORIGINAL_VIEW

MOST_VIEWS = 64  # of a picture, the picture itself among them
FILL_MODES = ("nearest", "reflect", "constant")
SHOWN = 100  # characters of a recipe in a message


@dataclass(frozen=True)
class Ranges:
    """Ranges of uniform random parameters; names and meaning are Keras', whose `zoom_range` z is 1 - z to 1 + z.

    rotation_range      degrees, either way
    width_shift_range   sideways, share of the width, either way; `height_shift_range` likewise
    shear_range         degrees, either way
    zoom_range          factors (lowest, highest) of what is shown, drawn for width and height each
    horizontal_flip     half of the views are mirrored; `vertical_flip` likewise
    brightness_range    factors (lowest, highest)
    fill_mode           what is beyond the edges: nearest (the pixel at the edge), reflect, constant (black)
    """

    rotation_range: float = 0.0
    width_shift_range: float = 0.0
    height_shift_range: float = 0.0
    shear_range: float = 0.0
    zoom_range: tuple[float, float] = (1.0, 1.0)
    horizontal_flip: bool = False
    vertical_flip: bool = False
    brightness_range: tuple[float, float] = (1.0, 1.0)
    fill_mode: str = "nearest"


DEFAULTS = {field.name: field.default for field in fields(Ranges)}
LIMITS = {  # numbers are not negative, and below these
    "rotation_range": 360.0, "width_shift_range": 1.0, "height_shift_range": 1.0, "shear_range": 80.0,
    "zoom_range": 10.0, "brightness_range": 10.0,
}  # fmt: skip

# What two tutorials do: Keras' layers RandomFlip("horizontal") and RandomRotation(0.2), that is 0.2 of a full turn; and
# `ImageDataGenerator` as it is often seen. The other three are pictures of their own, see `featurize.pictures.views`.
IN_PARAMETERS = {
    "tutorial-alpaca": Ranges(rotation_range=72, horizontal_flip=True, fill_mode="reflect"),
    "tutorial-breeds": Ranges(
        rotation_range=40, width_shift_range=0.2, height_shift_range=0.2, shear_range=0.2, zoom_range=(0.8, 1.2),
        horizontal_flip=True,
    ),
}  # fmt: skip
FORMER_VIEWS = {"mirror-crops-1": "flip-1"}  # names that the same pixels had besides
RECIPES = ("mirror-crops", "flip", "crops", *IN_PARAMETERS)


def views_of(recipe: str, count: int) -> list[str]:
    """The names of the first `count` views of a recipe, without the original.

    Raises UserError for an unknown recipe, and for more views than it has.
    """
    recipe = canonical(recipe)
    if recipe == "flip" and count > 1:
        raise UserError(f"recipe flip has one view, the mirror image: it makes 2 views of a picture, not {count + 1}")
    if recipe == "flip":
        recipe = "mirror-crops"  # whose first view it is
    return [f"{recipe}-{number}" for number in range(1, count + 1)]


def most_views(recipe: str) -> int:
    """How many views of a picture a recipe makes at most, the picture itself among them."""
    return 2 if recipe == "flip" else MOST_VIEWS


def views_with_original(recipe: str, count: int) -> tuple[str, ...]:
    """The names of `count` views of a picture, the first being the picture itself. Raises UserError as `views_of`."""
    if type(count) is not int or not 1 <= count <= MOST_VIEWS:
        raise UserError(f"views {count!r}: give a number from 1 to {MOST_VIEWS}, the picture itself being one")
    return ORIGINAL_VIEW, *views_of(recipe, count - 1)


def recipe_of(view: str) -> tuple[str, int]:
    """(recipe, number) of a view that is not the original. Raises UserError where there is no such view."""
    recipe, _, number = view.rpartition("-")
    try:
        known = canonical(recipe) == recipe and re.fullmatch(r"[1-9]\d*", number, re.ASCII)
    except UserError:
        known = None
    if not known or (recipe == "flip" and number != "1"):
        raise UserError(f"unknown view {view[:SHOWN]!r}: a view is a recipe and a number, such as mirror-crops-1")
    return recipe, int(number)


@lru_cache(maxsize=64)
def canonical(recipe: str) -> str:
    """A recipe's name or, where parameters have none, these in order, numbers to six digits, defaults left out.

    Raises UserError for what is neither, with the valid ones.
    """
    if recipe in RECIPES:
        return recipe
    ranges = ranges_of(recipe)
    names = [name for name, known in IN_PARAMETERS.items() if known == ranges]
    return names[0] if names else " ".join(
        f"{name}={_text(value)}" for name, value in sorted(vars(ranges).items()) if value != DEFAULTS[name]
    )  # fmt: skip


@lru_cache(maxsize=64)
def ranges_of(recipe: str) -> Ranges:
    """The ranges of a recipe's random parameters. Raises UserError for anything but the ranges of `Ranges`."""
    if recipe in IN_PARAMETERS:
        return IN_PARAMETERS[recipe]
    given: dict[str, Any] = {}
    words = re.findall(r"\w+\s*=\s*(?:\([^()]*\)|\[[^][]*\]|\S+)|\S+", recipe)
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals or name not in DEFAULTS:
            raise UserError(
                f"recipe {recipe[:SHOWN]!r}: choose one of {', '.join(RECIPES)}, or parameters such as "
                f"'rotation_range=40 horizontal_flip=True': {', '.join(DEFAULTS)}"
            )
        if name in given:
            raise UserError(f"recipe {recipe[:SHOWN]!r}: {name} is there twice")
        given[name] = _parsed(name, value)
    if (ranges := Ranges(**given)) == Ranges():
        raise UserError(f"recipe {recipe[:SHOWN]!r} changes nothing: choose one of {', '.join(RECIPES)}")
    return ranges


def _parsed(name: str, text: str) -> Any:
    """The value of a parameter. Raises UserError for what it cannot have."""
    default = DEFAULTS[name]
    if isinstance(default, bool | str):
        valid: dict[str, Any] = {"True": True, "False": False}
        if isinstance(default, str):
            valid = {mode: mode for mode in FILL_MODES}
        if text not in valid:
            raise _refusal(name, text, " or ".join(valid))
        return valid[text]
    pair = isinstance(default, tuple)
    numbers = [_number(part) for part in text.strip("()[]").split(",")] if pair else [_number(text)]
    if name == "zoom_range" and len(numbers) == 1:
        numbers = [_rounded(1 - numbers[0]), _rounded(1 + numbers[0])]
    lowest_allowed = 0.01 if name == "zoom_range" else 0.0  # of none of the picture nothing could be shown
    fits = all(lowest_allowed <= number < LIMITS[name] for number in numbers) and numbers == sorted(numbers)
    if not fits or len(numbers) != 1 + pair:
        what = "two factors such as 0.8,1.2" if pair else "a number from 0"
        raise _refusal(name, text, f"{what}, below {LIMITS[name]:g}")
    return tuple(numbers) if pair else numbers[0]


def _number(text: str) -> float:
    """A number as `_text` can write it; not a number where there is none."""
    try:
        return _rounded(float(text))
    except ValueError:
        return math.nan


def _rounded(number: float) -> float:
    return float(f"{number:.6g}")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


def _refusal(name: str, text: str, valid: str) -> UserError:
    return UserError(f"recipe: {name} {text[:SHOWN]!r}: give {valid}")
