"""One wording for each recipe, one name for each view, and a line for what is none."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from featurize.pictures.recipes import (
    DEFAULTS,
    FILL_MODES,
    IN_PARAMETERS,
    MOST_VIEWS,
    RECIPES,
    canonical,
    ranges_of,
    recipe_of,
    views_of,
    views_with_original,
)

shares = st.floats(0, 0.99)
pairs = st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)).map(sorted)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "rotation_range": st.floats(0, 359) | st.integers(0, 359),
        "width_shift_range": shares,
        "height_shift_range": shares,
        "shear_range": st.floats(0, 79),
        "zoom_range": shares | pairs,
        "horizontal_flip": st.booleans(),
        "vertical_flip": st.booleans(),
        "brightness_range": pairs,
        "fill_mode": st.sampled_from(FILL_MODES),
    },
)


def refused(recipe: str) -> str:
    with pytest.raises(UserError) as caught:
        canonical(recipe)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 600
    return message


@given(parameters, st.randoms())
def test_however_a_request_is_worded_it_has_one_name(parameters, random) -> None:  # type: ignore[no-untyped-def]
    words = [f"{name}={value}" for name, value in parameters.items()]
    try:
        name = canonical(" ".join(words))
    except UserError:
        return  # it changes nothing
    random.shuffle(words)
    assert canonical("  ".join(words)) == name == canonical(name)
    assert ranges_of(name) == ranges_of(" ".join(words))
    for view in views_of(name, 3):
        assert recipe_of(view)[0] == name and len(view) < 256


def test_requests_for_different_things_have_different_names() -> None:
    names = [canonical(f"{name}=0.5" if name.endswith("shift_range") else f"{name}=20") for name in DEFAULTS
             if name.endswith(("rotation_range", "shear_range", "shift_range"))]  # fmt: skip
    assert len({*names, *RECIPES}) == len(names) + len(RECIPES)


@pytest.mark.parametrize(
    "wordings",
    [
        ["zoom_range=0.2", "zoom_range=0.8,1.2", "zoom_range=(0.8, 1.2)", "zoom_range = [0.8,1.2]"],
        ["rotation_range=40 horizontal_flip=True", "horizontal_flip=True\nrotation_range=40.0 vertical_flip=False"],
        ["tutorial-alpaca", "fill_mode=reflect rotation_range=72 horizontal_flip=True"],
    ],
)
def test_wordings_of_the_same(wordings: list[str]) -> None:
    assert len({canonical(wording) for wording in wordings}) == 1


def test_parameters_that_have_a_name_get_it() -> None:
    for name in IN_PARAMETERS:
        given = " ".join(f"{key}={value}" for key, value in vars(ranges_of(name)).items())
        assert canonical(given) == name


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ("flips", "choose one of mirror-crops, flip"),
        ("rotation=40", "rotation_range, width_shift_range"),
        ("", "changes nothing"),
        ("rotation_range=0 zoom_range=0", "changes nothing"),
        ("rotation_range=nan", "rotation_range 'nan': give a number from 0, below 360"),
        ("rotation_range=-1", "from 0"),
        ("rotation_range=1e999", "below 360"),
        ("width_shift_range=30", "below 1"),  # Keras takes it for pixels, of which pictures have different numbers
        ("shear_range=90", "below 80"),
        ("zoom_range=1", "two factors"),
        ("zoom_range=1.2,0.8", "two factors"),
        ("zoom_range=1,2,3", "two factors"),
        ("brightness_range=0.5", "two factors"),
        ("horizontal_flip=yes", "True or False"),
        ("fill_mode=wrap", "nearest or reflect or constant"),
        ("rotation_range=3 rotation_range=4", "there twice"),
        ("rotation_range=40\x1b[2J", "give a number"),
        ("\x1b[2J" * 1000, "choose one of"),
    ],
)
def test_what_is_no_recipe_is_refused_with_what_is(recipe: str, reason: str) -> None:
    assert reason in refused(recipe)


def test_more_views_begin_with_the_same_ones() -> None:
    for recipe in (*RECIPES, "rotation_range=3"):
        if recipe != "flip":
            assert views_of(recipe, 12)[:3] == views_of(recipe, 3) == [f"{recipe}-{number}" for number in (1, 2, 3)]
    assert views_with_original("crops", 3) == ("original", "crops-1", "crops-2")
    assert views_with_original("crops", 1) == ("original",)


def test_a_flip_is_one_view() -> None:
    assert views_with_original("flip", 2) == views_with_original("mirror-crops", 2) == ("original", "mirror-crops-1")
    assert recipe_of("flip-1") == ("flip", 1)  # in caches of earlier versions
    with pytest.raises(UserError, match=r"recipe flip has one view.*not 3"):
        views_with_original("flip", 3)
    with pytest.raises(UserError, match="unknown view"):
        recipe_of("flip-2")


@pytest.mark.parametrize("count", [0, -1, MOST_VIEWS + 1, 2.0, True, "2", None])
def test_numbers_of_views_have_limits(count: int) -> None:
    with pytest.raises(UserError, match=f"views {re.escape(repr(count))}: give a number from 1 to {MOST_VIEWS}"):
        views_with_original("crops", count)


@pytest.mark.parametrize(
    "view",
    ["crops", "crops-0", "crops-01", "flips-1", "original-1", "", "-1", "crops-٣", "crops-1\n", "rotation_range=40.0-1",
     "horizontal_flip=True rotation_range=72 fill_mode=reflect-1", "\x1b[2J-1"],
)  # fmt: skip
def test_a_view_that_is_none_is_refused(view: str) -> None:
    with pytest.raises(UserError, match="unknown view") as caught:
        recipe_of(view)
    assert str(caught.value).isprintable()


def test_every_number_of_views_of_every_recipe_is_another_name() -> None:
    names = itertools.chain.from_iterable(views_of(recipe, 1 if recipe == "flip" else 63) for recipe in RECIPES)
    assert len(set(names)) == 63 * (len(RECIPES) - 1)  # that of flip is the first of mirror-crops
