"""What an export says of itself: the model's labels, thresholds, recipe and digests, as strict JSON."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import SPEC
from helpers.models.exported import Trained

import pipeline
from cache.errors import UserError
from classify.decisions.thresholds import Acceptance
from classify.exports.about import About, side_files, write_about
from classify.exports.inputs import Input
from classify.saved.classifier import Classifier


@pytest.fixture(scope="module")
def cache(warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(warm_cache, tmp_path_factory.mktemp("about") / "cache"))


@pytest.fixture(scope="module")
def classifier(surfaces: Path, cache: Path) -> Classifier:
    model = str(cache.parent / "logreg.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=str(cache), cv=3, **SPEC)
    return pipeline.load(model)


def test_it_has_what_the_model_has(classifier: Classifier) -> None:
    about = About.of(classifier, "onnx", "float16", accept=None, reject=0.9)
    model = Path(classifier.saved.path)
    digests = {suffix: hashlib.sha256(model.with_suffix(suffix).read_bytes()).hexdigest() for suffix in about.model}
    assert about.model == digests and about.model.keys() == {".joblib", ".npz"}
    assert (about.format, about.precision, about.head, about.views) == ("onnx", "float16", "logreg", 1)
    assert about.labels == ("brick", "grass", "gravel") and about.inputs == (Input("pixels", (96, 96), "antialias"),)
    assert about.outputs == ("probabilities", "distance")
    assert classifier.saved.outliers and about.reject
    assert (about.reject.share, about.reject.limit) == (0.9, classifier.saved.outliers.limit(0.9))
    assert about.accept is None and about.spec == classifier.saved.record["spec"]
    assert about.versions.keys() == {"bottleneck-features", "keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime"}
    assert about.trained_with == classifier.saved.record["versions"]


def test_thresholds_are_those_of_predictions(classifier: Classifier) -> None:
    about = About.of(classifier, "tflite", "float32", accept=0.5, reject=None)
    assert classifier.saved.answers and about.accept
    expected = Acceptance.of(classifier.saved.answers, classifier.classes_, 0.5).thresholds.tolist()
    assert about.accept.target == 0.5 and list(about.accept.thresholds) == expected and about.reject is None


def test_thresholds_of_averages_are_announced(trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    about = About.of(pipeline.load(trained("centroid", views=3)), "onnx", "float32", accept=0.5, reject=None)
    assert about.accept and about.views == 3
    assert "accept 0.5 rests on answers by 3 views of a picture; those of the export are by 1" in caplog.text


def test_a_target_that_the_model_does_not_reach_is_refused(classifier: Classifier) -> None:
    with pytest.raises(UserError, match=r"accept 0\.999 takes"):
        About.of(classifier, "onnx", "float32", accept=0.999, reject=None)


def test_the_file_is_strict_json_of_all_fields_and_of_the_proof(classifier: Classifier, tmp_path: Path) -> None:
    about = About.of(classifier, "onnx", "float32", accept=0.5, reject=0.9)
    output = str(tmp_path / "surfaces.onnx")
    write_about(output, about, {"largest_difference": 1e-6})
    assert about.to_json().items() >= {"size": [96, 96], "resize": "antialias"}.items()
    assert "inputs" not in about.to_json()
    assert side_files(output) == (f"{output}.json", f"{output}.py")
    text = (tmp_path / "surfaces.onnx.json").read_text()
    assert json.loads(text) == about.to_json() | {"proof": {"largest_difference": 1e-6}} and text.isascii()
    with pytest.raises(ValueError, match="JSON"):
        write_about(output, about, {"largest_difference": np.nan})
    assert (tmp_path / "surfaces.onnx.json").read_text() == text
