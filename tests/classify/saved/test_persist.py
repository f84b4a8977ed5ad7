"""Saved heads: what was saved is what is loaded, or nothing is unpickled and one line says why."""

import importlib.util
import os
import pickle
import shutil
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from helpers.models.model_records import RECORD, edit, few_digits, saved_model, two_heads
from helpers.storage.cached_rows import SPEC, keys

from cache.errors import UserError
from classify.saved.model_files import arrays_path, record_path
from classify.saved.persist import Saved, load, save
from classify.saved.record import ABOUT, NEEDED
from classify.saved.verify_record import installed_scikit_learn


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    return few_digits()


@pytest.fixture
def heads() -> list[Any]:
    return two_heads()


@pytest.fixture
def model(tmp_path: Path) -> str:
    return saved_model(tmp_path / "models" / "m.joblib", two_heads()[0], 100)


def refusal(model: str, **options: Any) -> str:
    """The one line with which `load` refuses."""
    with pytest.raises(UserError) as caught:
        load(model, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_saved_is_what_is_loaded(model: str, heads: list[Any], rows: tuple[np.ndarray, np.ndarray]) -> None:
    saved = load(model)
    for head in (saved.estimator, saved.predictor):
        assert np.array_equal(head.predict_proba(rows[0]), heads[0].predict_proba(rows[0]))
    assert np.array_equal(saved.trained_on, keys(100))
    assert saved.spec == SPEC and saved.record["classes"] == ["0", "1", "2", "3"]
    assert {name: saved.record[name] for name in RECORD} == RECORD
    assert load(Path(model)).path == model  # type: ignore[arg-type]


def test_the_files_are_the_model_its_record_and_its_arrays(model: str) -> None:
    files = sorted(name for name in os.listdir(os.path.dirname(model)) if name[0] != ".")
    assert files == ["m.joblib", "m.json", "m.npz"]


def test_a_missing_file_or_record_is_named(model: str) -> None:
    os.rename(record_path(model), record_path(model) + ".bak")
    assert record_path(model) in refusal(model) and "copy it along" in refusal(model)
    os.unlink(model)
    assert model in refusal(model)
    assert ".joblib" in refusal(record_path(model) + ".bak")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '"text"', "{}", '{"format": 1}', '{"format": 2}', "[" * 100_000, "\xff\xfe"]
)
def test_a_damaged_record_is_refused(model: str, text: str) -> None:
    Path(record_path(model)).write_bytes(text.encode("latin-1"))
    assert record_path(model) in refusal(model)


@pytest.mark.parametrize("field", sorted(NEEDED))
@pytest.mark.parametrize("value", [None, 7, ["text"], {"kind": "file"}])
def test_a_field_that_is_missing_or_no_value_is_refused(model: str, field: str, value: Any) -> None:
    edit(model, **{"arrays": None, field: value})
    if isinstance(value, dict) and field == "versions":  # as one that was written without scikit-learn
        assert "scikit-learn unknown" in refusal(model)
    else:
        refusal(model)


def test_the_fingerprint_must_be_that_of_the_spec(model: str) -> None:
    edit(model, spec=SPEC.to_json() | {"pooling": "max"})
    message = refusal(model)
    assert SPEC.fingerprint in message and message.count(SPEC.fingerprint) == 1
    edit(model, spec=SPEC.to_json(), fingerprint="0" * 64)
    message = refusal(model)
    assert SPEC.fingerprint in message and "0" * 64 in message


def estimator_refusal(saved: Saved) -> str:
    """The line with which a loaded model refuses to be unpickled."""
    with pytest.raises(UserError) as caught:
        _ = saved.estimator
    return str(caught.value)


@pytest.mark.parametrize("change", ["major", "minor"])
def test_another_scikit_learn_does_not_unpickle_unless_told_so_and_arrays_predict(
    model: str, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    major, minor = map(int, sklearn.__version__.split(".")[:2])
    other = f"{major + 1}.{minor}.0" if change == "major" else f"{major}.{minor + 1}.0"
    edit(model, versions={"scikit-learn": other})
    of_arrays = load(model)
    assert of_arrays.predictor.predict(few_digits()[0]).shape == (100,) and not caplog.records
    edit(model, arrays=None)
    for message in (estimator_refusal(of_arrays), refusal(model)):
        assert other in message and sklearn.__version__ in message and "allow" in message
    assert load(model, allow_other_versions=True).record["versions"] == {"scikit-learn": other}
    assert load(model, allow_other_versions=True).estimator.C == 0.1


def test_the_installed_version_is_told_without_importing_anything() -> None:
    assert installed_scikit_learn() == sklearn.__version__ == version("scikit-learn")


def test_without_scikit_learn_here_nothing_is_unpickled(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "this takes scikit-learn, which is not installed here" in estimator_refusal(load(model))


def test_a_version_edited_by_hand_is_named_and_loads_when_told_so(model: str, caplog: pytest.LogCaptureFixture) -> None:
    edit(model, by_hand=True, versions={"scikit-learn": "1.2.0"})
    assert "was changed" in refusal(model)
    assert load(model, allow_other_versions=True).estimator.C == 0.1
    digest_of, version_of = (record.getMessage() for record in caplog.records)
    assert "1.2.0" in version_of and "changed" in digest_of


def test_a_record_changed_by_hand_is_refused_whatever_was_changed(model: str) -> None:
    edit(model, by_hand=True, metrics={"accuracy": 0.99})
    assert "was changed" in refusal(model)
    assert load(model, allow_other_versions=True).record["metrics"] == {"accuracy": 0.99}


def test_where_record_and_model_disagree_the_model_is_believed_if_told_so(
    model: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = replace(SPEC, pooling="max")
    edit(model, spec=other.to_json(), fingerprint=other.fingerprint)  # as if it were of another spec
    assert SPEC.fingerprint in refusal(model) and other.fingerprint in refusal(model)
    saved = load(model, allow_other_versions=True)
    assert saved.spec == SPEC and saved.record["fingerprint"] == SPEC.fingerprint
    assert other.fingerprint in caplog.text and SPEC.fingerprint in caplog.text
    edit(model, spec=SPEC.to_json(), fingerprint="ab" * 32)
    assert "ab" * 32 in refusal(model) and SPEC.fingerprint in refusal(model)
    assert load(model, allow_other_versions=True).record["fingerprint"] == SPEC.fingerprint


@pytest.mark.parametrize("arrays", [True, False])
def test_without_a_record_the_model_tells_what_it_is_if_told_so(
    model: str, heads: list[Any], arrays: bool, rows: tuple[np.ndarray, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    if not arrays:
        edit(model, arrays=None)
        os.unlink(arrays_path(model))
    recorded = load(model).record
    os.unlink(record_path(model))
    assert record_path(model) in refusal(model) and "--allow-other-versions" in refusal(model)
    saved = load(model, allow_other_versions=True)
    assert "missing" in caplog.text and saved.spec == SPEC
    assert all(saved.record[name] == recorded[name] for name in ABOUT)
    assert np.array_equal(saved.predictor.predict_proba(rows[0]), heads[0].predict_proba(rows[0]))
    if arrays:
        save(str(Path(model).parent / "other.joblib"), heads[1], keys(100), RECORD)
        os.replace(Path(model).parent / "other.joblib", model)
        assert "not the file that its arrays belong to" in refusal(model, allow_other_versions=True)


def test_a_patch_of_scikit_learn_is_no_other_version(model: str) -> None:
    edit(model, versions={"scikit-learn": ".".join([*sklearn.__version__.split(".")[:2], "99"])})
    assert load(model).estimator.C == 0.1


def test_classes_that_are_not_those_of_the_record_are_refused(model: str) -> None:
    edit(model, classes=["1", "0", "2", "3"])
    assert "classes" in refusal(model)


def test_an_estimator_whose_class_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "class Head:\n    classes_ = ['a', 'b']\n"
    (tmp_path / "passing_module.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    import passing_module  # type: ignore[import-not-found]

    path = str(tmp_path / "m.joblib")
    save(path, passing_module.Head(), keys(2), RECORD | {"training_counts": [1, 1]})
    monkeypatch.delitem(sys.modules, "passing_module")
    (tmp_path / "passing_module.py").unlink()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    assert "passing_module" in refusal(path) and "train it again" in refusal(path)


def test_parameters_that_json_does_not_know_do_not_spoil_a_training(model: str, heads: list[Any]) -> None:
    odd = {"n": np.int64(5), "x": np.float32(0.5), "random_state": np.random.RandomState(0)}
    save(model, heads[0], keys(100), RECORD | {"head_params": odd})
    params = load(model).record["head_params"]
    assert (params["n"], params["x"]) == (5, 0.5) and "RandomState" in params["random_state"]


@pytest.mark.parametrize("name", ["m", "m.pkl", "m.json", "joblib", "m.joblib.bak", ""])
def test_a_model_file_ends_in_joblib(name: str) -> None:
    with pytest.raises(UserError, match=r"\.joblib"):
        record_path(name)


def test_the_pickle_inside_is_an_ordinary_joblib_file(model: str, heads: list[Any]) -> None:
    payload = joblib.load(model)
    assert pickle.dumps(payload["estimator"]) == pickle.dumps(heads[0])
    assert sorted(payload) == ["about", "estimator", "trained_on"]
