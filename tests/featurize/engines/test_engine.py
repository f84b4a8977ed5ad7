"""The compiled network: the rows of plain Keras, however many pictures come at once, each of them counted."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featurize.backbones.backbone_table import find_backbone
from featurize.backbones.network import build_network
from featurize.backbones.weights import Weights, locate
from featurize.engines.engine import Cost, Engine
from featurize.engines.tensorflow_engine import TensorFlowGraph


@pytest.fixture(scope="module")
def network() -> Any:
    return build_network("nano", locate(find_backbone("nano"), 96, None), (96, 96), None, "avg", "none")


@pytest.fixture(scope="module")
def engine(network: Any) -> Engine:
    return Engine(TensorFlowGraph(network))


@pytest.fixture(scope="module")
def pixels(surfaces: Path) -> np.ndarray:
    """36 real photographs: (36, 96, 96, 3) uint8."""
    pictures = [Image.open(path).convert("RGB").resize((96, 96)) for path in sorted(surfaces.glob("*/*.png"))]
    return np.stack([np.asarray(picture) for picture in pictures])


@pytest.fixture(scope="module")
def expected(network: Any, pixels: np.ndarray) -> np.ndarray:
    """What Keras itself gives."""
    return network.predict(pixels.astype(np.float32), verbose=0)


def alike(rows: np.ndarray, expected: np.ndarray) -> bool:
    """Whether all numbers agree within 1e-5 of the largest."""
    return rows.shape == expected.shape and bool(np.abs(rows - expected).max() < 1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 36])
def test_rows_are_those_of_keras_and_every_picture_counts_once(
    engine: Engine, pixels: np.ndarray, expected: np.ndarray, count: int
) -> None:
    rows = engine(pixels[:count], cost := Cost())
    assert rows.shape == (count, *engine.row_shape) and rows.dtype == np.float32
    assert alike(rows, expected[:count])
    assert cost.forward_passes == count


def test_a_row_does_not_depend_on_its_company(engine: Engine, pixels: np.ndarray, expected: np.ndarray) -> None:
    assert not alike(expected[:18], expected[18:])  # so that this test can fail
    assert alike(engine(pixels[::-1])[::-1], expected)
    assert alike(engine(np.concatenate([np.zeros_like(pixels[:20]), pixels[:5]]))[20:], expected[:5])


def test_no_picture_is_no_row_and_no_pass(engine: Engine, pixels: np.ndarray) -> None:
    cost = Cost()
    assert engine(pixels[:0], cost).shape == (0, *engine.row_shape) and cost.forward_passes == 0


def test_floats_and_bytes_of_the_same_pixels_give_the_same_row(engine: Engine, pixels: np.ndarray) -> None:
    assert np.array_equal(engine(pixels[:3]), engine(pixels[:3].astype(np.float32)))


def test_rows_stay_as_they_are_when_the_engine_goes_on(engine: Engine, pixels: np.ndarray) -> None:
    rows = engine(pixels[:8])
    kept = rows.copy()
    engine(pixels[-8:])
    assert np.array_equal(rows, kept)


def test_several_threads_may_compute_at_once(engine: Engine, pixels: np.ndarray, expected: np.ndarray) -> None:
    cost = Cost(total := Cost())
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda start: engine(pixels[start : start + 3], cost), range(0, 36, 3)))
    assert alike(np.concatenate(rows), expected) and cost.forward_passes == total.forward_passes == 36


def test_dropout_and_batch_norm_are_those_of_inference(pixels: np.ndarray, tmp_path: Path) -> None:
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    images = keras.Input((96, 96, 3))
    x = keras.layers.Conv2D(8, 3)(images)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    keras.Model(images, x).save(tmp_path / "own.keras")
    path = str(tmp_path / "own.keras")
    own = build_network(path, Weights("file", path), None, None, "avg", "none")
    engine = Engine(TensorFlowGraph(own))
    assert engine.size == (96, 96)
    rows = engine(pixels)
    assert np.array_equal(rows, engine(pixels))
    assert alike(rows, own.predict(pixels.astype(np.float32), verbose=0))


def test_the_provenance_names_engine_and_versions(engine: Engine) -> None:
    assert engine.provenance["engine"] == "tensorflow"
    assert {"tensorflow", "keras", "numpy", "pillow"} <= set(engine.provenance)
