"""Files of version 0.1, before its modules were renamed: models load and predict as they did, cached rows are used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import TESTS

import pipeline
from classify.saved.persist import load

SAVED = TESTS / "fixtures" / "version_0_1"
PREDICTIONS = json.loads((SAVED / "predictions.json").read_text())
PHOTOS = [str(SAVED / "photos" / name) for name in PREDICTIONS]
HEADS = ["centroid", "dense", "knn", "logreg", "ridge", "sgd", "svm"]


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return shutil.copytree(SAVED / "cache", tmp_path / "cache")


def model(head: str) -> str:
    return str(SAVED / "models" / f"{head}.joblib")


@pytest.mark.parametrize("head", HEADS)
def test_a_model_predicts_as_it_did_from_the_rows_that_are_cached(head: str, cache: str) -> None:
    classifier = pipeline.load(model(head), cache_dir=cache, allow_other_versions=True)
    extraction, probabilities = classifier.probabilities(PHOTOS)
    assert probabilities[:, 0] == pytest.approx([row[head] for row in PREDICTIONS.values()], abs=1e-5)
    assert extraction.forward_passes == 0


@pytest.mark.parametrize("head", [*HEADS, "finetune"])
def test_the_estimator_of_a_model_is_what_its_arrays_are(head: str) -> None:
    saved = load(model(head), allow_other_versions=True)
    estimator = saved.estimator
    assert estimator.classes_.tolist() == ["brick", "grass"] == saved.predictor.classes_.tolist()
    if head == "knn":  # has no arrays
        assert saved.predictor is estimator
        return
    expected = saved.predictor.to_arrays()
    assert {name: array.tolist() for name, array in estimator.arrays().to_arrays().items()} == {
        name: array.tolist() for name, array in expected.items()
    }
    if head != "finetune":
        rows = np.random.default_rng(0).normal(size=(5, estimator.n_features_in_))
        assert estimator.predict_proba(rows) == pytest.approx(saved.predictor.predict_proba(rows), abs=1e-6)


def test_the_rows_of_the_decoder_before_are_taken_over(cache: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "bottleneck"):
        report = pipeline.features(str(SAVED / "photos"), cache_dir=cache, backbone="nano")
    assert (report["cached"], report["forward_passes"]) == (len(PHOTOS), 0)
    assert "those of 16 pictures taken over, those of 0 computed anew" in caplog.text
