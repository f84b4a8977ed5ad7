"""OpenVINO gives the rows of TensorFlow; its graph is converted once, and never used when it is not as written."""

import json
import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, SPEC

import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.engines.choose import open_graph
from featurize.engines.converted import FOLDER, kept_graph
from featurize.engines.engine import Cost, Engine
from featurize.engines.openvino_engine import OpenVinoGraph
from featurize.resolve import Resolved, resolve


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> Resolved:
    return resolve(DigestTable(str(tmp_path_factory.mktemp("table"))), **SPEC)


@pytest.fixture(scope="module")
def cache(resolved: Resolved, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the converted graph of `nano`."""
    folder = tmp_path_factory.mktemp("cache")
    open_graph(resolved, str(folder))
    return folder


@pytest.fixture(scope="module")
def pixels(surfaces: Path) -> np.ndarray:
    """36 real photographs: (36, 96, 96, 3) uint8."""
    from featurize.decoding.decode import decode

    return np.stack([decode(path.read_bytes(), (96, 96)) for path in sorted(surfaces.glob("*/*.png"))])


def not_again() -> Any:
    raise AssertionError("the network was built again")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "flatten", "size": "64x96"},
        {"pooling": "max", "layer": "down8"},
        {"pooling": "none", "layer": "down8", "size": "64x96"},
        {"backbone": "efficientnet_b0", "weights": "random", "size": 64},
        {"backbone": "efficientnet_lite0", "size": 64},
        {"backbone": "efficientnet_lite2", "size": "65x96", "layer": "block5d_add", "pooling": "none"},
    ],
    ids=str,
)
def test_both_engines_give_the_same_rows(pixels: np.ndarray, tmp_path: Path, options: dict[str, Any]) -> None:
    from featurize.decoding.decode import decode

    rows = {}
    for name in ("tensorflow", "openvino"):
        asked = resolve(DigestTable(str(tmp_path)), **(SPEC | options), engine=name)
        engine = Engine(open_graph(asked, str(tmp_path)))
        assert engine.provenance["engine"] == name
        shown = [decode(_png(picture), engine.size) for picture in pixels]
        rows[name] = engine(np.stack(shown))
    expected, found = rows.values()
    assert found.shape == expected.shape and found.dtype == np.float32
    found, expected = (rows.reshape(len(rows), -1) for rows in (found, expected))
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.99999
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("count", [1, 2, 35, 36])
def test_a_row_does_not_depend_on_its_company(resolved: Resolved, cache: Path, pixels: np.ndarray, count: int) -> None:
    engine = Engine(open_graph(resolved, str(cache)))
    cost = Cost()
    everything, some = engine(pixels, cost), engine(pixels[-count:], cost)
    assert np.array_equal(some, everything[-count:])  # every picture is computed alone
    assert cost.forward_passes == len(pixels) + count


def test_several_threads_may_compute_at_once(resolved: Resolved, cache: Path, pixels: np.ndarray) -> None:
    engine = Engine(open_graph(resolved, str(cache)))
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(engine, (pixels[start : start + 3] for start in range(0, 36, 3))))
    assert np.array_equal(np.concatenate(rows), engine(pixels))


def test_rows_stay_as_they_are_when_the_engine_goes_on(resolved: Resolved, cache: Path, pixels: np.ndarray) -> None:
    engine = Engine(open_graph(resolved, str(cache)))
    rows = engine(pixels[:8])
    kept = rows.copy()
    engine(pixels[-8:])
    assert np.array_equal(rows, kept)


def test_a_network_is_converted_once(resolved: Resolved, cache: Path) -> None:
    kept_graph(resolved, str(cache), not_again)
    assert not list((cache / FOLDER).glob("*.tmp"))


def test_another_network_has_another_graph(cache: Path) -> None:
    others = [{"size": 64}, {"pooling": "max"}, {"layer": "down8"}, {"weights": "random"}]
    for options in others:
        other = resolve(DigestTable(str(cache)), **(SPEC | options))
        with pytest.raises(AssertionError, match="built again"):
            kept_graph(other, str(cache), not_again)


@pytest.mark.parametrize("name", ["network.xml", "network.bin", "digests.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_graph_is_converted_again(
    resolved: Resolved, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    copy = Path(shutil.copytree(cache, tmp_path / "copy"))
    path = next((copy / FOLDER).iterdir()) / name
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()
    with caplog.at_level(logging.WARNING, "bottleneck"), pytest.raises(AssertionError, match="built again"):
        kept_graph(resolved, str(copy), not_again)
    assert "damaged" in caplog.text or damage == "gone"


def test_a_new_process_computes_without_tensorflow(cache: Path, surfaces: Path) -> None:
    code = (
        "import pipeline, sys, json\n"
        f"report = pipeline.features({str(surfaces)!r}, cache_dir={str(cache)!r}, backbone='nano')\n"
        "print(report['forward_passes'], sorted({'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "36 []\n"


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_random_weights_are_announced_every_time(tmp_path: Path, caplog: pytest.LogCaptureFixture, engine: str) -> None:
    asked = resolve(DigestTable(str(tmp_path)), backbone="nano", weights="random", engine=engine)
    with caplog.at_level(logging.WARNING, "bottleneck"):
        for times in (1, 2):
            open_graph(asked, str(tmp_path))
            assert caplog.text.count("nano has random weights") == times


def test_an_unknown_engine_is_refused(surfaces: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="auto, openvino, tensorflow"):
        pipeline.features(str(surfaces), cache_dir=str(tmp_path / "c"), backbone="nano", engine="onnx")


def test_without_openvino_tensorflow_computes_and_says_so(
    resolved: Resolved, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    import featurize.engines.choose

    monkeypatch.setattr(featurize.engines.choose.importlib.util, "find_spec", lambda _name: None)
    with caplog.at_level(logging.INFO, "bottleneck"):
        assert open_graph(resolved, str(tmp_path)).name == "tensorflow"
    assert "engine: tensorflow; faster with OpenVINO: pip install openvino" in caplog.text
    with pytest.raises(UserError, match="not installed"):
        open_graph(dataclasses.replace(resolved, engine="openvino"), str(tmp_path))


def test_a_gpu_that_tensorflow_uses_goes_before_openvino(
    resolved: Resolved, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    import featurize.engines.choose

    monkeypatch.setattr(featurize.engines.choose, "tensorflow_has_gpu", lambda: True)
    with caplog.at_level(logging.INFO, "bottleneck"):
        assert open_graph(resolved, str(tmp_path)).name == "tensorflow"
    assert "engine: tensorflow, on a GPU" in caplog.text
    assert open_graph(dataclasses.replace(resolved, engine="openvino"), str(tmp_path)).name == "openvino"


def test_a_driver_alone_is_no_gpu_of_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    import featurize.engines.choose
    from featurize.engines.keras_import import import_keras

    monkeypatch.setattr(featurize.engines.choose.glob, "glob", lambda _pattern: ["/dev/nvidia0"])
    import_keras()
    import tensorflow as tf

    assert featurize.engines.choose.tensorflow_has_gpu() == bool(tf.config.list_physical_devices("GPU"))


def test_what_openvino_cannot_take_tensorflow_computes_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    images = keras.Input((32, 32, 3))
    convolved = keras.layers.Conv2D(4, 3)(keras.ops.erfinv(images / 300))  # no such operation in OpenVINO
    keras.Model(images, convolved).save(tmp_path / "own.keras")
    own = {"backbone": str(tmp_path / "own.keras")}
    root = logging.getLogger()
    before = root.level, root.filters[:], root.handlers[:]
    with caplog.at_level(logging.INFO, "bottleneck"):
        graph = open_graph(resolve(DigestTable(str(tmp_path)), **own), str(tmp_path))
    assert (root.level, root.filters, root.handlers) == before  # what is announced later is heard
    assert graph.name == "tensorflow" and Engine(graph)(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 4)
    assert "engine: tensorflow, because OpenVINO cannot take" in caplog.text
    with pytest.raises(UserError, match="--engine tensorflow"):
        open_graph(resolve(DigestTable(str(tmp_path)), **own, engine="openvino"), str(tmp_path))
    assert not list(tmp_path.glob(f"{FOLDER}/*"))


def test_the_graph_says_what_it_was_made_from(cache: Path, resolved: Resolved) -> None:
    record = json.loads((next((cache / FOLDER).iterdir()) / "digests.json").read_text())
    assert resolved.spec.weights in record["made from"]
    graph = OpenVinoGraph(kept_graph(resolved, str(cache), not_again))
    assert (graph.size, graph.row_shape) == ((96, 96), (1280,))


def _png(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
