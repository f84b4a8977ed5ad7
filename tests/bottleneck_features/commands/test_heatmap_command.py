"""`predict --heatmap`: a picture with its map for each that has a label, in files of ours alone."""

import csv
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import BUNDLED
from helpers.storage.planted_objects import CORNERS, plant, plant_many
from PIL import Image

import pipeline
from classify.heatmaps.heatmap_files import file_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    plant_many(folder / "photos", 12)
    model = str(folder / "m.joblib")
    pipeline.train(str(folder / "photos"), model=model, cache_dir=str(folder / "cache"), backbone="nano", refit=True)
    return folder


@pytest.fixture
def words(trained: Path, tmp_path: Path) -> list[object]:
    """`predict` with a model, a cache of the test's own and a folder for heat maps."""
    shutil.copytree(trained / "cache", tmp_path / "cache")
    model = ["--model", trained / "m.joblib", "--cache-dir", tmp_path / "cache"]
    return ["predict", *model, "--heatmap", tmp_path / "maps"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Of one name in two folders, of a name that no file system takes as it is, something else, a damaged one."""
    folder = tmp_path / "new"
    for number, name in enumerate(CORNERS):
        plant(folder / name / "1.png", 7000 + number, CORNERS[name])
    plant(folder / "a: 'b'\n\\.png", 7010, (0, 0))
    shutil.copy(BUNDLED / "rocket.jpg", folder / "rocket.jpg")
    data = (BUNDLED / "rocket.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 3])
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def rows(text: str) -> dict[str, dict[str, str]]:
    return {row["path"]: row for row in csv.DictReader(io.StringIO(text))}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def warmest(picture: str, drawn: str) -> str:
    """The quarter of a picture that the map over it changes most."""
    with Image.open(picture) as before, Image.open(drawn) as after:
        assert after.format == "JPEG" and after.size == before.size
        changed = np.abs(np.asarray(after, int) - np.asarray(before.convert("RGB"), int)).sum(axis=2)
    half = changed.shape[0] // 2
    quarters = {
        f"{down} {across}": changed[rows, columns].sum()
        for down, rows in (("upper", np.s_[:half]), ("lower", np.s_[half:]))
        for across, columns in (("left", np.s_[:half]), ("right", np.s_[half:]))
    }
    return max(quarters, key=lambda name: quarters[name])


def test_every_labelled_picture_has_a_file_and_the_table_its_path(run, words, pictures: Path, tmp_path: Path) -> None:
    status, out, err = run(*words, pictures)
    table = rows(out)
    assert status == 0 and len(table) == 8
    files = [row["heatmap"] for row in table.values() if row["label"]]
    assert len(set(files)) == 6 and sorted(files) == sorted(str(path) for path in (tmp_path / "maps").iterdir())
    for name in ("cut.jpg", "broken.png"):
        assert not table[str(pictures / name)]["heatmap"] and f"no prediction for {pictures / name}" in err
    assert f"heat maps in {tmp_path / 'maps'}: 6; without one, because without label: 2" in err
    for name in CORNERS:
        row = table[str(pictures / name / "1.png")]
        assert row["label"] == "gravel" and warmest(row["path"], row["heatmap"]) == name


def test_a_second_run_computes_nothing_and_replaces_its_own_files(run, words, pictures: Path, tmp_path: Path) -> None:
    first = run(*words, pictures)
    written = contents(tmp_path / "maps")
    shards = sorted((tmp_path / "cache").rglob("*.h5"))
    again = run(*words, pictures)
    assert again[:2] == first[:2] and "to compute" in first[2] and "to compute" not in again[2]
    assert contents(tmp_path / "maps") == written and sorted((tmp_path / "cache").rglob("*.h5")) == shards


def test_a_rejected_picture_has_no_map(run, words, pictures: Path) -> None:
    status, out, _ = run(*words, "--reject", 0.9, "--no-cache", pictures / "rocket.jpg", pictures / "upper left")
    found = rows(out)
    assert status == 0 and not found[str(pictures / "rocket.jpg")]["heatmap"]
    kept = found[str(pictures / "upper left" / "1.png")]
    assert bool(kept["heatmap"]) == bool(kept["label"])


def test_tables_with_more_rows_or_columns_have_the_path_as_well(run, words, pictures: Path) -> None:
    picture = pictures / "upper left" / "1.png"
    status, out, _ = run(*words, "--top-k", 2, picture)
    both = list(csv.DictReader(io.StringIO(out)))
    assert status == 0 and [row["label"] for row in both] == ["gravel", "nothing"]
    assert both[0]["heatmap"] == both[1]["heatmap"] != ""
    status, out, _ = run(*words, "--wide", picture)
    assert out.splitlines()[0] == "path,label,probability,margin,heatmap,gravel,nothing"


def test_nothing_else_is_replaced(run, words, pictures: Path, tmp_path: Path) -> None:
    """A file that is no heat map of ours, a folder of pictures to predict, the cache, a file where a folder belongs."""
    picture = pictures / "upper left" / "1.png"
    (tmp_path / "maps").mkdir()
    mine = Path(file_of(str(tmp_path / "maps"), str(picture)))
    shutil.copy(BUNDLED / "rocket.jpg", mine)
    before = mine.read_bytes()
    for folder, why in (
        (tmp_path / "maps", f"{mine} is there and is no heat map"),
        (pictures / "maps", f"would be taken for a picture of the data {pictures}"),
        (tmp_path / "cache", "the cache"),
        (picture, "is a file: name a folder"),
    ):
        status, out, err = run(*words[:-1], folder, pictures)
        assert status == 2 and not out and why in err, err
    assert mine.read_bytes() == before and len(list((tmp_path / "maps").iterdir())) == 1


def test_names_are_safe_and_differ_wherever_paths_do() -> None:
    paths = ["a/1.jpg", "b/1.jpg", "a/1.png", "A/1.jpg", "con.jpg", "../x/..png", "-rf.jpg", "caf\udce9.jpg", "ö" * 200]
    names = [os.path.basename(file_of("maps", path)) for path in paths]
    assert len({name.casefold() for name in names}) == len(paths)
    for name in names:
        assert name.encode() and len(name.encode()) < 255 and not name.startswith(".")
        assert name.count(".") == 1 and not set(name) & set('/\\:*?"<>| \n')
