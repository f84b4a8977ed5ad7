"""The backbone that ships with the project: its file, its size, its weights."""

import os
from pathlib import Path

import numpy as np
import pytest

import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from classify.saved.persist import load, save
from featurize.backbones.backbone_table import find_backbone
from featurize.backbones.nano import build_nano, load_nano, save_nano
from featurize.backbones.network import build_network
from featurize.backbones.weights import locate
from featurize.engines.keras_import import import_keras
from featurize.resolve import resolve

WEIGHTS = locate(find_backbone("nano"), 96, None)


def test_the_weights_ship_with_the_package_and_are_small() -> None:
    assert WEIGHTS.kind == "packaged"
    assert os.path.dirname(WEIGHTS.path) == str(Path(pipeline.__file__).parent / "featurize" / "backbones")
    assert os.path.getsize(WEIGHTS.path) <= 2_500_000
    with np.load(WEIGHTS.path, allow_pickle=False) as stored:
        parameters = sum(stored[name].size for name in stored.files)
        assert all(np.isfinite(stored[name]).all() for name in stored.files)
    assert parameters <= 1_200_000


def test_its_digest_is_in_the_spec(tmp_path: Path) -> None:
    import hashlib

    spec = resolve(DigestTable(str(tmp_path)), backbone="nano").spec
    assert spec.weights == "sha256:" + hashlib.sha256(Path(WEIGHTS.path).read_bytes()).hexdigest()
    assert (spec.size, spec.preprocess, spec.layer) == ((96, 96), "none", "features")


def test_half_precision_weights_give_the_features_of_full_precision(surfaces: Path, tmp_path: Path) -> None:
    keras = import_keras()
    keras.utils.set_random_seed(3)
    network = build_nano(keras, (96, 96))
    save_nano(network, str(tmp_path / "half.npz"))
    half = build_nano(keras, (96, 96))
    load_nano(half, str(tmp_path / "half.npz"))
    pixels = _pixels(surfaces)
    before, after = (each.predict(pixels, verbose=0).reshape(len(pixels), -1) for each in (network, half))
    cosines = (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    assert cosines.min() > 0.9999


def test_other_sizes_and_layers_work(surfaces: Path) -> None:
    pixels = _pixels(surfaces, 128)
    network = build_network("nano", WEIGHTS, (128, 128), None, "avg", "none")
    assert network.predict(pixels, verbose=0).shape == (len(pixels), 1280)


@pytest.mark.parametrize("weights", ["imagenet", "somewhere.h5"])
def test_other_weights_are_refused(weights: str) -> None:
    with pytest.raises(UserError, match="ships with its own"):
        locate(find_backbone("nano"), 96, weights)


@pytest.mark.parametrize("damage", ["cut short", "of another network", "no archive"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "nano.npz"
    data = Path(WEIGHTS.path).read_bytes()
    if damage == "of another network":
        np.savez(path, **{"stem/kernel": np.zeros(3)})
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "cut short" else b"nothing")
    with pytest.raises(UserError, match=r"nano\.npz cannot be used"):
        load_nano(build_nano(import_keras(), (96, 96)), str(path))


def test_a_model_moves_with_the_package(surfaces: Path, tmp_path: Path) -> None:
    """The record's path of the weights is of no account: the file of this package is taken, if its digest is right."""
    model, cache = str(tmp_path / "m.joblib"), str(tmp_path / "cache")
    pipeline.train(str(surfaces), model=model, backbone="nano", cache_dir=cache)
    saved = load(model)
    assert saved.record["weights"]["kind"] == "packaged"
    elsewhere = {"weights": {"kind": "packaged", "path": "/elsewhere/nano.npz"}}
    save(model, saved.estimator, saved.trained_on, saved.record | elsewhere)
    picture = sorted(surfaces.glob("*/*.png"))[0]
    assert pipeline.predict([str(picture)], model, cache_dir=str(tmp_path / "other"))[0] == picture.parent.name


def _pixels(surfaces: Path, side: int = 96) -> np.ndarray:
    from featurize.decoding.decode import decode

    paths = sorted(surfaces.glob("*/*.png"))
    return np.stack([decode(path.read_bytes(), (side, side)) for path in paths]).astype(np.float32)
