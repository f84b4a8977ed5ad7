"""A weights file is named once for a cache, and a model that has moved finds its weights and rows again."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from conftest import BUNDLED

import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.remembered_weights import FILE_NAME, Remembered, remember, remembered
from featurize.reopen import reopen
from featurize.resolve import resolve

GIVEN = Remembered("mobilenet_v2", "sha256:00", "/some/file.h5")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of MobileNetV2 as chance has them: a file as people have theirs."""
    from featurize.engines.keras_import import import_keras

    path = tmp_path_factory.mktemp("weights") / "mine.weights.h5"
    keras = import_keras()
    keras.utils.set_random_seed(3)
    keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(path)
    return path


def test_a_file_is_named_once_and_found_again_after_a_move(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "no-keras"))
    caplog.set_level(logging.INFO, "bottleneck")
    project = tmp_path / "project"
    (project / "models").mkdir(parents=True)
    mine = Path(shutil.copy(weights, project / "models"))
    options = {"backbone": "mobilenet_v2", "size": 32, "cache_dir": str(project / ".features")}
    pipeline.features(str(photos), weights=str(mine), **options)
    model = project / "models" / "knn.joblib"
    report = pipeline.train(str(photos), "knn", model=str(model), **options)
    assert report["computed"] == 0 and f"weights: {mine}, as given before for this cache" in caplog.text

    moved = project.rename(tmp_path / "elsewhere")
    classifier = pipeline.load(str(moved / "models" / "knn.joblib"))
    assert classifier.extractor.cache_dir == str(moved / ".features")
    known = sorted(map(str, photos.rglob("*.png")))[:2]
    assert None not in classifier.predict(known).tolist() and classifier.extractor.forward_passes == 0
    assert None not in classifier.predict(str(BUNDLED / "coffee.png")).tolist()
    assert classifier.extractor.forward_passes == 1  # by the weights beside the model

    options["cache_dir"] = str(moved / ".features")
    assert pipeline.features(str(photos), **options)["computed"] == 0  # by the weights at their new place
    mine = moved / "models" / mine.name
    mine.unlink()
    with pytest.raises(UserError, match="could not be downloaded"):
        pipeline.features(str(photos), **options)
    assert f"weights {mine}, which were given for this cache, are gone: taking those of ImageNet" in caplog.text


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.weights.h5"
    mine.write_bytes(b"some numbers")
    table = DigestTable(str(tmp_path / "cache"))
    spec = resolve(table, backbone="mobilenet_v2", weights=str(mine)).spec
    remember(str(tmp_path / "cache"), Remembered("mobilenet_v2", spec.weights, str(mine)))
    assert resolve(table, backbone="mobilenet_v2").spec == spec
    mine.write_bytes(b"some other numbers, and more")
    with pytest.raises(UserError, match=r"mine.weights.h5 have changed .* --weights imagenet"):
        resolve(table, backbone="mobilenet_v2")


def test_a_path_of_the_record_decides_nothing(tmp_path: Path) -> None:
    """On another machine the recorded path is another file; the right one was given for this cache."""
    right, wrong = tmp_path / "right.weights.h5", tmp_path / "wrong.weights.h5"
    right.write_bytes(b"some numbers")
    wrong.write_bytes(b"other numbers")
    table = DigestTable(str(tmp_path / "cache"))
    spec = resolve(table, backbone="mobilenet_v2", weights=str(right)).spec
    record = {"spec": spec.to_json(), "weights": {"kind": "file", "path": str(wrong)}}
    with pytest.raises(UserError, match=r"wrong\.weights\.h5 has"):
        reopen(record, table)
    remember(str(tmp_path / "cache"), Remembered("mobilenet_v2", spec.weights, str(right)))
    assert reopen(record, table).weights.path == str(right)


def test_the_last_file_comes_first_and_a_damaged_record_is_none(tmp_path: Path) -> None:
    other = GIVEN._replace(path="/some/other.h5")
    for given in (GIVEN, other, GIVEN):
        remember(str(tmp_path), given)
    assert remembered(str(tmp_path)) == [GIVEN, other]
    entries = json.loads((tmp_path / FILE_NAME).read_text())
    for damaged in ("{", "7", json.dumps([{"path": 1}]), json.dumps([entries[0] | {"path": 7}]), "[" * 100_000):
        (tmp_path / FILE_NAME).write_text(damaged)
        assert remembered(str(tmp_path)) == []
