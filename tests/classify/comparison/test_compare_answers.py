"""Tables of held-out answers: written by every command that scores, read again and compared."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SPEC

import pipeline
from cache.errors import UserError


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of the same pictures, cross-validated, with their tables."""
    folder = tmp_path_factory.mktemp("models")
    for head in ("logreg", "centroid"):
        options: dict[str, Any] = {"cache_dir": str(folder / "cache"), **SPEC}
        report = pipeline.train(str(surfaces), head, model=str(folder / f"{head}.joblib"), cv=3, **options)
        (folder / f"{head}.report.json").write_text(json.dumps(report))
    return folder


def test_every_held_out_answer_is_in_the_table(trained: Path) -> None:
    report = json.loads((trained / "logreg.report.json").read_text())
    rows = rows_of(trained / "logreg.predictions.csv")
    assert list(rows[0])[:8] == ["path", "group", "part", "label", "answer", "probability", "margin", "correct"]
    assert list(rows[0])[8:] == report["classes"]
    test = [row for row in rows if row["part"] == "test"]
    assert len(test) == report["n"]
    assert sum(row["correct"] == "yes" for row in test) / len(test) == pytest.approx(report["accuracy"])
    for row in rows:
        shown = {name: float(row[name]) for name in report["classes"]}
        first, second = sorted(shown.values(), reverse=True)[:2]
        assert row["answer"] == max(shown, key=lambda name: shown[name])
        assert float(row["probability"]) == first and float(row["margin"]) == pytest.approx(first - second, abs=2e-6)
        assert row["correct"] == ("yes" if row["answer"] == row["label"] else "no") and Path(row["path"]).exists()
    for number, accuracy in enumerate(report["cv_scores"], start=1):
        fold = [row["correct"] == "yes" for row in rows if row["part"] == f"fold {number}"]
        assert sum(fold) / len(fold) == pytest.approx(accuracy)


def test_an_evaluation_writes_its_answers_too(trained: Path, surfaces: Path) -> None:
    report = pipeline.evaluate(str(surfaces), str(trained / "logreg.joblib"))
    rows = rows_of(trained / "logreg.evaluation.predictions.csv")
    assert len(rows) == report["n"] and {row["part"] for row in rows} == {"test"}


def test_two_tables_are_compared_on_the_same_pictures(trained: Path) -> None:
    tables = [str(trained / f"{head}.predictions.csv") for head in ("centroid", "logreg")]
    report = pipeline.compare(predictions=tables)
    first, second = report["lines"]
    assert report["pictures"] == len([row for row in rows_of(Path(tables[0])) if row["part"].startswith("fold")])
    assert first["accuracy"] >= second["accuracy"] and first["difference"] == 0
    assert second["difference"] == pytest.approx(second["accuracy"] - first["accuracy"])
    counts = second["mcnemar"]
    assert counts["better"] - counts["worse"] == round(second["difference"] * report["pictures"])
    other = pipeline.compare(predictions=tables, scoring="neg_log_loss")
    assert other["order"] == "neg_log_loss" and other["lines"][0]["score"] >= other["lines"][1]["score"]


def site_of(path: str) -> str:
    """One of nine sites."""
    return f"site {sum(path.encode()) % 9}"


def grouped(trained: Path, folder: Path, heads: dict[str, Callable[[str], str]]) -> list[str]:
    """Tables of heads, each with the groups that a function gives for paths."""
    tables = []
    for number, (head, group_of) in enumerate(heads.items()):
        rows = rows_of(trained / f"{head}.predictions.csv")
        tables.append(str(folder / f"{number} {head}.csv"))
        with Path(tables[-1]).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"group": group_of(row["path"])} for row in rows)
    return tables


def test_a_picture_without_a_group_is_one_of_its_own_and_the_others_keep_theirs(trained: Path, tmp_path: Path) -> None:
    (lonely, *_) = rows_of(trained / "logreg.predictions.csv")
    of_some = lambda path: "" if path == lonely["path"] else site_of(path)  # noqa: E731
    report = pipeline.compare(predictions=grouped(trained, tmp_path, {"centroid": of_some, "logreg": of_some}))
    assert report["groups"] == {"count": 10}
    filled = pipeline.compare(predictions=grouped(trained, tmp_path, {"centroid": of_some, "logreg": site_of}))
    assert filled["groups"] == {"count": 9}
    one = pipeline.compare(predictions=grouped(trained, tmp_path, {"centroid": site_of, "logreg": lambda _: ""}))
    assert one["groups"] == {"count": 9}


def test_tables_that_name_other_groups_are_announced_and_the_first_counts(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heads: dict[str, Callable[[str], str]] = {"centroid": site_of, "logreg": lambda path: f"burst {len(path) % 4}"}
    report = pipeline.compare(predictions=grouped(trained, tmp_path, heads))
    assert report["groups"] == {"count": 9}
    (warning,) = [record.getMessage() for record in caplog.records if "names other groups" in record.getMessage()]
    assert "logreg.csv" in warning and "burst" in warning and "site" in warning


def test_tables_with_groups_are_compared_by_groups(trained: Path, tmp_path: Path) -> None:
    tables = grouped(trained, tmp_path, {"centroid": site_of, "logreg": site_of})
    report = pipeline.compare(predictions=tables)
    plain = pipeline.compare(predictions=[str(trained / f"{head}.predictions.csv") for head in ("centroid", "logreg")])
    assert report["groups"] == {"count": 9} and plain["groups"] is None
    assert report["lines"][1]["difference"] == plain["lines"][1]["difference"]
    assert report["lines"][1]["difference_interval"] != plain["lines"][1]["difference_interval"]


def test_one_group_is_said_to_be_one(run: Callable[..., tuple[int, str, str]], trained: Path, tmp_path: Path) -> None:
    tables = grouped(trained, tmp_path, {"centroid": lambda _: "site", "logreg": lambda _: "site"})
    status, out, _ = run("compare", "--predictions", *tables)
    assert status == 0 and "95% interval over 1 group;" in out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: "path,label\n1.png,cat\n", "no table of held-out answers"),
        (lambda text: text.rstrip()[:-1] + "x", "a probability is a number"),
        (lambda text: text.splitlines()[0] + "\n", "has no answers"),
        (lambda text: text.replace("brick", "sand"), "other classes|no picture in common"),
        (lambda text: "\n".join([*text.splitlines()[:3], "a,b"]), "row 4 has another number of fields"),
        (lambda text: text.replace("path,", "\0", 1), "no table|line contains NUL"),
    ],
)
def test_what_is_no_such_table_is_refused_in_one_line(
    trained: Path, tmp_path: Path, change: Callable[[str], str], reason: str
) -> None:
    good = trained / "logreg.predictions.csv"
    bad = tmp_path / "bad.csv"
    bad.write_text(change(good.read_text()))
    with pytest.raises(UserError, match=reason) as caught:
        pipeline.compare(predictions=[str(good), str(bad)])
    assert "\n" not in str(caught.value)


def test_the_command_compares_tables_and_leaves_some_of_a_comparison(
    run: Callable[..., tuple[int, str, str]], trained: Path, surfaces: Path, tmp_path: Path
) -> None:
    status, out, err = run(
        "compare", "--predictions", trained / "logreg.predictions.csv", trained / "centroid.predictions.csv"
    )
    assert status == 0, err
    assert "against the first" in out and "McNemar" in out
    header = next(line for line in out.splitlines() if line.startswith("predictions"))
    assert header.split().count("accuracy") == 1
    words = ("compare", "--data", surfaces, "--cache-dir", trained / "cache", "--folds", 2, "--answers", tmp_path)
    status, out, err = run(*words, "--heads", "ridge", "centroid")
    assert status == 0, err
    ridge, centroid = sorted(tmp_path.glob("*.predictions.csv"), reverse=True)
    assert ridge.name.startswith("ridge-nano") and centroid.name.startswith("centroid-nano")
    status, out, err = run("compare", "--predictions", ridge, centroid)
    assert status == 0 and "pictures of" in out, err
    status, _, err = run("compare", "--predictions", ridge)
    assert status != 0 and "two tables" in err
