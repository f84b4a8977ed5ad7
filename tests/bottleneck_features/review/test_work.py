"""What comes before and after labelling: folders and tables in, a model with its report, folders of classes out."""

import re
from pathlib import Path

import pytest
from helpers.review.reviewed_page import Reviewed, reviewing, surface_of

import pipeline
from bottleneck_features.review.folders import export_folders
from bottleneck_features.review.train_and_save import Project
from cache.errors import UserError
from classify.labelling.label_log import Entry, labels_of
from featurize.spec_options import DEFAULT_CACHE


def test_folders_are_taken_over_and_taken_back(surfaces: Path, review_cache: Path, tmp_path: Path) -> None:
    with reviewing(surfaces, tmp_path / "labels.csv", review_cache, backbone="nano") as found:
        found.ask("POST", "/v1/labels", json={"said": [{"pictures": [0], "label": "mine"}]})
        assert found.ask("GET", "/v1/work").json()["adoptable"] == 35
        assert found.ask("POST", "/v1/adopt").json()["total"] == 35
        assert [one["count"] for one in found.ask("GET", "/v1/state").json()["classes"]].count(12) == 2
        assert found.ask("GET", "/v1/work").json()["adoptable"] == 0
        found.ask("POST", "/v1/undo")
        assert [*found.session.log.labels.values()] == ["mine"]
        assert found.ask("GET", "/v1/work").json()["adoptable"] == 35
        assert found.ask("POST", "/v1/adopt").json()["total"] == 35


def test_train_and_save_does_what_train_does_and_shows_the_report(taught: Reviewed) -> None:
    taught.ask("POST", "/v1/train")
    taught.training._thread.join()
    job = taught.ask("GET", "/v1/work").json()["training"]
    assert job["error"] == "" and job["of"] == 18
    low, high = job["result"]["accuracy_interval"]
    assert low <= job["result"]["accuracy"] <= high
    report = taught.ask("GET", job["report"], headers={"authorization": None})
    assert report.status_code == 200 and "sandbox" in report.headers["content-security-policy"]
    assert re.search(r"<title>.*flat", report.text)
    project = taught.training.project
    again = pipeline.train(project.data, labels=project.labels, cache_dir=project.cache_dir, backbone="nano",
                           model=f"{project.model}.again.joblib")  # fmt: skip
    assert again["accuracy"] == job["result"]["accuracy"] and again["classes"] == job["result"]["classes"]


def test_an_accuracy_of_stacks_is_said_to_be_too_high(reviewed: Reviewed, caplog: pytest.LogCaptureFixture) -> None:
    names = reviewed.session.view.pictures.names
    reviewed.session.put({number: Entry(surface_of(names[number]), how="asked") for number in range(18)})
    reviewed.session.put({number: Entry(surface_of(names[number]), how="stack") for number in range(18, 36)})
    reviewed.ask("POST", "/v1/train")
    reviewed.training._thread.join()
    assert reviewed.ask("GET", "/v1/work").json()["training"]["together"] == 18
    said = [text for text in caplog.messages if "18 of 36 labels" in text]
    assert said and "given to many pictures at once" in said[0]


def test_a_training_that_cannot_be_says_why(reviewed: Reviewed) -> None:
    reviewed.ask("POST", "/v1/train")
    reviewed.training._thread.join()
    job = reviewed.ask("GET", "/v1/work").json()["training"]
    assert "gives no picture a label" in job["error"] and job["report"] == ""


@pytest.mark.parametrize("kind", ["copies", "links"])
def test_folders_of_classes_hold_each_picture_once_and_train_the_same(
    flat: Path, taught: Reviewed, tmp_path: Path, kind: str
) -> None:
    (flat / "deeper").mkdir()
    out = tmp_path / "classes"
    answer = taught.ask("POST", "/v1/export", json={"folder": str(out), "kind": kind}).json()
    assert answer == {"written": 18, "missing": 0}
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert written == sorted(f"{surface_of(name)}/{name}" for name in taught.session.log.labels)
    assert all(path.is_symlink() == (kind == "links") for path in out.rglob("*.png"))
    assert len([*flat.rglob("*.png")]) == 36
    assert taught.ask("POST", "/v1/export", json={"folder": str(out), "kind": kind}).status_code == 409


def test_what_an_export_could_spoil_is_refused(flat: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="inside of the pictures' folder"):
        export_folders(str(flat), {"brick.0.png": "brick"}, str(flat / "out"))
    with pytest.raises(UserError, match="two classes would be one folder"):
        export_folders(str(flat), {"brick.0.png": "a/b", "brick.1.png": "a:b"}, str(tmp_path / "out"))
    done = export_folders(str(flat), {"../labels.csv": "x", "brick.0.png": "../.."}, str(tmp_path / "new"))
    assert (done.written, done.missing) == (1, 1)
    assert [path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*.png")] == [
        "_/brick.0.png"
    ]


def test_pictures_of_one_name_in_two_folders_are_both_exported(surfaces: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for folder in ("a", "a_b"):
        (data / folder).mkdir(parents=True)
    (data / "a" / "b_c.png").write_bytes((surfaces / "brick" / "brick.0.png").read_bytes())
    (data / "a_b" / "c.png").write_bytes((surfaces / "grass" / "grass.0.png").read_bytes())
    export_folders(str(data), {"a/b_c.png": "x", "a_b/c.png": "x"}, str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out" / "x").iterdir()) == ["a_b_c.png", "a_b_c_2.png"]


def test_the_command_that_is_shown_is_of_the_same_features() -> None:
    shown = Project("my photos", "labels.csv", "features", "head.joblib", {"backbone": "nano", "isolate": True})
    words = "--data 'my photos' --labels labels.csv --model head.joblib --cache-dir features --backbone nano --isolate"
    assert shown.command == f"python -m pipeline train {words}"
    plain = Project("photos", "labels.csv", DEFAULT_CACHE, "head.joblib")
    assert plain.command == "python -m pipeline train --data photos --labels labels.csv --model head.joblib"


def test_the_command_exports(run, flat: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("path,label,when,how\nbrick.0.png,brick,,\nbrick.1.png,,,not sure\n")
    status, out, _ = run("review", "--data", flat, "--labels", table, "--export", tmp_path / "out")
    assert status == 0 and "1 picture in" in out and (tmp_path / "out" / "brick" / "brick.0.png").is_file()
    assert labels_of(str(table)) == {"brick.0.png": "brick"}
    status, _, errors = run("review", "--data", flat, "--labels", tmp_path / "none.csv", "--export", tmp_path / "more")
    assert status == 2 and "no table of labels" in errors


def test_training_on_pictures_without_labels_names_the_page(run, flat: Path, tmp_path: Path) -> None:
    status, _, errors = run("train", "--data", flat, "--cache-dir", tmp_path / "cache", "--backbone", "nano")
    assert status == 2 and "review --data" in errors
