"""The table that `predict` writes: its columns, its order, its file."""

import csv
import io
import math
import shutil
from pathlib import Path

import pytest
from conftest import BUNDLED

import pipeline

PLAIN = ["path", "label", "probability", "margin"]
REJECTING = [*PLAIN, "reason", "would_be_label", "would_be_probability", "distance"]


@pytest.fixture(scope="module")
def model(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("model") / "logreg.joblib")
    pipeline.train(str(surfaces), model=path, backbone="nano", cache_dir=str(warm_cache), refit=True)
    return path


@pytest.fixture
def pictures(surfaces: Path, tmp_path: Path) -> Path:
    """Two known surfaces, something else, and a file that is no picture."""
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("grass", "brick"):
        shutil.copy(surfaces / name / f"{name}.3.png", folder / f"{name}.png")
    shutil.copy(BUNDLED / "coffee.png", folder / "coffee.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def table(text: str) -> tuple[list[str], list[dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text))
    rows = list(reader)
    return list(reader.fieldnames or ()), rows


def test_the_margin_is_that_between_the_first_two_labels(run, model: str, pictures: Path) -> None:
    status, out, _ = run("predict", "--model", model, "--wide", "--no-cache", pictures)
    columns, rows = table(out)
    assert status == 0 and columns == [*PLAIN, "brick", "grass", "gravel"]
    for row in rows:
        each = sorted((float(row[name]) for name in columns[4:] if row[name]), reverse=True)
        if row["path"].endswith("broken.jpg"):
            assert not each and not row["label"] and not row["margin"]
        else:
            assert math.isclose(sum(each), 1, abs_tol=1e-5) and math.isclose(float(row["probability"]), each[0])
            assert math.isclose(float(row["margin"]), each[0] - each[1], abs_tol=2e-6)
    found = pipeline.top_k(str(pictures / "grass.png"), model, k=2)
    assert found["margin"].tolist() == pytest.approx([found["probability"][0] - found["probability"][1]] * 2)


def test_what_is_rejected_keeps_what_it_would_have_been(run, model: str, pictures: Path) -> None:
    status, out, _ = run("predict", "--model", model, "--reject", 0.9, "--no-cache", "--sort", "uncertainty", pictures)
    columns, rows = table(out)
    assert status == 0 and columns == REJECTING
    assert rows[0]["path"].endswith("coffee.png") and rows[-1]["path"].endswith("broken.jpg")
    coffee, *known, broken = rows
    assert not coffee["label"] and coffee["would_be_label"] in ("brick", "grass", "gravel")
    assert float(coffee["would_be_probability"]) > 1 / 3 and "unknown: distance" in coffee["reason"]
    assert all(row["label"] and not row["would_be_label"] and not row["reason"] for row in known)
    assert float(known[0]["margin"]) <= float(known[1]["margin"])
    assert max(float(row["distance"]) for row in known) < float(coffee["distance"])
    assert broken["reason"] and not broken["distance"] and not broken["would_be_label"]
    frame = pipeline.top_k(str(pictures), model, k=1, reject=0.9).set_index("path")
    at = frame.loc[coffee["path"]]
    assert at["label"] is None and at["would_be_label"] == coffee["would_be_label"]
    assert f"{at['distance']:.6f}" == coffee["distance"]
    assert pipeline.predict(str(pictures / "coffee.png"), model, reject=0.9).tolist() == [None]


def test_the_order_is_that_of_the_paths_on_request(run, model: str, pictures: Path) -> None:
    words = [pictures / "grass.png", pictures / "brick.png"]
    given = table(run("predict", "--model", model, "--no-cache", *words)[1])[1]
    sorted_ = table(run("predict", "--model", model, "--no-cache", "--sort", "path", *words)[1])[1]
    assert [row["path"] for row in given] == [str(word) for word in words] and sorted_ == given[::-1]


def test_a_class_that_is_called_as_a_column_has_a_column_of_its_own(
    run, photos: Path, warm_cache: Path, tmp_path: Path
) -> None:
    (photos / "brick").rename(photos / "label")
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(photos), "centroid", model=model, backbone="nano", cache_dir=str(warm_cache))
    columns, rows = table(run("predict", "--model", model, "--wide", photos / "grass" / "grass.1.png")[1])
    assert columns == [*PLAIN, "grass", "gravel", "class label"] and rows[0]["label"] == "grass"


def test_the_table_goes_to_a_file_that_it_may_replace(run, model: str, pictures: Path, tmp_path: Path) -> None:
    words = ["predict", "--model", model, "--no-cache", pictures]
    output = tmp_path / "answers.csv"
    shown = run(*words)[1]
    for _ in range(2):  # an earlier table is replaced
        assert run(*words, "--output", output)[:2] == (0, "") and output.read_text() == shown
    mine = tmp_path / "notes.csv"
    mine.write_text("date,animal\n")
    for path, why in ((mine, "is no table of predictions"), (pictures / "grass.png", "is no table"), (model, "is no")):
        before = Path(path).read_bytes()
        status, out, err = run(*words, "--output", path)
        assert (status, out) == (2, "") and why in err and Path(path).read_bytes() == before
    status, _, err = run(*words, "--wide", "--top-k", 2)
    assert status == 2 and "--top-k 2" in err
