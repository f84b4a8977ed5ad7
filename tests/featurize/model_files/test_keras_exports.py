"""A ResNet of Keras, exported to ONNX, TFLite and OpenVINO: the rows of its `.keras` file, through the command line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import pipeline
from featurize import Featurizer
from featurize.engines.silent_openvino import import_openvino

SIDE = 64
Run = Callable[..., tuple[int, str, str]]


class Exports(NamedTuple):
    """The same network in four files, and a folder with a sidecar."""

    keras: str
    onnx: str
    tflite: str
    openvino: str
    folder: str


def residual_network(keras: Any, full: bool) -> Any:
    """A ResNet without its top: that of Keras Applications, or one of the same layers with three blocks."""
    if full:
        return keras.applications.ResNet50(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 7, strides=2, padding="same")(image)))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        shortcut = layers.BatchNormalization()(layers.Conv2D(filters, 1, strides=stride)(x))
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, strides=stride, padding="same")(x)))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(y))
        x = layers.ReLU()(layers.Add()([shortcut, y]))
    return keras.Model(image, x)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Exports:
    from featurize.backbones.network import seeded
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    folder = tmp_path_factory.mktemp("exports")
    with seeded(0):
        network = residual_network(keras, request.config.getoption("--full"))
    for layer in network.layers:  # as training leaves it: normalisation that does something
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            varied = np.linspace(0.5, 1.5, len(gamma))
            layer.set_weights([gamma * varied, beta + varied / 9, mean + varied / 9, variance * varied[::-1]])
    network(np.zeros((1, SIDE, SIDE, 3), np.float32))
    found = Exports(*(str(folder / name) for name in ("r.keras", "r.onnx", "r.tflite", "ir/r.xml", "folder")))
    network.save(found.keras)
    network.export(found.onnx, format="onnx", verbose=False)
    concrete = tf.function(lambda image: network(image, training=False)).get_concrete_function(
        tf.TensorSpec((1, SIDE, SIDE, 3))
    )
    frozen = convert_variables_to_constants_v2(concrete)
    Path(found.tflite).write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
    openvino = import_openvino()
    openvino.save_model(openvino.Core().read_model(found.onnx), found.openvino, compress_to_fp16=False)
    Path(found.folder, "onnx").mkdir(parents=True)
    os.link(found.onnx, os.path.join(found.folder, "onnx", "model.onnx"))
    Path(found.folder, "model.json").write_text(
        json.dumps({"size": SIDE, "resize": "bilinear", "crop": 0.875, "scale": "1/255", "mean": 0.5, "std": [0.5] * 3})
    )
    return found


def rows(model: str, surfaces: Path, cache: Path, **options: Any) -> np.ndarray:
    pictures = sorted(map(str, surfaces.glob("*/*.png")))[::5]
    found: np.ndarray = Featurizer(model, cache_dir=str(cache), **options).transform(pictures)
    return found


@pytest.mark.parametrize("preprocess", ["none", "resnet"])
def test_the_rows_of_every_export_are_those_of_the_keras_file(
    run: Run, exports: Exports, surfaces: Path, tmp_path: Path, preprocess: str
) -> None:
    cache = tmp_path / "cache"
    options = ["--preprocess", preprocess, "--data", surfaces, "--cache-dir", cache]
    for path in (exports.keras, exports.onnx, exports.tflite, exports.openvino):
        status, _, said = run("features", "--backbone", path, *options)
        assert status == 0, said
        report = tmp_path / "report.json"
        assert run("features", "--backbone", path, *options, "--json", report)[0] == 0
        assert json.loads(report.read_text())["computed"] == 0  # the rows below come from the cache
    expected = rows(exports.keras, surfaces, cache, preprocess=preprocess)
    for path in (exports.onnx, exports.tflite, exports.openvino):
        found = rows(path, surfaces, cache, preprocess=preprocess)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
        assert len(np.unique(found.round(3), axis=0)) == len(found)  # of different pictures


@pytest.mark.parametrize(
    "module",
    ["resnet", "resnet_v2", "vgg16", "vgg19", "inception_v3", "inception_resnet_v2", "xception", "mobilenet",
     "mobilenet_v2", "nasnet", "densenet"],
)  # fmt: skip
def test_the_preprocessing_of_keras_applications_goes_by_its_name(module: str) -> None:
    from featurize.engines.keras_import import import_keras
    from featurize.model_files.recipe import Numbers

    pixels = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    expected = getattr(import_keras().applications, module).preprocess_input(pixels.copy())
    numbers = Numbers.of(module)
    ordered = pixels[..., ::-1] if numbers.bgr else pixels
    found = (ordered * numbers.scale - numbers.mean) / numbers.std
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert Numbers.of(numbers.text) == numbers


def test_train_and_predict_from_a_folder(
    run: Run, exports: Exports, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache, model = tmp_path / "cache", tmp_path / "models" / "m.joblib"
    status, _, said = run(
        "train", "--backbone", exports.folder, "--data", photos, "--cache-dir", cache, "--model", model
    )
    assert status == 0, said
    line = next(line for line in said.splitlines() if "bilinear-short73-round" in line)
    assert "folder/model.onnx: size 64x64" in line and "mean=0.5,0.5,0.5" in line and "(model.json)" in line
    assert said.count("bilinear-short73-round") == 1
    picture = next(iter(sorted(photos.glob("brick/*"))))
    expected = pipeline.predict_proba([str(picture)], str(model))
    # the folder has moved beside the saved model, and the cache is another one
    os.rename(exports.folder, model.parent / "folder")
    try:
        status, out, said = run("predict", "--model", model, "--cache-dir", tmp_path / "other", picture)
        assert status == 0 and str(picture) in out, said
        found = pipeline.load(str(model), cache_dir=str(tmp_path / "another")).predict_proba([str(picture)])
        assert np.allclose(found, expected, atol=1e-5)
    finally:
        os.rename(model.parent / "folder", exports.folder)
    status, _, said = run("predict", "--model", model, "--mean", "0.4", "--cache-dir", cache, picture)
    assert status == 2 and "contradicts the model" in said and "mean=0.4" in said
    same = ("--mean", "0.5", "--std", "0.5,0.5,0.5", "--scale", "1/255", "--crop", "0.875", "--pooling", "avg")
    assert run("predict", "--model", model, *same, "--backbone", exports.folder, picture)[0] == 0
    status, _, said = run("predict", "--model", model, "--engine", "tensorflow", picture)
    assert status == 2 and "computed by OpenVINO alone" in said
    status, out, _ = run("cache", "explain", "--backbone", exports.folder, "--cache-dir", cache, picture)
    assert status == 0 and "cached in" in out
    status, _, said = run(
        "train", "--backbone", exports.folder, "--head", "finetune", "--data", photos, "--cache-dir", cache
    )
    assert status == 2 and "layers are trained of a named backbone or a .keras file alone" in said


def test_joined_with_another_backbone_and_compared(
    run: Run, exports: Exports, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    joined = f"nano+{exports.folder}"
    status, _, said = run("train", "--backbone", joined, "--data", photos)
    assert status == 0, said
    picture = next(iter(sorted(photos.glob("brick/*"))))
    status, out, said = run("predict", picture)
    assert status == 0 and "brick" in out, said
    assert run("compare", "--data", photos, "--backbone", exports.folder, "--heads", "logreg", "ridge")[0] == 0
    status, _, said = run("compare", "--data", photos, "--backbone", exports.folder, "--pooling", "max")
    assert status == 2 and "pooling is not max" in said


def test_cached_rows_need_no_openvino(exports: Exports, surfaces: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    cache = tmp_path / "cache"
    expected = rows(exports.tflite, surfaces, cache, preprocess="none")
    for path in (exports.folder, exports.openvino):
        rows(path, surfaces, cache, **({} if path == exports.folder else {"preprocess": "none"}))
    code = f"""
import sys, glob
sys.modules["openvino"] = None
from featurize import Featurizer
pictures = sorted(glob.glob({str(surfaces)!r} + "/*/*.png"))[::5]
Featurizer({exports.folder!r}, cache_dir={str(cache)!r}).transform(pictures)
Featurizer({exports.openvino!r}, cache_dir={str(cache)!r}, preprocess="none").transform(pictures)
print(Featurizer({exports.tflite!r}, cache_dir={str(cache)!r}, preprocess="none").transform(pictures).sum())
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) == pytest.approx(float(expected.sum()), rel=1e-5)


def test_without_openvino_one_line_says_so(
    run: Run, exports: Exports, surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "openvino" else find(name, *more)
    )
    status, _, said = run(
        "features",
        "--backbone",
        exports.folder,
        "--pooling",
        "max",
        "--data",
        surfaces,
        "--cache-dir",
        tmp_path / "cache",
    )
    assert status == 2
    assert "is computed by OpenVINO, which is not installed: pip install openvino" in said.splitlines()[-1]
