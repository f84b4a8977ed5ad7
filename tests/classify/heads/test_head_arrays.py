"""Heads as plain arrays: the same predictions as those of the estimator, in a process without scikit-learn."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from conftest import REPOSITORY, SPEC
from helpers import real_features
from helpers.models.model_records import RECORD, edit, refusal
from helpers.real_features import Data
from helpers.storage.cached_rows import keys
from joblib.numpy_pickle import NumpyUnpickler

import pipeline
from cache.errors import UserError
from classify.heads import numerics
from classify.heads.head_arrays import ArrayHead
from classify.heads.head_table import make_head
from classify.saved.model_files import arrays_path
from classify.saved.persist import Saved, load, save

# Few epochs, and both shapes of network; one with batch normalisation, which is folded into the layers.
HIDDEN = {"hidden": 16, "batch_norm": True, "epochs": 3}
WITH_ARRAYS = {
    "logreg": ("logreg", {}),
    "ridge": ("ridge", {}),
    "svm": ("svm", {}),
    "centroid": ("centroid", {}),
    "dense": ("dense", {"epochs": 3}),
    "hidden": ("dense", HIDDEN),
}


def saved_head(path: Path, case: str, classes: int = 4, **params: Any) -> tuple[Saved, np.ndarray]:
    """A head trained on some of the textures, saved and loaded, and rows that it has not seen."""
    X, y = real_features.textures()
    chosen = np.isin(y, real_features.TEXTURES[:classes])
    X, y = X[chosen], y[chosen]
    name, fixed = WITH_ARRAYS[case]
    half = len(X) // 2
    model = str(path / "m.joblib")
    estimator = make_head(name, fixed | params).fit(X[:half], y[:half])
    counts = [int((y[:half] == name).sum()) for name in estimator.classes_]
    save(model, estimator, keys(half), RECORD | {"head": name, "training_counts": counts})
    return load(model), X[half:]


def assert_same_predictions(saved: Saved, rows: np.ndarray) -> None:
    """The arrays against what the model file holds."""
    stored = joblib.load(saved.path)
    assert isinstance(saved.predictor, ArrayHead)
    found, expected = saved.predictor.predict_proba(rows), stored["estimator"].predict_proba(rows)
    assert found.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(saved.predictor.predict(rows), stored["estimator"].predict(rows))
    np.testing.assert_array_equal(saved.predictor.classes_, stored["estimator"].classes_)
    np.testing.assert_array_equal(saved.trained_on, stored["trained_on"])


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A saved logistic regression."""
    return saved_head(tmp_path, "logreg")[0].path


# ---- the same predictions


@pytest.mark.parametrize("case", WITH_ARRAYS)
@pytest.mark.parametrize(("normalize", "classes"), [("l2", 4), ("standard", 2), ("none", 4)])
def test_arrays_predict_as_the_estimator(case: str, normalize: str, classes: int, tmp_path: Path) -> None:
    saved, rows = saved_head(tmp_path, case, classes, normalize=normalize)
    assert_same_predictions(saved, rows)
    # Where the rows are nothing like those of the training, and where there is nothing to bring to length 1.
    assert_same_predictions(saved, np.concatenate([1000 * rows, np.zeros((1, rows.shape[1]), np.float32), rows[::-1]]))


@pytest.mark.parametrize("case", [case for case in WITH_ARRAYS if case != "centroid"])
def test_arrays_of_weighted_classes_predict_as_the_estimator(case: str, tmp_path: Path) -> None:
    saved, rows = saved_head(tmp_path, case, class_weight={"brick": 30.0})
    assert_same_predictions(saved, rows)


def test_a_temperature_that_was_given_is_kept(tmp_path: Path) -> None:
    saved, rows = saved_head(tmp_path, "centroid", temperature=0.3)
    assert_same_predictions(saved, rows)
    assert saved.predictor.temperature == 0.3


def test_classes_that_are_numbers_stay_numbers(digits: Data, tmp_path: Path) -> None:
    X, y = digits
    path = str(tmp_path / "m.joblib")
    save(path, make_head("ridge").fit(X[:200], y[:200]), keys(200), RECORD | {"training_counts": [20] * 10})
    assert_same_predictions(load(path), X[200:])


def test_classes_that_are_objects_are_left_to_the_model_file(textures: Data, tmp_path: Path) -> None:
    path = str(tmp_path / "m.joblib")
    save(path, make_head("logreg").fit(textures[0], textures[1].astype(object)), keys(240), RECORD)
    saved = load(path)
    assert not os.path.exists(arrays_path(path)) and saved.predictor is saved.estimator


def test_blocks_do_not_change_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, rows = saved_head(tmp_path, "hidden")
    together = saved.predictor.predict_proba(rows)
    monkeypatch.setattr(numerics, "BLOCK", 7 * rows.shape[1])
    np.testing.assert_allclose(saved.predictor.predict_proba(rows), together, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [np.zeros(59), np.zeros((0, 59)), np.zeros((2, 58)), np.full((1, 59), np.nan)])
def test_rows_that_the_estimator_refuses_are_refused(model: str, rows: np.ndarray) -> None:
    saved = load(model)
    for head in (saved.predictor, saved.estimator):
        with pytest.raises(ValueError):
            head.predict_proba(rows)


# ---- the files


@pytest.mark.parametrize(("name", "params"), [("knn", {}), ("svm", {"kernel": "rbf"})])
def test_heads_that_keep_their_training_rows_have_no_arrays(
    name: str, params: dict[str, Any], model: str, textures: Data, caplog: pytest.LogCaptureFixture
) -> None:
    save(model, make_head(name, params).fit(*textures), keys(240), RECORD)
    assert not os.path.exists(arrays_path(model))  # those of the logistic regression are gone
    saved = load(model)
    assert "arrays" not in saved.record and saved.predictor is saved.estimator and not caplog.records


def test_the_record_names_the_arrays_and_their_digest(model: str) -> None:
    recorded = load(model).record["arrays"]
    assert recorded["file"] == "m.npz" and recorded["bytes"] == os.path.getsize(arrays_path(model))
    with np.load(arrays_path(model), allow_pickle=False) as named:
        assert sorted(named) == [
            "about", "bias0", "classes", "cosine", "kernel0", "normalize", "temperature", "trained_on"
        ]  # fmt: skip


def test_a_model_may_be_renamed_with_all_its_files(model: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(model).parent
    for suffix in (".joblib", ".json", ".npz"):
        os.rename(folder / f"m{suffix}", folder / f"other{suffix}")
    assert isinstance(load(str(folder / "other.joblib")).predictor, ArrayHead) and not caplog.records


def test_an_older_record_without_arrays_loads_by_the_model_file(model: str, caplog: pytest.LogCaptureFixture) -> None:
    edit(model, arrays=None)
    for leftover in (True, False):
        saved = load(model)
        assert saved.predictor is saved.estimator and not isinstance(saved.predictor, ArrayHead)
        assert not caplog.records
        if leftover:
            os.unlink(arrays_path(model))


def test_damaged_arrays_are_not_used_nor_the_model_file_instead(model: str) -> None:
    whole = Path(arrays_path(model)).read_bytes()
    Path(arrays_path(model)).write_bytes(whole[:-1])
    message = refusal(model, allow_other_versions=True)
    assert arrays_path(model) in message
    assert all(hashlib.sha256(one).hexdigest() in message for one in (whole[:-1], whole))


def test_missing_arrays_are_an_error(model: str) -> None:
    os.unlink(arrays_path(model))
    assert arrays_path(model) in refusal(model) and "missing" in refusal(model)
    os.mkdir(arrays_path(model))
    assert "directory" in refusal(model)
    os.rmdir(arrays_path(model))
    os.mkfifo(arrays_path(model))
    assert "not a regular file" in refusal(model)


@pytest.mark.parametrize("value", [7, "m.npz", ["m.npz"]])
def test_a_record_with_no_usable_word_on_arrays_is_refused(value: Any, model: str) -> None:
    edit(model, arrays=value)
    with pytest.raises(UserError, match="'arrays' is missing or has no usable value"):
        load(model)


def test_the_estimator_is_unpickled_when_it_is_asked_for_and_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counting(unpickler: NumpyUnpickler) -> Any:
        calls.append(unpickler)
        return original(unpickler)

    original = NumpyUnpickler.load
    monkeypatch.setattr(NumpyUnpickler, "load", counting)
    saved = load(model)
    assert not calls
    os.unlink(model)  # it is the model as it was loaded, whatever became of the file
    assert saved.estimator is saved.estimator and saved.estimator.C == 10 and len(calls) == 1


# ---- a new process


def test_a_new_process_predicts_cached_pictures_without_scikit_learn(
    surfaces: Path, warm_cache: Path, tmp_path: Path
) -> None:
    cache = str(tmp_path / "cache")
    shutil.copytree(warm_cache, cache)
    models = {head: str(tmp_path / f"{head}.joblib") for head in ("logreg", "ridge", "svm", "centroid", "dense")}
    for head, model in models.items():
        params = {"epochs": 20} if head == "dense" else {}
        pipeline.train(str(surfaces), head, model=model, head_params=params, cache_dir=cache, **SPEC)
    pictures = [str(path) for path in sorted(surfaces.glob("*/*.0.png"))]
    code = """
import json, sys, pipeline
models, pictures = map(json.loads, sys.argv[1:])
heavy = {"sklearn", "joblib", "pandas", "scipy", "tensorflow", "keras"}
found = [(pipeline.predict(pictures, m).tolist(), pipeline.predict_proba(pictures, m).tolist()) for m in models]
assert not heavy & set(sys.modules), heavy & set(sys.modules)
tables = [pipeline.top_k(pictures, m, 1) for m in models]
assert heavy & set(sys.modules) == {"pandas"}, heavy & set(sys.modules)
for model in models:
    assert pipeline.load(model).saved.estimator.predict is not None
assert "sklearn" in sys.modules and "joblib" in sys.modules  # so that this test can fail
print(json.dumps([(*both, table["label"].tolist()) for both, table in zip(found, tables)]))
"""
    command = [sys.executable, "-c", code, json.dumps(list(models.values())), json.dumps(pictures)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    rows = pipeline.load(models["logreg"]).extractor.features(pictures)[1]
    for (head, model), (labels, probabilities, best) in zip(models.items(), json.loads(done.stdout), strict=True):
        estimator = joblib.load(model)["estimator"]
        np.testing.assert_allclose(probabilities, estimator.predict_proba(rows), rtol=0, atol=1e-6, err_msg=head)
        assert labels == best == estimator.predict(rows).tolist() == ["brick", "grass", "gravel"]
