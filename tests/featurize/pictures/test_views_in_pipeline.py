"""Views from the command line to the prediction: what is computed, recorded, averaged and refused."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import REPOSITORY, SPEC
from helpers.models.model_records import edit, refusal

import pipeline
from cache.errors import UserError
from classify.saved.model_files import record_path


@pytest.fixture
def cache(warm_cache: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(warm_cache, tmp_path / "cache"))


def recorded(model: str) -> Any:
    return json.loads(Path(record_path(model)).read_text())["views"]


def test_views_are_computed_once_for_all_heads(surfaces: Path, cache: str, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    options: dict[str, Any] = {"cache_dir": cache, "model": model, "views": 3} | SPEC
    report = pipeline.train(str(surfaces), **options)
    assert (report["images"], report["computed"], report["forward_passes"]) == (36, 36, 72)
    assert (report["views"], report["recipe"], report["predict_views"]) == (3, "mirror-crops", 3)
    assert report["accuracy"] > 0.8 and sum(map(sum, report["confusion_matrix"])) < 9  # pictures, not views
    assert recorded(model) == {"recipe": "mirror-crops", "train": 3, "predict": 3}
    for head in ("svm", "centroid"):
        again = pipeline.train(str(surfaces), head, **options)
        assert (again["forward_passes"], again["cached"]) == (0, 36)
    report = pipeline.features(str(surfaces), cache_dir=cache, views=4, **SPEC)
    assert (report["forward_passes"], report["views"], report["recipe"]) == (36, 4, "mirror-crops")


@pytest.mark.parametrize(
    ("views", "predict_views", "passes", "predicting"), [(6, None, 5 * 36, 4), (2, 5, 4 * 36, 5), (1, None, 0, 1)]
)
def test_the_more_of_both_are_computed(
    surfaces: Path, cache: str, tmp_path: Path, views: int, predict_views: int | None, passes: int, predicting: int
) -> None:
    model = str(tmp_path / "m.joblib")
    report = pipeline.train(
        str(surfaces), "centroid", cache_dir=cache, model=model, views=views, predict_views=predict_views, **SPEC
    )
    assert (report["forward_passes"], report["views"], report["predict_views"]) == (passes, views, predicting)
    assert recorded(model) == {"recipe": "mirror-crops", "train": views, "predict": predicting}


def test_predictions_are_the_mean_of_as_many_views_as_asked_for(surfaces: Path, cache: str, tmp_path: Path) -> None:
    model, pictures = str(tmp_path / "m.joblib"), sorted(map(str, surfaces.glob("*/*.png")))[::6]
    recipe = "rotation_range=40 horizontal_flip=True"
    pipeline.train(str(surfaces), cache_dir=cache, model=model, views=2, recipe=recipe, **SPEC)
    extractor = pipeline.open_extractor(cache, views=3, recipe=recipe, **SPEC)
    rows = extractor.features(pictures)[1]
    head = pipeline.load(model).saved.predictor
    each = np.stack([head.predict_proba(rows[:, view]) for view in range(3)], axis=1)
    for views in (None, 1, 2, 3):
        classifier = pipeline.load(model, predict_views=views)
        expected = each[:, : views or 2].mean(axis=1)
        np.testing.assert_allclose(classifier.predict_proba(pictures), expected, rtol=0, atol=1e-5)
        without = classifier.predict_proba(pictures, use_cache=False)
        np.testing.assert_allclose(without, expected, rtol=0, atol=1e-4)
    report = pipeline.evaluate(str(surfaces), pipeline.load(model, predict_views=3))
    assert (report["views"], report["predict_views"]) == (2, 3) and report["accuracy"] > 0.8


def test_a_model_of_before_there_were_views_predicts_with_the_picture_itself(
    surfaces: Path, cache: str, tmp_path: Path
) -> None:
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), cache_dir=cache, model=model, **SPEC)
    pictures = sorted(map(str, surfaces.glob("*/*.png")))[:3]
    before = pipeline.load(model).predict_proba(pictures)
    edit(model, views=None)
    classifier = pipeline.load(model)
    assert np.array_equal(classifier.predict_proba(pictures), before) and len(classifier.extractor.stores) == 1
    assert pipeline.load(model, predict_views=2).predict_proba(pictures).shape == (3, 3)


HOSTILE: list[Any] = [
    [], "mirror-crops", 3, {}, {"recipe": "mirror-crops", "train": 1}, {"recipe": "none", "train": 1, "predict": 1},
    {"recipe": "crops", "train": 0, "predict": 1}, {"recipe": "crops", "train": 1, "predict": 65},
    {"recipe": "crops", "train": 10**9, "predict": 1}, {"recipe": "crops", "train": True, "predict": 1},
    {"recipe": "crops", "train": 1.0, "predict": 1}, {"recipe": "crops", "train": 1, "predict": [1]},
    {"recipe": ["crops"], "train": 1, "predict": 1}, {"recipe": "flip", "train": 1, "predict": 3},
    {"recipe": "crops", "train": 1, "predict": 1, "more": 1}, {"recipe": "../../x", "train": 2, "predict": 2},
    {"recipe": "rotation_range=40.0", "train": 2, "predict": 2}, {"recipe": "x" * 10**6, "train": 2, "predict": 2},
    {"recipe": "rotation_range=40 \x1b[2J", "train": 2, "predict": 2},
]  # fmt: skip


def test_records_with_views_that_cannot_be_are_refused(surfaces: Path, cache: str, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), cache_dir=cache, model=model, **SPEC)
    for views in HOSTILE:
        edit(model, views=views)
        assert "'views' is missing or has no usable value" in refusal(model)
    edit(model, views={"recipe": "flip", "train": 2, "predict": 2})
    with pytest.raises(UserError, match="recipe flip has one view"):
        pipeline.load(model, predict_views=3)


def test_exported_rows_are_those_of_the_pictures_themselves(surfaces: Path, cache: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"cache_dir": cache} | SPEC
    assert pipeline.export(str(surfaces), str(tmp_path / "out.h5"), views=3, **options) == (36, 0)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["features"].shape == (36, 1280)


def test_the_command_line(run, surfaces: Path, cache: str, tmp_path: Path) -> None:
    model, report = tmp_path / "m.joblib", tmp_path / "r.json"
    place = ["--cache-dir", cache, "--model", model]
    words = ["--backbone", "nano", "--views", 2, "--recipe", "flip", "--predict-views", 1, "--json", report]
    status, out, _ = run("train", "--data", surfaces, *place, *words)
    assert status == 0 and "views of a picture: 2, by flip; predictions average 1" in out
    assert json.loads(report.read_text())["forward_passes"] == 36
    status, out, _ = run("evaluate", "--data", surfaces, *place, "--predict-views", 2)
    assert status == 0 and "forward passes 0" in out and "predictions average 2" in out
    status, out, _ = run("predict", *place, "--predict-views", 2, surfaces / "brick")
    assert status == 0 and len(out.splitlines()) == 13
    status, out, _ = run("features", "--data", surfaces, "--cache-dir", cache, *words[:6])
    assert status == 0 and "views of a picture: 2, by flip\n" in out and "forward passes 0" in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--views", "0"], "--views"),
        (["--views", "65"], "--views"),
        (["--views", "many"], "--views"),
        (["--recipe", "flips"], "choose one of mirror-crops"),
        (["--views", "3", "--recipe", "flip"], "recipe flip has one view"),
        (["--views", "2", "--recipe", "rotation=3"], "rotation_range, width_shift_range"),
        (["--views", "2", "--resize", "bilinear"], "resize bilinear knows no views"),
        (["--predict-views", "2", "--resize", "bilinear"], "resize bilinear knows no views"),
        (["--predict-views", "3", "--recipe", "flip"], "recipe flip has one view"),
    ],
)
def test_what_cannot_be_is_one_line(run, surfaces: Path, cache: str, words: list[str], reason: str) -> None:
    status, out, err = run("train", "--data", surfaces, "--backbone", "nano", "--cache-dir", cache, *words)
    assert status == 2 and out == "" and reason in err and err.count("error:") == 1 and "Traceback" not in err


@pytest.mark.parametrize("target", ["features", "train", "evaluate", "predict"])
def test_make_passes_them_on(target: str) -> None:
    variables = ["VIEWS=4", "RECIPE=rotation_range=40 horizontal_flip=True", "PREDICT_VIEWS=2"]
    command = ["make", "-s", "-o", ".venv/.installed", "RUN=printf '<%s>'", target, *variables]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    views = "<--views><4><--recipe><rotation_range=40 horizontal_flip=True>"
    assert (views in said) == (target in ("features", "train"))
    assert ("<--predict-views><2>" in said) == (target != "features")
