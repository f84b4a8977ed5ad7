"""What it costs that an export takes one view, where the model averages several: from cached rows."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import SPEC

import pipeline
from classify.exports.one_view import in_one_view, one_view_cost
from classify.saved.classifier import Classifier


@pytest.fixture(scope="module")
def pictures(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(surfaces, tmp_path_factory.mktemp("views") / "photos"))


@pytest.fixture(scope="module")
def classifier(pictures: Path, warm_cache: Path) -> Classifier:
    cache = shutil.copytree(warm_cache, pictures.parent / "cache")
    model = str(pictures.parent / "centroid.joblib")
    options = {"cache_dir": str(cache), "views": 3, "test_size": 0.5}
    pipeline.train(str(pictures), "centroid", model=model, **options, **SPEC)
    return pipeline.load(model)


def test_one_view_answers_as_a_model_that_was_loaded_so(classifier: Classifier, surfaces: Path) -> None:
    asked = [str(path) for path in sorted(surfaces.glob("*/*.png"))]
    of_one = pipeline.load(classifier.saved.path, predict_views=1).predict_proba(asked)
    np.testing.assert_allclose(in_one_view(classifier).predict_proba(asked), of_one, atol=1e-6)
    assert np.abs(classifier.predict_proba(asked) - of_one).max() > 1e-3
    assert len(classifier.extractor.stores) == 3 and in_one_view(in_one_view(classifier)).extractor.stores


def test_the_cost_is_that_between_two_evaluations(classifier: Classifier, pictures: Path) -> None:
    before = classifier.extractor.forward_passes
    cost = one_view_cost(classifier, None)
    assert classifier.extractor.forward_passes == before
    models = {views: pipeline.load(classifier.saved.path, predict_views=views) for views in (1, 3)}
    accuracy = {views: pipeline.evaluate(str(pictures), model)["accuracy"] for views, model in models.items()}
    assert (cost["views"], cost["pictures"]) == (3, 18)
    assert (cost["accuracy"], cost["accuracy_of_views"]) == (accuracy[1], accuracy[3])
    assert cost["difference"] == pytest.approx(accuracy[1] - accuracy[3])
    low, high = cost["difference_interval"]
    assert low <= cost["difference"] <= high and low < high


def test_of_a_given_folder_it_is_measured_there(classifier: Classifier, surfaces: Path) -> None:
    assert one_view_cost(classifier, str(surfaces))["pictures"] == 18


def test_where_the_labels_cannot_be_had_it_says_why(
    classifier: Classifier, pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures.rename(tmp_path / "elsewhere")
    cost = one_view_cost(classifier, None)
    assert cost.keys() == {"views", "unknown"} and "name a folder with --data" in cost["unknown"]
    assert "what one view instead of 3 costs in accuracy cannot be told" in caplog.text
