"""Answers about groups of new pictures: what a group is, and that its answer is the mean of its pictures."""

import csv
import io
import os
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import BUNDLED
from PIL import Image

import pipeline
from cache.errors import UserError

COLUMNS = ["path", "label", "probability", "margin", "group", "group_label", "group_probability"]
START = datetime(2026, 5, 1, 10)


@pytest.fixture(scope="module")
def model(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    cache = str(shutil.copytree(warm_cache, folder / "cache"))  # predictions are stored there
    pipeline.train(str(surfaces), model=str(folder / "logreg.joblib"), backbone="nano", cache_dir=cache, refit=True)
    return str(folder / "logreg.joblib")


@pytest.fixture
def new(surfaces: Path, tmp_path: Path) -> Path:
    """Bursts of two sites: three of grass and two of brick; a damaged picture, one without a time."""
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    for name, seconds in (("grass.1", 0), ("grass.2", 20), ("grass.3", 40), ("brick.1", 300), ("brick.2", 310)):
        site = tmp_path / "new" / ("site1" if seconds < 100 else "site2")
        site.mkdir(parents=True, exist_ok=True)
        exif.get_ifd(0x8769)[0x9003] = f"{START + timedelta(seconds=seconds):%Y:%m:%d %H:%M:%S}"
        with Image.open(surfaces / name.split(".")[0] / f"{name}.png") as picture:
            picture.save(site / f"{name}.png", exif=exif)
    shutil.copy(surfaces / "gravel" / "gravel.1.png", tmp_path / "new" / "site2")
    (tmp_path / "new" / "site1" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "new"


def rows(text: str) -> dict[str, dict[str, str]]:
    return {Path(row["path"]).name: row for row in csv.DictReader(io.StringIO(text))}


def test_the_answer_of_a_burst_is_the_mean_of_its_pictures(run: Callable, model: str, new: Path) -> None:
    status, out, err = run("predict", "--model", model, "--wide", "--group-by", "time:60", new)
    found = rows(out)
    assert status == 0 and list(found["grass.1.png"])[:7] == COLUMNS and len(found) == 7
    assert "groups: 2 by capture times less than 60 s apart, 2 to 3 pictures each, such as " in err
    assert "pictures in no group: 2, each is on its own" in err
    burst = [found[f"grass.{n}.png"] for n in (1, 2, 3)]
    means = {name: np.mean([float(row[name]) for row in burst]) for name in ("brick", "grass", "gravel")}
    for row in burst:
        assert row["group"] == f"{new / 'site1'}/2026-05-01 10:00:00"
        assert row["group_label"] == max(means, key=means.__getitem__)
        assert float(row["group_probability"]) == pytest.approx(max(means.values()), abs=1e-5)
    assert {row["probability"] for row in burst} != {burst[0]["group_probability"]}
    alone = found["gravel.1.png"]
    assert not alone["group"]
    assert (alone["group_label"], alone["group_probability"]) == (alone["label"], alone["probability"])
    assert not found["broken.png"]["group"] and not found["broken.png"]["group_label"]


def test_damaged_and_rejected_pictures_do_not_count(run: Callable, model: str, new: Path) -> None:
    shutil.copy(BUNDLED / "coffee.png", new / "site2" / "coffee.png")
    (new / "site3").mkdir()
    (new / "site3" / "broken.png").write_bytes(b"no picture")
    status, out, err = run("predict", "--model", model, "--group-by", "folder", "--reject", 0.9, new)
    found = rows(out)
    assert status == 0
    assert found["coffee.png"]["reason"] and not found["coffee.png"]["label"]
    answered = [row for row in found.values() if row["group"] == str(new / "site2") and row["label"]]
    assert found["coffee.png"]["group_label"] == answered[0]["group_label"] != ""
    assert not found["broken.png"]["group_label"]  # the one of site3
    assert f"groups without an answer: 1, such as {str(new / 'site3')!r}; none of their pictures has one" in err
    table = pipeline.predict_groups(str(new), model, "folder", reject=0.9).set_index("group")
    assert table["pictures"].tolist() == [4, 4, 1]
    at = table.loc[str(new / "site2")]
    assert at["answered"] == len(answered) < 4
    proba = pipeline.predict_proba([row["path"] for row in answered], model)
    assert at["probability"] == pytest.approx(proba.mean(axis=0).max())
    assert at["margin"] == pytest.approx(np.diff(np.sort(proba.mean(axis=0))[-2:])[0])
    assert table["label"].isna().tolist() == [False, False, True] and np.isnan(table["probability"].iloc[2])


def test_a_column_of_a_table_names_the_group_of_each_picture(run: Callable, model: str, new: Path) -> None:
    frame = pd.DataFrame(
        {
            "filename": ["site1/grass.1.png", "site1\\grass.2.png", "site2/brick.1.png", "site9/gone.png"],
            "Site": [*"aabb"],
        }
    )
    frame.to_csv(new.parent / "new.csv", index=False)
    words = ["--labels", new.parent / "new.csv", "--path-column", "filename", "--group-column", "site"]
    status, out, err = run("predict", "--model", model, *words, new)
    found = rows(out)
    assert status == 0 and [found[f"{name}.png"]["group"] for name in ("grass.1", "grass.2", "brick.1")] == [*"aab"]
    assert not found["brick.2.png"]["group"] and "whose picture is not there: 1 of 4" in err
    by_frame = pipeline.predict_groups(str(new), model, "column:Site", labels=frame, path_column="filename")
    assert by_frame["group"].tolist()[:1] == [""] and sorted(by_frame["group"])[-2:] == ["a", "b"]
    assert by_frame.set_index("group").loc["a", "label"] == found["grass.1.png"]["group_label"]
    status, _, err = run("predict", "--model", model, *words[:-1], "place", new)
    assert (
        status == 2 and "has no column 'place'; its columns are 'filename', 'Site': choose with --group-column" in err
    )


@pytest.mark.parametrize("written", ["beside the table", "here", "below the common folder", "above it", "by name"])
def test_files_are_found_in_a_table_wherever_its_paths_begin(
    run: Callable, model: str, new: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """Relative and absolute files, also where two folders have files of one name."""
    shutil.copy(new / "site1" / "grass.3.png", new / "site2" / "grass.3.png")
    names = ["site1/grass.1.png", "site1/grass.2.png", "site2/brick.1.png", "site2/grass.3.png"]
    folder = {"beside the table": "../new/", "here": "new/", "above it": "new\\"}.get(written, "")
    rows_named = [os.path.basename(name) for name in names[:3]] if written == "by name" else names
    (new.parent / "tables").mkdir()
    table = new.parent / "tables" / "t.csv"
    frame = pd.DataFrame({"filename": [folder + name for name in rows_named], "cam": [*"aabb"][: len(rows_named)]})
    frame.to_csv(table, index=False)
    monkeypatch.chdir(new if written == "above it" else new.parent)
    asked = ["--group-column", "cam", "--labels", table, "--path-column", "filename"]
    files = [os.path.relpath(new / name) for name in names]
    for given in (files, [str(new / name) for name in names]):
        status, out, err = run("predict", "--model", model, *asked, *given)
        assert ("by the end of their paths alone" in err) == (written in ("above it", "by name"))
        groups = [row["group"] for row in csv.DictReader(io.StringIO(out))]
        assert status == 0 and groups == [*"aab", "" if written == "by name" else "b"]
    status, out, _ = run("predict", "--model", model, *asked, files[0])
    assert status == 0 and rows(out)["grass.1.png"]["group"] == "a"


def test_a_name_alone_is_no_picture_where_two_have_it_or_another_is_meant(model: str, new: Path) -> None:
    shutil.copy(new / "site1" / "grass.3.png", new / "site2" / "grass.3.png")
    shutil.copy(new / "site1" / "grass.1.png", new.parent / "grass.1.png")  # beside the table: this one is meant
    files = [str(new / name) for name in ("site1/grass.3.png", "site2/grass.3.png", "site1/grass.1.png")]
    pd.DataFrame({"path": ["grass.3.png", "grass.1.png"], "cam": [*"ab"]}).to_csv(new.parent / "t.csv", index=False)
    with pytest.raises(UserError, match="no row of the table is one of these pictures"):
        pipeline.predict_groups(files, model, "column:cam", labels=str(new.parent / "t.csv"))


def test_a_table_without_these_pictures_is_told_from_one_without_groups(model: str, new: Path) -> None:
    frame = pd.DataFrame({"path": ["a.png", "site1/grass.1.png"], "cam": ["a", ""], "time": "2026-05-01 10:00:00"})
    one = str(new / "site2" / "gravel.1.png")
    no_row = "no picture is in a group: no row of the table is one of these pictures; the first is '.*gravel"
    with pytest.raises(UserError, match=no_row):
        pipeline.predict_groups(one, model, "column:cam", labels=frame)
    with pytest.raises(UserError, match="no picture is in a group: none has a capture time in its EXIF, and no row"):
        pipeline.predict_groups(one, model, "time:60", labels=frame.rename(columns={"time": "datetime"}))
    with pytest.raises(UserError, match="no picture is in a group: the column 'cam' is empty for all of them"):
        pipeline.predict_groups(str(new), model, "column:cam", labels=frame)
    with pytest.raises(UserError, match=r"has no column 'file'; its columns are .*: choose with --path-column$"):
        pipeline.predict_groups(one, model, "column:cam", labels=frame, path_column="file")


@pytest.mark.parametrize("option", ["accept", "coverage"])
def test_what_is_decided_of_pictures_alone_is_refused(model: str, new: Path, option: str) -> None:
    with pytest.raises(UserError, match=f"predict_groups has no {option}: .*pipeline.top_k"):
        pipeline.predict_groups(str(new), model, "folder", **{option: 0.9})
    with pytest.raises(TypeError, match="acept"):
        pipeline.predict_groups(str(new), model, "folder", acept=0.9)


def test_pictures_in_memory_lie_in_no_folder(model: str) -> None:
    with pytest.raises(UserError, match="no picture is in a group: they are in memory, and groups go by paths"):
        pipeline.predict_groups([np.zeros((32, 32, 3), np.uint8)], model, "folder")


def test_a_table_gives_times_to_pictures_without_exif(model: str, new: Path) -> None:
    frame = pd.DataFrame({"path": ["gravel.1.png"], "date_time": ["2026-05-01 10:05:30"]})
    table = pipeline.predict_groups(str(new / "site2"), model, "time:60", labels=frame)
    assert table["pictures"].tolist() == [3]


def test_a_pattern_is_searched_below_the_folder_that_is_given(model: str, new: Path) -> None:
    table = pipeline.predict_groups(str(new), model, r"pattern:^(?P<group>[^/]+)/")
    assert table["group"].tolist() == ["site1", "site2"]
    one = str(new / "site1" / "grass.1.png")
    assert pipeline.predict_groups(one, model, r"pattern:(?P<group>site\d)")["group"].tolist() == ["site1"]


def test_a_mapping_names_groups_and_pictures_in_memory_are_on_their_own(model: str, new: Path) -> None:
    paths = [str(new / "site1" / f"grass.{n}.png") for n in (1, 2)]
    with Image.open(paths[0]) as picture:
        images = [*paths, picture.copy()]
    table = pipeline.predict_groups(images, model, dict.fromkeys(paths, "a burst"))
    assert table["group"].tolist() == ["a burst", ""] and table["pictures"].tolist() == [2, 1]
    nothing = pipeline.predict_groups([], model, "folder")
    assert list(nothing) == list(table) and nothing.empty


def test_a_folder_whose_name_is_no_utf_8_is_a_group(run: Callable, model: str, new: Path) -> None:
    (new / "site1" / "broken.png").unlink()  # its path would be logged, which xdist cannot pass on
    strange = os.fsencode(new) + b"/caf\xe9"
    os.rename(new / "site1", strange)
    folder = os.fsdecode(strange)
    for groups in ("folder", "time:60"):
        table = pipeline.predict_groups(folder, model, groups)
        assert table["group"].iloc[-1].startswith(folder) and table["pictures"].iloc[-1] >= 3
    status, out, _ = run("predict", "--model", model, "--group-by", "folder", folder)
    assert status == 0 and rows(out)["grass.1.png"]["group"] == folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group-by", "time:abc"], "groups 'time:abc': give a number of seconds above 0, such as time:60"),
        (["--group-by", "site"], "groups 'site': give column:NAME, pattern:REGEX, folder or time:SECONDS"),
        (["--group-pattern", "site"], "--group-pattern 'site' has no group named group"),
        (["--group-column", "site"], "--group-column 'site': give the table that has it with --labels"),
        (["--group-by", "folder", "--group-pattern", "x"], "--group-pattern and --group-by both name groups"),
        (["--labels", "t.csv"], "no groups named"),
        (["--group-pattern", "(?P<group>nowhere)"], "fits none of the paths"),
    ],
)
def test_what_names_no_groups_is_refused_in_one_line(
    run: Callable, model: str, new: Path, words: list[str], message: str
) -> None:
    status, out, err = run("predict", "--model", model, *words, new)
    assert (status, out) == (2, "") and message in err.splitlines()[-1]


def test_a_class_of_the_name_of_a_column_keeps_its_own(
    run: Callable, surfaces: Path, tmp_path: Path, new: Path
) -> None:
    photos = shutil.copytree(surfaces, tmp_path / "photos")
    (photos / "brick").rename(photos / "group")
    path = str(tmp_path / "m.joblib")
    pipeline.train(str(photos), "centroid", model=path, backbone="nano", cache_dir=str(tmp_path / "cache"))
    found = rows(run("predict", "--model", path, "--wide", "--group-by", "folder", new)[1])
    assert list(found["grass.1.png"]) == [*COLUMNS, "grass", "gravel", "class group"]
    with pytest.raises(UserError, match="no groups named"):
        pipeline.predict_groups(str(new), path, None)  # type: ignore[arg-type]
