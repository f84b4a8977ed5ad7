"""What callers from Python may give: their values become plain Python's, and wrong ones are answered in one line.

Here alone: `pipeline` and its functions may then rely on whole numbers, shares and paths, and what they write is JSON.
"""

import functools
import math
import numbers
import operator
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar

from cache.errors import UserError, naming_packages
from cache.files.path_kinds import is_url

P = ParamSpec("P")
R = TypeVar("R")


class Allowed(NamedTuple):
    """The valid values of a parameter, as a test and in words."""

    test: Callable[[Any], bool]
    words: str


def number(least: float, *, open_end: bool = False, below: float = math.inf, most: float = math.inf) -> Allowed:
    """Finite numbers from `least` (or only above it, with `open_end`) to `most`, but not including `below`."""
    enough = operator.gt if open_end else operator.ge
    words = f"a number {'above' if open_end else 'of at least'} {least:g}"
    words += "" if below == math.inf else f" and below {below:g}"
    return Allowed(
        lambda value: _is(value, numbers.Real) and bool(enough(value, least) and value < below and value <= most),
        words if most == math.inf else f"{words} and at most {most:g}",
    )


def whole(least: int, most: float = math.inf) -> Allowed:
    """Whole numbers from `least` to `most`."""
    return Allowed(
        lambda value: _is(value, numbers.Integral) and bool(least <= value <= most),
        f"a whole number of at least {least}{f' and at most {most}' if most < math.inf else ''}",
    )


def or_none(allowed: Allowed) -> Allowed:
    """These values and None."""
    return Allowed(lambda value: value is None or allowed.test(value), f"{allowed.words}, or None")


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)  # Python counts True and False as integers


MOST_SEED = 2**32 - 1  # that numpy takes
SEED = whole(0, MOST_SEED)
SHARE = number(0, most=1)
INSIDE = number(0, open_end=True, below=1)
NUMBERS = {
    "seed": SEED,
    "cv": whole(0),
    "folds": whole(2),
    "k": whole(1),
    "n_jobs": or_none(whole(1)),
    "views": or_none(whole(1)),
    "predict_views": or_none(whole(1)),
    "shard_rows": or_none(whole(1)),
    "test_size": INSIDE,
    "prevalence": or_none(INSIDE),
    "max_failed": SHARE,
    "max_missing": SHARE,
    "accept": or_none(INSIDE),
    "coverage": or_none(INSIDE),
}
PATHS = {"data", "model", "output", "cache_dir", "weights", "backbone", "labels", "tensorboard"}
WRITTEN = {"output"}  # always needed, where a function has it
MAY_BE_ADDRESSES = {"data", "labels"}
AS_GIVEN = {"images"}  # pixels of numpy among them: `featurize.pictures.sources.expand` takes these


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: its arguments come as plain Python values.

    Numbers and strings of numpy become Python's, also in dictionaries, lists and tuples; a float that is whole becomes
    an integer where one is wanted; `~` in a path is the home of the user, as a shell has it. Raises UserError for a
    value of `NUMBERS` that is not valid, and where a package is needed that is not installed.
    """
    names = function.__code__.co_varnames[: function.__code__.co_argcount]

    @functools.wraps(function)
    def checked(*given: P.args, **named: P.kwargs) -> R:
        first = [_checked(name, value) for name, value in zip(names, given, strict=False)]
        options = plain_options(named)
        with naming_packages():
            return function(*first, *given[len(first) :], **options)  # type: ignore[arg-type]  # the same names

    return checked


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Named arguments as `checked_arguments` gives them. Raises UserError as it does."""
    return {name: _checked(name, value) for name, value in options.items()}


def at_home(path: Any) -> Any:
    """A path as text, `~` at its start the home of the user unless that very name is there; others as they are."""
    if not isinstance(path, str | os.PathLike):
        return path
    path = os.fsdecode(path)
    return os.path.expanduser(path) if path.startswith("~") and not os.path.lexists(path) else path


def _checked(name: str, value: Any) -> Any:
    value = value if name in AS_GIVEN else plain(value)
    if name in WRITTEN and not isinstance(value, str | os.PathLike):
        raise UserError(f"{name}={value!r} is not valid: give the path of a file to write")
    if name in PATHS:
        if name not in MAY_BE_ADDRESSES and isinstance(value, str) and is_url(value):
            from cache.remote.file_systems import without_secrets

            raise UserError(
                f"{name} {without_secrets(value)!r} is an address: give a path on this machine (features are copied "
                "with `cache push` and `cache pull`)"
            )
        return at_home(value)
    if name == "size":
        return tuple(map(_whole, value)) if isinstance(value, list | tuple) else _whole(value)
    allowed = NUMBERS.get(name)
    if allowed is None:
        return value
    if not allowed.test(wanted := _whole(value)):
        raise UserError(f"{name}={value!r} is not valid: give {allowed.words}")
    return wanted


def _whole(value: Any) -> Any:
    """A float that is a whole number as an integer; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def plain(value: Any) -> Any:
    """`value` with the numbers and strings of numpy, also those in dictionaries, lists and tuples, as Python's."""
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.item() if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 else value
