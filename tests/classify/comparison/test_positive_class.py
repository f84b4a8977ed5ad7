"""Comparisons by a score of one class of two: heads, and tables of answers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from sklearn import metrics

import pipeline
from cache.errors import UserError
from classify.comparison.answer_tables import read_answers


@pytest.fixture(scope="module")
def two(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Photographs of two classes, nine and twelve, their cached rows, and tables of two heads' answers."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(surfaces / "brick", folder / "photos" / "brick")
    shutil.copytree(surfaces / "grass", folder / "photos" / "grass")
    for path in sorted((folder / "photos" / "brick").iterdir())[:3]:
        path.unlink()
    data, cache = str(folder / "photos"), str(shutil.copytree(warm_cache, folder / "cache"))
    pipeline.features(data, cache_dir=cache, **SPEC)
    pipeline.compare(data, cache_dir=cache, heads=["knn", "centroid"], folds=2, answers=str(folder / "answers"))
    return {"data": data, "cache": cache, "tables": sorted(map(str, (folder / "answers").iterdir()))}


@pytest.mark.parametrize("name", ["f1", "precision", "recall", "jaccard", "average_precision"])
@pytest.mark.parametrize("positive", ["brick", "grass"])
def test_tables_are_ranked_by_the_score_of_the_positive_class(two: dict[str, Any], name: str, positive: str) -> None:
    report = pipeline.compare(predictions=two["tables"], scoring=name, positive=positive)
    assert (report["order"], report["positive"]) == (name, positive)
    for line in report["lines"]:
        table = read_answers(line["predictions"])
        truth, sure = table.labels == positive, table.probabilities[:, table.classes.index(positive)]
        answered = np.array(table.classes)[table.probabilities.argmax(axis=1)] == positive
        expected = getattr(metrics, f"{name}_score")(truth, sure if name == "average_precision" else answered)
        assert line["score"] == pytest.approx(expected)


def test_heads_are_ranked_and_tuned_by_it(two: dict[str, Any]) -> None:
    options: dict[str, Any] = {"cache_dir": two["cache"], "heads": ["centroid"], "folds": 3, "search": True}
    report = pipeline.compare(two["data"], scoring="f1", positive="grass", **options)
    (line,) = report["lines"]
    f1 = {row["class"]: row["f1"] for row in line["per_class"]}
    assert line["score"] == pytest.approx(f1["grass"]) and line["difference"] == 0
    assert report["scoring"] == "f1" and json.loads(json.dumps(report))["positive"] == "grass"


def test_the_commands_take_it(run: Callable[..., tuple[int, str, str]], two: dict[str, Any], tmp_path: Path) -> None:
    asked = ["--scoring", "f1", "--positive", "grass"]
    status, out, err = run("compare", "--predictions", *two["tables"], *asked)
    assert status == 0 and "difference in f1 of grass" in out, err
    words = ["--data", two["data"], "--cache-dir", two["cache"], "--folds", 2, "--answers", tmp_path]
    status, out, err = run("compare", *words, "--heads", "knn", "centroid", *asked)
    assert status == 0 and "difference in f1 of grass" in out, err
    assert len([*tmp_path.iterdir()]) == 2


def test_uneven_classes_have_balanced_accuracy_beside_accuracy(
    run: Callable[..., tuple[int, str, str]], two: dict[str, Any], tmp_path: Path
) -> None:
    uneven = tmp_path / "uneven"
    shutil.copytree(two["data"], uneven)
    for path in sorted((uneven / "brick").iterdir())[:2]:
        path.unlink()
    shown = {}
    for data in (two["data"], uneven):
        words = ["--data", data, "--cache-dir", two["cache"], "--folds", 2, "--answers", tmp_path / "answers"]
        status, out, err = run("compare", *words, "--heads", "knn", "--json", tmp_path / "r.json")
        assert status == 0, err
        shown[data] = next(line for line in out.splitlines() if line.startswith("head")).split()
    assert "balanced" not in shown[two["data"]] and "balanced" in shown[uneven]
    (line,) = json.loads((tmp_path / "r.json").read_text())["lines"]
    assert f"{line['balanced_accuracy']:.4f}" in out and "balanced 0.5000)" in out
    tables = sorted((tmp_path / "answers").iterdir())
    saved = pipeline.compare(predictions=[*map(str, tables * 2)])
    assert {one["balanced_accuracy"] for one in saved["lines"]} == {line["balanced_accuracy"]} and saved["uneven"]
    status, out, _ = run("compare", "--predictions", *tables * 2)
    assert status == 0 and "balanced" in next(line for line in out.splitlines() if line.startswith("predictions"))
    assert line["balanced_accuracy"] == pytest.approx(np.mean([row["recall"] for row in line["per_class"]]))
    for name in ("balanced_accuracy", "macro_f1"):
        low, high = line[f"{name}_interval"]
        assert low <= line[name] <= high

    train = ["train", "--data", uneven, "--cache-dir", two["cache"], "--model", tmp_path / "m.joblib", "--cv", 2]
    status, out, err = run(*train, "--backbone", SPEC["backbone"])
    assert status == 0, err
    assert "mean recall of the classes" in out.partition("all of their answers together")[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scoring": "f1"}, "it is of one of them, name it with --positive"),
        ({"scoring": "f1", "positive": "sand"}, "positive class 'sand' is none of the two: give one of"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(two: dict[str, Any], options: dict[str, Any], message: str) -> None:
    for asked in ({"predictions": two["tables"]}, {"data": two["data"], "cache_dir": two["cache"], "heads": ["knn"]}):
        with pytest.raises(UserError, match=message) as caught:
            pipeline.compare(**asked, **options)
        assert "\n" not in str(caught.value)


def test_a_class_that_changes_nothing_is_announced(two: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    for scoring in (None, "roc_auc"):
        caplog.clear()
        pipeline.compare(predictions=two["tables"], scoring=scoring, positive="grass")
        assert [record for record in caplog.records if "'grass' changes nothing" in record.getMessage()]
