"""Scores on the command line: one class of two, uneven classes, every class under --cv; what is refused before work."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SPEC

from classify.scoring.metrics import Scores, score

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def two(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photographs of brick and twelve of grass."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("brick", "grass"):
        shutil.copytree(surfaces / name, folder / name)
    return folder


def test_one_class_of_two_is_scored_by_every_command(run: Run, two: Path, warm_cache: Path, tmp_path: Path) -> None:
    cache, model = shutil.copytree(warm_cache, tmp_path / "cache"), tmp_path / "m.joblib"
    asked = ["--positive", "grass", "--prevalence", 0.01]
    common = ["--model", model, "--cache-dir", cache, *asked]
    train = ["train", "--data", two, "--backbone", SPEC["backbone"], *common, "--json", tmp_path / "r.json"]
    status, out, err = run(*train, "--search", "--scoring", "f1", "--cv", 2)
    assert status == 0, err
    report = json.loads((tmp_path / "r.json").read_text())
    assert "positive class grass: " in out and "given a prevalence of 0.01" in out
    assert report["positive"]["class"] == "grass" and report["scoring"] == "f1"
    assert len(report["curves"]["roc"]["true_positive_rate"]) == 100
    # Every picture is held out once.
    assert report["cv"]["n"] == 24 and sum(map(sum, report["cv"]["confusion_matrix"])) == 24
    assert "all of their answers together" in out
    with (tmp_path / "m.cv.classes.csv").open(newline="") as file:
        assert {row["class"]: row["support"] for row in csv.DictReader(file)} == {"brick": "12", "grass": "12"}
    with (tmp_path / "m.cv.confusion_normalized.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    assert [sum(map(float, row[1:])) for row in rows] == pytest.approx([1, 1])
    recorded = json.loads((tmp_path / "m.json").read_text())["metrics"]
    assert "curves" not in recorded and recorded["positive"] == report["positive"]

    run("train", "--data", two, "--backbone", SPEC["backbone"], "--model", model, "--cache-dir", cache)
    assert not (tmp_path / "m.cv.classes.csv").exists()

    status, out, _ = run("evaluate", "--data", two, *common)
    assert status == 0 and "positive class grass: " in out
    evaluated = json.loads((tmp_path / "m.evaluation.json").read_text())
    assert evaluated["positive"] == report["positive"]  # the pictures that are held out, by the same head
    status, out, _ = run("report", "--data", two, *common, "--output", tmp_path / "out.html")
    assert status == 0 and "positive class grass: " in out
    assert "Looking for" in (tmp_path / "out.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--positive", "gras"], "positive class 'gras' is none of the two"),
        (["--prevalence", "0.1"], "prevalence 0.1: give --positive"),
        (["--positive", "grass", "--prevalence", "1.5"], "1.5"),
        (["--search", "--scoring", "precision"], "name it with --positive"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(run: Run, two: Path, tmp_path: Path, words, message) -> None:
    status, out, err = run(
        "train", "--data", two, "--cache-dir", tmp_path / "cache", "--model", tmp_path / "m.joblib", *words
    )
    assert status == 2 and message in err and not out and "Traceback" not in err
    assert [*tmp_path.iterdir()] == []


def test_of_three_classes_none_is_positive(run: Run, surfaces: Path, tmp_path: Path) -> None:
    status, _, err = run("train", "--data", surfaces, "--cache-dir", tmp_path / "cache", "--positive", "grass")
    assert status == 2 and err.count("error:") == 1 and "there are 3 classes, and it is for two" in err


def scores(pictures: list[int], groups: list[int] | None = None) -> Scores:
    """Of classes with so many pictures; one picture of the first is answered wrongly."""
    names = [f"class {number}" for number in range(len(pictures))]
    truth = [name for name, count in zip(names, pictures, strict=True) for _ in range(count)]
    predicted = [names[-1], *truth[1:]]
    given = [[float(name == answer) for name in names] for answer in predicted]
    return score(truth, predicted, given, names, training_counts=pictures, groups=groups)


def test_balanced_accuracy_stands_beside_accuracy_where_classes_are_uneven() -> None:
    from bottleneck_features.terminal.score_text import format_report

    even, uneven = format_report(scores([10, 10])), format_report(scores([10, 50]))
    assert "balanced" not in even and "macro F1" not in even
    assert "balanced  0.9500  (mean recall of the classes; " in uneven and "balanced 0.5000)" in uneven
    assert "macro F1  " in uneven


def test_what_intervals_are_over_is_said() -> None:
    from bottleneck_features.terminal.score_text import format_report

    assert "(20 pictures; 95% interval 0." in format_report(scores([10, 10]))
    assert " by pictures)" in format_report(scores([10, 10]))
    assert " over 4 groups)" in format_report(scores([10, 10], [*range(4)] * 5))
