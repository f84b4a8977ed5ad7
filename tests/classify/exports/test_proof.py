"""An export that says something else than the model is refused; how far it is off is said of one that does not."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SPEC

import pipeline
from cache.errors import UserError
from classify.exports.about import About, Accept
from classify.exports.files.named_outputs import Pixels
from classify.exports.proof import Run, prove
from classify.heads.numerics import Floats
from classify.saved.classifier import Classifier


@pytest.fixture(scope="module")
def pictures(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(surfaces, tmp_path_factory.mktemp("proof") / "photos"))


@pytest.fixture(scope="module")
def classifier(pictures: Path, warm_cache: Path) -> Classifier:
    ignored = shutil.ignore_patterns("digests.sqlite")  # it knows the pictures that these are copied from
    cache = shutil.copytree(warm_cache, pictures.parent / "cache", ignore=ignored)
    model = str(pictures.parent / "logreg.joblib")
    pipeline.train(str(pictures), model=model, cache_dir=str(cache), **SPEC)
    return pipeline.load(model)


@pytest.fixture(scope="module")
def about(classifier: Classifier) -> About:
    return About.of(classifier, "onnx", "float32", None, None)


def changed(classifier: Classifier, change: Callable[[Floats], Floats], distances: bool = True) -> Run:
    """The model itself, run on pixels as an export is, its probabilities (n, k) changed."""
    (network,), outliers = classifier.of_pixels.parts, classifier.saved.outliers
    assert outliers is not None

    def run(_: str, pixels: Pixels) -> tuple[Floats, Floats | None]:
        rows = network.engine(pixels["pixels"])
        probabilities = change(classifier.decided(rows).astype(np.float32))
        return probabilities, outliers.distances_of(rows) if distances else None

    return run


def test_what_is_the_same_is_proven_on_training_pictures(classifier: Classifier, about: About) -> None:
    proof = prove("it.onnx", classifier, about, changed(classifier, lambda found: found))
    assert proof["pictures"] == min(32, len(classifier.saved.trained_on))
    assert proof["pictures_from"] == "training pictures"
    assert proof["largest_difference"] < 1e-5 and proof["largest_distance_difference"] < 1e-5
    assert proof["equal_labels"] == 1 and proof["equal_labels_interval"][1] == 1
    assert proof["one_view"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found + np.float32(2e-3), r"differs by up to 0\.002, 0\.001 is allowed"),
        (lambda found: found * np.nan, "another shape than the model, or none"),
        (lambda found: found[:, :2], "another shape than the model, or none"),
    ],
)
def test_what_differs_is_refused(
    classifier: Classifier, about: About, change: Callable[[Floats], Floats], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prove("it.onnx", classifier, about, changed(classifier, change))


def test_an_export_without_its_distances_is_refused(classifier: Classifier, about: About) -> None:
    with pytest.raises(UserError, match="gives no distances"):
        prove("it.onnx", classifier, about, changed(classifier, lambda found: found, distances=False))


def test_with_fewer_bits_the_labels_count(classifier: Classifier, about: About) -> None:
    half = replace(about, precision="float16")
    proof = prove("it.onnx", classifier, half, changed(classifier, np.sqrt))
    assert proof["largest_difference"] > 1e-3 and proof["equal_labels"] == 1
    assert proof["pictures"] == len(classifier.saved.trained_on)
    low, high = proof["equal_labels_interval"]
    assert 0.8 < low < 1 and high == 1
    with pytest.raises(UserError, match=r"labels are those of the model \(95% interval .*, 98% are needed"):
        prove("it.onnx", classifier, half, changed(classifier, lambda found: found[:, ::-1]))


def test_decisions_that_fewer_bits_change_are_counted(
    classifier: Classifier, about: About, caplog: pytest.LogCaptureFixture
) -> None:
    """Thresholds rest on the answers of the model: what a rougher export makes of them is said."""
    half = replace(about, precision="float16", accept=Accept(0.98, (0.5, 0.5, 0.5)))
    assert prove("it.onnx", classifier, half, changed(classifier, lambda found: found))["other_decisions"] == 0
    count = len(classifier.saved.trained_on)
    proof = prove("it.onnx", classifier, half, changed(classifier, lambda found: found / 3))
    assert proof["other_decisions"] == count
    assert f"{count} of {count} decisions are others" in caplog.text


def test_pictures_that_have_changed_are_not_taken_for_those_trained_on(
    classifier: Classifier, about: About, pictures: Path, surfaces: Path
) -> None:
    same = changed(classifier, lambda found: found)
    for path in pictures.glob("*/*"):
        path.write_bytes(b"another picture")
    proof = prove("it.onnx", classifier, about, same, str(surfaces))
    assert (proof["pictures"], proof["pictures_from"]) == (32, f"pictures of {surfaces}")
    proof = prove("it.onnx", classifier, about, same)
    assert (proof["pictures"], proof["pictures_from"]) == (32, "photographs that come with scikit-image")


def test_rows_that_are_kept_as_float16_are_compared_as_they_are_computed(surfaces: Path, tmp_path: Path) -> None:
    model, cache = str(tmp_path / "half.joblib"), str(tmp_path / "cache")
    pipeline.train(str(surfaces), model=model, cache_dir=cache, stored="float16", head_params={"C": 1e4}, **SPEC)
    half = pipeline.load(model)
    about = About.of(half, "onnx", "float32", None, None)
    proof = prove("it.onnx", half, about, changed(half, lambda found: found))
    assert proof["largest_difference"] < 1e-5
