"""One thing has one key: two requests for the same rows compute them once."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED, SPEC

import pipeline
from cache.errors import UserError
from featurize.backbones.model_config import default_layer
from featurize.decoding.decode import decode_views
from featurize.joined_options import check_parts

Build = Callable[[Any, Any], Any]  # (keras, images) -> output


def headless(keras: Any, x: Any) -> Any:
    return keras.layers.ReLU(name="last")(keras.layers.Conv2D(4, 3, padding="same", name="conv")(x))


def classifying(keras: Any, x: Any) -> Any:
    return keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(headless(keras, x)))


def residual(keras: Any, x: Any) -> Any:
    x = headless(keras, x)
    return keras.layers.Flatten()(keras.layers.Add(name="sum")([x, keras.layers.Conv2D(4, 1)(x)]))


def branched(keras: Any, x: Any) -> Any:
    x = headless(keras, x)
    pooled = [keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3, name=name)(x)) for name in "ab"]
    return keras.layers.Concatenate()(pooled)


def by_an_operation(keras: Any, x: Any) -> Any:
    return headless(keras, x) + 1.0


def save(folder: Path, build: Build) -> str:
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    images = keras.Input((32, 32, 3))
    path = str(folder / "own.keras")
    keras.Model(images, build(keras, images)).save(path)
    return path


@pytest.fixture
def photo(surfaces: Path) -> list[str]:
    return [str(surfaces / "brick" / "brick.0.png")]


@pytest.mark.parametrize(
    ("build", "expected"),
    [(headless, "last"), (classifying, "last"), (residual, "sum"), (branched, None), (by_an_operation, None)],
)
def test_the_default_layer_is_told_where_it_is_certain(build: Build, expected: str | None, tmp_path: Path) -> None:
    assert default_layer(save(tmp_path, build)) == expected


@pytest.mark.parametrize("build", [headless, classifying, residual])
def test_an_own_model_has_the_same_rows_with_and_without_the_name_of_its_last_layer(
    build: Build, tmp_path: Path, photo: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    path, cache = save(tmp_path, build), str(tmp_path / "cache")
    name = default_layer(path)
    with caplog.at_level(logging.INFO, "bottleneck"):
        assert pipeline.open_extractor(cache, backbone=path).run(photo).forward_passes == 1
    assert f"taken from its last layer with a feature map, {name}" in caplog.text  # as Keras has it
    named = pipeline.open_extractor(cache, backbone=path, layer=name)
    assert named.run(photo).forward_passes == 0
    other = pipeline.open_extractor(cache, backbone=path, layer="conv")
    assert other.run(photo).forward_passes == 1  # another layer is another thing
    check_parts(named.spec, "m.joblib", {"backbone": path, "layer": name}, named.table)
    with pytest.raises(UserError, match="contradicts"):
        check_parts(named.spec, "m.joblib", {"backbone": path, "layer": "conv"}, named.table)


def test_the_mirror_image_is_computed_once_whichever_recipe_names_it(tmp_path: Path, photo: list[str]) -> None:
    for recipe, passes in (("flip", 2), ("mirror-crops", 0), ("flip", 0)):
        extractor = pipeline.open_extractor(str(tmp_path), **SPEC, views=2, recipe=recipe)
        assert extractor.run(photo).forward_passes == passes


def test_both_names_of_the_mirror_image_show_the_same_pixels() -> None:
    data = (BUNDLED / "astronaut.png").read_bytes()
    for resize in ("antialias", "nearest"):
        one, other = decode_views(data, (64, 80), resize, ["flip-1", "mirror-crops-1"]).pixels
        assert np.array_equal(one, other)


def test_rows_under_a_former_key_are_announced(
    tmp_path: Path, photo: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as an earlier version named the view
        patch.setattr("featurize.resolve.views_with_original", lambda *_: ("original", "flip-1"))
        pipeline.open_extractor(str(tmp_path), **SPEC, views=2, recipe="flip").run(photo)
    with caplog.at_level(logging.INFO, "bottleneck"):
        extractor = pipeline.open_extractor(str(tmp_path), **SPEC, views=2, recipe="flip")
    (line,) = [message for message in caplog.messages if "former key" in message]
    assert "computed again" in line and extractor.run(photo).forward_passes == 1
