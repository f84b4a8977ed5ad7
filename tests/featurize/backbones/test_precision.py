"""Rows in bfloat16: faster, of their own spec, and never mixed with others."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC

import featurize.engines.openvino_engine
import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.engines.choose import open_graph
from featurize.engines.converted import FOLDER
from featurize.engines.keras_import import import_keras
from featurize.engines.openvino_engine import has_bf16
from featurize.extract.extractor import Extractor
from featurize.resolve import resolve

REDUCED = [
    pytest.param("bf16", "openvino", marks=pytest.mark.skipif(not has_bf16(), reason="a processor without bfloat16")),
    ("mixed_bfloat16", "tensorflow"),
]


@pytest.fixture(scope="module")
def paths(surfaces: Path) -> list[str]:
    return sorted(str(path) for path in surfaces.glob("*/*.png"))[::3]


def extractor_in(cache: Path, **options: Any) -> Extractor:
    return pipeline.open_extractor(str(cache), **(SPEC | options))


@pytest.mark.parametrize(("precision", "engine"), REDUCED)
def test_rows_are_nearly_those_of_float32_and_kept_apart(
    tmp_path: Path, paths: list[str], precision: str, engine: str
) -> None:
    full, reduced = extractor_in(tmp_path), extractor_in(tmp_path, precision=precision)
    expected, found = full.features(paths)[1], reduced.features(paths)[1]
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.98 and cosines.max() < 0.999999  # so it was computed in it
    assert found.dtype == np.float32
    assert full.store.folder != reduced.store.folder and precision in reduced.store.folder
    assert reduced.store.refresh()[0].provenance["engine"] == engine
    again = extractor_in(tmp_path, precision=precision).run(paths)
    assert (again.computed, again.forward_passes) == (0, 0)


def test_weights_of_imagenet_compute_in_bfloat16_too(
    tmp_path: Path, shared: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_keras()
    from keras.src.backend import config

    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    (file,) = (shared / "weights").glob("*_1.0_224_no_top.h5")
    shutil.copy(file, folder)
    full, reduced = (
        pipeline.open_extractor(str(tmp_path / "c"), backbone="mobilenet_v2", precision=precision)
        for precision in ("float32", "mixed_bfloat16")
    )
    assert reduced.record()["weights"]["kind"] == "imagenet"
    expected, found = full.without_cache(paths)[1], reduced.without_cache(paths)[1]
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert 0.93 < cosines.min() < 0.9999  # so it was computed in it


@pytest.mark.skipif(not has_bf16(), reason="a processor without bfloat16")
@pytest.mark.parametrize("count", [1, 4, 5])
def test_a_row_in_bf16_does_not_depend_on_its_company(tmp_path: Path, paths: list[str], count: int) -> None:
    extractor = extractor_in(tmp_path, precision="bf16")
    everything, some = extractor.without_cache(paths)[1], extractor.without_cache(paths[-count:])[1]
    assert np.abs(some - everything[-count:]).max() < 0.02 * everything.max()


@pytest.mark.skipif(not has_bf16(), reason="a processor without bfloat16")
def test_a_model_trained_in_bf16_predicts_in_bf16(tmp_path: Path, surfaces: Path, paths: list[str]) -> None:
    cache, model = str(tmp_path / "c"), str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=cache, precision="bf16", **SPEC)
    assert json.loads((tmp_path / "m.json").read_text())["spec"]["precision"] == "bf16"
    classifier = pipeline.load(model)
    assert classifier.probabilities([*paths])[0].forward_passes == 0
    fresh, cached = classifier.predict_proba(paths, use_cache=False), classifier.predict_proba(paths)
    assert np.abs(fresh - cached).max() < 0.01


def test_both_precisions_share_one_converted_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize.engines.openvino_engine, "has_bf16", lambda: True)
    for precision in ("float32", "bf16"):
        open_graph(resolve(DigestTable(str(tmp_path)), **SPEC, precision=precision), str(tmp_path))
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "precision 'half': choose one of float32, bf16, mixed_bfloat16"),
        (
            {"precision": "bf16", "engine": "tensorflow"},
            "bf16 is computed by openvino alone: leave --engine tensorflow",
        ),
        ({"precision": "mixed_bfloat16", "engine": "openvino"}, "computed by tensorflow alone"),
        ({"precision": "bf16", "size": 64}, "this processor does not compute in bfloat16; use --precision float32"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_refused(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(featurize.engines.openvino_engine, "has_bf16", lambda: False)
    with pytest.raises(UserError) as caught:
        extractor_in(tmp_path, **options).run(paths)
    assert message in str(caught.value)


def test_an_own_model_keeps_its_precision_on_tensorflow(tmp_path: Path, paths: list[str]) -> None:
    keras = import_keras()
    images = keras.Input((32, 32, 3))
    keras.Model(images, keras.layers.Conv2D(4, 3)(images)).save(tmp_path / "own.keras")
    own = pipeline.open_extractor(str(tmp_path), backbone=str(tmp_path / "own.keras"), precision="mixed_bfloat16")
    with pytest.raises(UserError, match="computes as it was saved"):
        own.run(paths)


def test_keras_is_left_as_it_was(tmp_path: Path, paths: list[str]) -> None:
    extractor_in(tmp_path, precision="mixed_bfloat16").run(paths[:1])
    assert import_keras().config.dtype_policy().name == "float32"
