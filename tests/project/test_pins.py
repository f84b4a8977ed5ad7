"""A pinned digest, and no pickle at all: what whoever can write the files and their record cannot change."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers import real_features
from helpers.models.model_records import RECORD, Bomb, edit, refusal, replace_arrays, replace_pickle
from helpers.storage.cached_rows import SPEC, keys
from joblib.numpy_pickle import NumpyUnpickler

import pipeline
from cache.errors import UserError
from classify.heads.head_arrays import ArrayHead
from classify.heads.head_table import make_head
from classify.saved.model_files import arrays_path
from classify.saved.persist import load, save


@pytest.fixture(scope="module")
def heads() -> list[Any]:
    """Two fitted heads that differ, and one that has no arrays."""
    X, y = real_features.textures()
    return [make_head("logreg", {"C": C}).fit(X, y) for C in (0.1, 10.0)] + [make_head("knn").fit(X, y)]


@pytest.fixture
def model(tmp_path: Path, heads: list[Any]) -> str:
    return saved(tmp_path / "m.joblib", heads[0])


def saved(path: Path, head: Any) -> str:
    save(str(path), head, keys(240), RECORD)
    return str(path)


def digest(path: str) -> str:
    """What `sha256sum` prints."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_pinned_by_its_arrays_nothing_is_unpickled(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumpyUnpickler, "load", None)
    pin = digest(arrays_path(model))
    assert isinstance(load(model, sha256=pin).predictor, ArrayHead)
    assert isinstance(load(model, sha256=f" {pin.upper()}\n").predictor, ArrayHead)


def test_pinned_by_the_model_file_its_estimator_predicts(model: str, heads: list[Any]) -> None:
    found = load(model, sha256=digest(model))
    assert found.predictor is found.estimator and found.estimator.C == 0.1
    knn = saved(Path(model).with_name("knn.joblib"), heads[2])
    assert load(knn, sha256=digest(knn)).estimator.n_neighbors == 15


def test_another_pin_is_refused_naming_the_digests(model: str, heads: list[Any]) -> None:
    for path in (model, saved(Path(model).with_name("knn.joblib"), heads[2])):
        message = refusal(path, sha256="ab" * 32)
        assert "ab" * 32 in message and digest(path) in message and "was not loaded" in message
    assert digest(arrays_path(model)) in refusal(model, sha256="ab" * 32)
    assert "ab" * 32 in refusal(model, sha256="ab" * 32, allow_other_versions=True)


@pytest.mark.parametrize("pin", ["", "ab", "xy" * 32, "ab" * 33, "sha256:" + "ab" * 32, "0x" + "a" * 62])
def test_what_is_no_digest_is_refused(model: str, pin: str) -> None:
    assert "64 hexadecimal digits" in refusal(model, sha256=pin)


def test_a_pinned_model_file_is_not_served_by_foreign_arrays(model: str, heads: list[Any]) -> None:
    pin = digest(model)
    other = saved(Path(model).with_name("other.joblib"), heads[1])
    replace_arrays(model, Path(arrays_path(other)).read_bytes())  # whose head has other weights
    rows = real_features.textures()[0]
    expected = heads[0].predict_proba(rows)
    assert np.array_equal(load(model, sha256=pin).predictor.predict_proba(rows), expected)
    assert "its record has payload" in refusal(model)  # and without a pin it is seen as well


def test_pinned_arrays_do_not_let_another_pickle_in(model: str, tmp_path: Path) -> None:
    pin = digest(arrays_path(model))
    replace_pickle(model, {"estimator": Bomb(tmp_path / "exploded"), "trained_on": keys(1), "about": {}})
    for options in ({}, {"sha256": pin}, {"sha256": pin, "allow_other_versions": True}):
        assert "payload" in refusal(model, **options)
    assert not (tmp_path / "exploded").exists()


def test_pinned_arrays_stand_for_spec_and_classes(model: str) -> None:
    pin = digest(arrays_path(model))
    names = ["brick", "coins", "grass", "gravel"]
    other = replace(SPEC, weights="sha256:" + "cd" * 32)
    for change in (
        {"classes": names[::-1]},
        {"spec": other.to_json(), "fingerprint": other.fingerprint},
        {"weights": {"kind": "file", "path": "/others.h5"}},
        {"cache_dir": "/others"},
        {"training_counts": [1, 1, 1, 1]},
        {"head": "svm"},
    ):
        with pytest.MonkeyPatch.context():
            edit(model, **change)
            assert "the model itself" in refusal(model, sha256=pin)
            found = load(model, sha256=pin, allow_other_versions=True)  # which believes the pinned file
            assert found.spec == SPEC and found.record["classes"] == names
            assert found.record["cache_dir"] == RECORD["cache_dir"] and found.record["head"] == "logreg"
        save(model, load(model, sha256=pin, allow_other_versions=True).estimator, keys(240), RECORD)
        pin = digest(arrays_path(model))


def test_without_pickle_arrays_load_and_nothing_else(model: str, heads: list[Any], tmp_path: Path) -> None:
    found = load(model, no_pickle=True)
    assert isinstance(found.predictor, ArrayHead)
    with pytest.raises(UserError, match="no_pickle"):
        _ = found.estimator
    assert "--no-pickle" in refusal(saved(tmp_path / "knn.joblib", heads[2]), no_pickle=True)
    assert ".npz" in refusal(model, no_pickle=True, sha256=digest(model))
    assert isinstance(load(model, no_pickle=True, sha256=digest(arrays_path(model))).predictor, ArrayHead)
    edit(model, arrays=None)
    assert "--no-pickle" in refusal(model, no_pickle=True, allow_other_versions=True)


def test_the_command_and_pipeline_load_take_both(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    names = {head: str(tmp_path / f"{head}.joblib") for head in ("logreg", "knn")}
    for head, name in names.items():
        pipeline.train(str(surfaces), head, model=name, cache_dir=str(warm_cache), backbone="nano")
    logreg, knn = names.values()
    pin = digest(arrays_path(logreg))
    assert pipeline.load(logreg, sha256=pin, no_pickle=True).classes_ == ["brick", "grass", "gravel"]
    picture = str(surfaces / "grass" / "grass.0.png")
    for options, code, said in (
        (["--model", logreg, "--sha256", pin, "--no-pickle"], 0, ""),
        (["--model", knn, "--sha256", digest(knn)], 0, ""),
        (["--model", knn, "--no-pickle"], 2, "--no-pickle"),
        (["--model", logreg, "--sha256", digest(knn)], 2, digest(knn)),
    ):
        command = [sys.executable, "-m", "pipeline", "predict", *options, picture]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, bool(code)) and said in done.stderr
        assert done.stdout.count("grass,") == (code == 0)
