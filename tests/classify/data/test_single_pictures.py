"""A class with a single picture is left out, and the others are trained on, compared and shown."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SPEC

import pipeline
from cache.errors import UserError

LEFT_OUT = "classes with a single picture (copies count once) are left out: 'lone' 1"


@pytest.fixture
def data(photos: Path) -> Path:
    """Three surfaces, and a fourth with one picture."""
    (photos / "lone").mkdir()
    shutil.move(photos / "brick" / "brick.0.png", photos / "lone")
    return photos


@pytest.fixture
def options(warm_cache: Path, tmp_path: Path) -> dict[str, Any]:
    cache = shutil.copytree(warm_cache, tmp_path / "cache")
    return {"cache_dir": str(cache), "model": str(tmp_path / "m.joblib"), **SPEC}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "bottleneck")

    def lines() -> list[str]:
        found = [line for line in caplog.messages if "left out" in line]
        caplog.clear()
        return found

    return lines


def test_train_evaluate_and_report_go_on_without_it(
    data: Path, options: dict[str, Any], tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    report = pipeline.train(str(data), cv=3, **options)
    assert said() == [LEFT_OUT]
    assert report["classes"] == ["brick", "grass", "gravel"] and report["left_out_classes"] == ["lone"]
    model = options["model"]
    assert json.loads(Path(model).with_suffix(".json").read_text())["left_out_classes"] == ["lone"]
    assert pipeline.evaluate(str(data), model)["images"] == 35
    assert said()[0] == "pictures of classes that the training left out are left out: 1 ('lone')"
    assert len(pipeline.report(str(data), model, str(tmp_path / "r.html")).pictures) == 35


def test_compare_goes_on_without_it(data: Path, options: dict[str, Any], said: Callable[[], list[str]]) -> None:
    report = pipeline.compare(str(data), heads=["centroid"], folds=3, cache_dir=options["cache_dir"])
    assert report["classes"] == ["brick", "grass", "gravel"] and said() == [LEFT_OUT]


@pytest.mark.parametrize("how", ["copied", "damaged"])
def test_copies_and_damaged_pictures_are_no_second_one(
    data: Path, options: dict[str, Any], said: Callable[[], list[str]], how: str
) -> None:
    second = data / "lone" / "second.png"
    shutil.copy(data / "lone" / "brick.0.png", second)
    if how == "damaged":
        second.write_bytes(second.read_bytes()[:100])
    report = pipeline.train(str(data), "svm", **options)
    assert report["left_out_classes"] == ["lone"]
    assert said() == [LEFT_OUT.replace("1", "2") if how == "copied" else LEFT_OUT]


@pytest.mark.parametrize("head", ["svm", "ridge", "centroid"])
def test_two_pictures_are_enough_for_heads_that_fit_their_probabilities(
    data: Path, options: dict[str, Any], head: str
) -> None:
    shutil.move(data / "grass" / "grass.0.png", data / "lone")
    assert "lone" in pipeline.train(str(data), head, **options)["classes"]


def test_without_two_classes_it_is_one_line(photos: Path, options: dict[str, Any]) -> None:
    for name in ("brick", "grass"):
        for path in sorted((photos / name).iterdir())[1:]:
            path.unlink()
    line = "a classifier needs two classes with 2 different pictures each, and only 'gravel' has: add pictures"
    with pytest.raises(UserError, match=line):
        pipeline.train(str(photos), **options)
    with pytest.raises(UserError, match=line):
        pipeline.compare(str(photos), cache_dir=options["cache_dir"])


@pytest.mark.parametrize(("cv", "classes"), [(0, 4), (3, 3)])
def test_under_an_own_split_it_is_trained_on_and_scored_unless_there_are_folds(
    data: Path, tmp_path: Path, options: dict[str, Any], cv: int, classes: int
) -> None:
    for path in sorted(data.glob("*/*.png")):
        part = "test" if path.name.endswith(("1.png", "5.png")) else "train"
        (tmp_path / "own" / part / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "own" / part / path.parent.name)
    report = pipeline.train(str(tmp_path / "own"), "svm", cv=cv, **options)
    assert len(report["classes"]) == classes


def test_a_cut_is_chosen_without_it(data: Path, options: dict[str, Any], said: Callable[[], list[str]]) -> None:
    quick = {"epochs": 1, "validation_fraction": 0.0}
    report = pipeline.train(str(data), "finetune", cut="auto", views=1, head_params=quick, **options)
    assert report["left_out_classes"] == ["lone"] and said() == [LEFT_OUT]


def test_an_unknown_label_is_refused_before_any_features(data: Path, options: dict[str, Any], tmp_path: Path) -> None:
    known = shutil.copytree(data, tmp_path / "known", ignore=shutil.ignore_patterns("lone"))
    pipeline.train(str(known), **options)
    shutil.rmtree(options["cache_dir"])
    for scoring in (pipeline.evaluate, pipeline.report):
        with pytest.raises(UserError, match="the pictures have the label 'lone', the model knows brick, grass, gravel"):
            scoring(str(data), options["model"], cache_dir=options["cache_dir"])
    assert not [*Path(options["cache_dir"]).glob("nano-*/*.h5")]
