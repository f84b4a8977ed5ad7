"""Training over a model of other data or classes: it is announced before the training, and the old model is kept."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from helpers.models.model_records import edit

import classify.train
import pipeline
from classify.saved.persist import load
from classify.saved.previous import files_of, previous_of
from classify.saved.record import own_digest

Train = Callable[..., list[str]]


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(tmp_path / "models" / "m.joblib")


@pytest.fixture
def train(model: str, warm_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Train:
    """Train on a folder, and return what is said of the model that is there."""
    cache = shutil.copytree(warm_cache, tmp_path / "cache")

    def call(data: Path | None, head: str = "logreg", **options: Any) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "bottleneck"):
            folder = None if data is None else str(data)
            pipeline.train(folder, head, model=model, cache_dir=str(cache), **SPEC, **options)
        return [message for message in caplog.messages if "replaced" in message]

    return call


@pytest.fixture
def others(photos: Path, tmp_path: Path) -> Path:
    """Pictures of the same names of folders, none of which is one of `photos`."""
    from PIL import Image

    folder = Path(shutil.copytree(photos, tmp_path / "others"))
    for path in folder.rglob("*.png"):
        with Image.open(path) as picture:
            picture.rotate(90).save(path)
    return folder


@pytest.fixture
def two_classes(photos: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(photos, tmp_path / "two"))
    shutil.rmtree(folder / "gravel")
    return folder


def test_a_model_of_other_classes_is_announced_and_kept(
    train: Train, model: str, photos: Path, two_classes: Path
) -> None:
    assert train(photos) == []
    pictures = [str(path) for path in sorted(photos.rglob("*.png"))]
    before, record = pipeline.predict_proba(pictures, model), load(model).record
    pipeline.evaluate(str(photos), model)
    tables = {path: Path(path).read_bytes() for path in files_of(model) if os.path.exists(path)}
    (line,) = train(two_classes)
    kept = previous_of(model)
    assert line.isprintable() and all(
        part in line
        for part in (model, kept, str(photos), str(two_classes), "brick, grass, gravel", "2 classes: brick, grass)")
    )
    assert record["created"] in line
    assert pipeline.load(model).classes_ == ["brick", "grass"]
    assert np.array_equal(pipeline.predict_proba(pictures, kept), before)
    assert load(kept, sha256=load(kept).record["arrays"]["sha256"]).record["arrays"]["file"] == "m.previous.npz"
    for path, content in tables.items():  # the evaluation too, and it is no longer beside the new model
        name = path.replace("m.", "m.previous.")
        assert path.endswith("m.json") or Path(name).read_bytes() == content
    assert not os.path.exists(model.replace(".joblib", ".evaluation.json"))
    shutil.move(str(photos.parent / "models"), str(photos.parent / "elsewhere"))
    assert pipeline.load(str(photos.parent / "elsewhere" / "m.previous.joblib")).classes_ == record["classes"]


def test_the_announcement_comes_before_the_training(
    train: Train, photos: Path, two_classes: Path, model: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    train(photos)
    before = Path(model).read_bytes()

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(classify.train, "train_head", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(two_classes)
    (announced,) = [one for one in caplog.records if "is replaced by a model of" in one.getMessage()]
    assert announced.levelno == logging.INFO  # a command shows warnings when all is done
    assert Path(model).read_bytes() == before and not os.path.exists(previous_of(model))


def test_training_again_on_the_same_data_is_quiet_and_keeps_nothing(train: Train, model: str, photos: Path) -> None:
    train(photos)
    assert train(photos, seed=1) == train(photos / ".." / photos.name, "ridge", test_size=0.5) == []
    (photos / "brick" / "brick.0.png").unlink()  # some pictures fewer, one more
    shutil.copy(photos / "grass" / "grass.0.png", photos / "grass" / "again.png")
    (link := photos.parent / "link").symlink_to(photos)
    assert train(link, "knn") == train(link, "knn") == []  # a pickle, and over one
    assert not os.path.exists(previous_of(model))


def test_no_folders_of_parts_are_the_same_however_that_is_said(train: Train, model: str, photos: Path) -> None:
    nothing: Any = ()  # as the command line says it
    parts = dict.fromkeys(("train_folder", "validation_folder", "test_folder"), nothing)
    assert [train(photos), train(photos, **parts), train(photos, **parts)] == [[], [], []]
    edit(model, data=load(model).record["data"] | {name: [] for name in parts})  # as version 0.1 wrote it
    assert train(photos) == [] and not os.path.exists(previous_of(model))


def test_other_pictures_under_the_same_names_are_other_data(
    train: Train, model: str, photos: Path, others: Path
) -> None:
    train(photos)
    (line,) = train(others)
    assert (
        str(photos) in line and str(others) in line and load(previous_of(model)).record["data"]["folder"] == str(photos)
    )


def test_the_same_folder_with_other_pictures_in_it_is_other_data(train: Train, photos: Path, others: Path) -> None:
    train(photos)
    shutil.rmtree(photos)
    os.rename(others, photos)
    (line,) = train(photos)
    assert line.count(f"{photos} (3 classes") == 2


def test_another_column_of_the_same_table_is_other_data(train: Train, photos: Path, tmp_path: Path) -> None:
    rows = [
        f"{path.relative_to(photos)},{'yes' if number % 2 else 'no'},{'yes' if 'brick' in path.name else 'no'}"
        for number, path in enumerate(sorted(photos.rglob("*.png")))
    ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,odd,brick", *rows]))
    assert train(photos, labels=str(table), label_column="brick") == []
    assert train(photos, labels=str(table), label_column="brick") == []
    (line,) = train(photos, labels=str(table), label_column="odd")
    assert "column brick" in line and "column odd" in line and line.count(str(table)) == 2


def test_a_second_overwriting_replaces_what_was_kept_and_says_so(
    train: Train, model: str, photos: Path, others: Path, two_classes: Path
) -> None:
    train(photos, "ridge", search=True)
    assert "in place of" not in train(two_classes)[0]
    assert os.path.exists(previous_of(model).replace(".joblib", ".search.csv"))
    (line,) = train(others)
    assert line.endswith("in place of the one kept there")
    assert pipeline.load(previous_of(model)).classes_ == ["brick", "grass"]
    assert not os.path.exists(previous_of(model).replace(".joblib", ".search.csv"))  # of the first one


def test_records_that_do_not_name_their_data_are_judged_by_classes_and_pictures(
    train: Train, model: str, photos: Path, others: Path
) -> None:
    train(photos)
    edit(model, data=None)
    assert train(photos) == []
    edit(model, data=None)
    (line,) = train(others)
    assert "data that it does not name (3 classes: brick, grass, gravel)" in line
    assert load(previous_of(model)).record["classes"] == ["brick", "grass", "gravel"]


@pytest.mark.parametrize("data", [["a"], "\x1b[31m", {"folder": ["\x1b"]}, {"folder": "x\n" * 1000}, 3])
def test_a_record_from_outside_is_not_believed(train: Train, model: str, photos: Path, data: Any) -> None:
    train(photos)
    edit(model, data=data)
    (line,) = train(photos)
    assert line.isprintable() and len(line) < 1500
    assert load(previous_of(model)).record["data"] == data


def test_a_record_that_was_changed_is_kept_as_it_was(train: Train, model: str, photos: Path, others: Path) -> None:
    train(photos)
    edit(model, by_hand=True, created="never")
    train(others)
    record = json.loads(Path(previous_of(model).replace(".joblib", ".json")).read_text())
    assert record["created"] == "never" and record["sha256"] != own_digest(record)


@pytest.mark.parametrize("suffix", [".joblib", ".json", ".npz", ".classes.csv"])
def test_what_is_no_model_and_lies_under_its_names_is_kept(train: Train, model: str, photos: Path, suffix: str) -> None:
    mine = Path(model.replace(".joblib", suffix))
    mine.parent.mkdir()
    mine.write_bytes(b"notes of a year")
    (line,) = train(photos)
    assert "cannot be read as a model" in line
    assert mine.read_bytes() != b"notes of a year"
    assert Path(previous_of(model).replace(".joblib", suffix)).read_bytes() == b"notes of a year"
    assert pipeline.load(model).classes_ == ["brick", "grass", "gravel"]


@pytest.mark.parametrize("heads", [("logreg", "ridge"), ("knn", "logreg"), ("logreg", "knn")])
def test_killed_anywhere_while_it_is_kept_the_old_model_loads_or_the_new_one(
    train: Train,
    model: str,
    photos: Path,
    two_classes: Path,
    monkeypatch: pytest.MonkeyPatch,
    heads: tuple[str, str],
) -> None:
    train(photos, heads[0])
    shutil.copytree(Path(model).parent, photos.parent / "whole")
    renaming, points = os.replace, 0
    for last in range(100):
        shutil.rmtree(Path(model).parent)
        shutil.copytree(photos.parent / "whole", Path(model).parent)
        step = iter(range(1000))

        def dying(old: str, new: str, step: Any = step, last: int = last) -> None:
            if os.path.dirname(new) == os.path.dirname(model) and next(step) == last:
                raise KeyboardInterrupt
            renaming(old, new)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            try:
                train(two_classes, heads[1])
            except KeyboardInterrupt:
                points += 1
            else:
                break
        found = load(model).record["classes"]
        kept = previous_of(model)
        assert found == ["brick", "grass", "gravel"] or load(kept).record["classes"] == ["brick", "grass", "gravel"]
        train(two_classes, heads[1])
        assert load(model).record["classes"] == ["brick", "grass"]
        assert load(kept).record["classes"] == ["brick", "grass", "gravel"]
    assert points > 8
