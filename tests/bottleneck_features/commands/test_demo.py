"""Photographs that come along: their crops, the demo from end to end, and commands that are given no data."""

import csv
import io
import json
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import exit_status
from PIL import Image

import pipeline
from bottleneck_features.commands.main import main
from bottleneck_features.demo.gallery import save_gallery
from cache.errors import UserError
from classify.data import surfaces
from classify.data.surfaces import (
    COUNTS,
    LEAST_CONTRAST,
    PHOTOGRAPHS,
    SMALLEST,
    WRITTEN,
    draw_crop,
    photograph,
    surfaces_folder,
)
from featurize.spec_options import DEFAULT_BACKBONE as BACKBONE

FEWER = {"train": 16, "test": 6}  # crops of each class
CROPS = len(PHOTOGRAPHS) * sum(FEWER.values())
Run = Callable[..., tuple[int, str, str]]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


@pytest.fixture(scope="module", autouse=True)
def fewer_crops() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surfaces, "COUNTS", FEWER)
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(surfaces_folder(str(tmp_path_factory.mktemp("demo") / "surfaces")))


@pytest.fixture(scope="module")
def place(written: Path) -> Iterator[Path]:
    """The folder with `surfaces` in it as current folder, and no network."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(written.parent)
        patch.setattr(socket.socket, "connect", refuse)
        yield written.parent


@pytest.fixture
def run(place: Path, run: Run) -> Run:
    """Run a command line there: (exit status, stdout, stderr)."""
    assert place == Path.cwd()
    return run


@pytest.fixture(scope="module")
def report(place: Path) -> dict[str, Any]:
    """The report of `demo --json`."""
    assert exit_status(main, ["demo", "--json", "report.json"]) == 0
    found: dict[str, Any] = json.loads((place / "report.json").read_text())
    return found


def test_crops_are_the_same_bytes_every_time(written: Path, tmp_path: Path) -> None:
    again = contents(Path(surfaces_folder(str(tmp_path / "again"))))
    assert again == contents(written)
    assert len(set(again.values())) == CROPS, "two crops are one and the same picture"


def test_every_class_has_its_crops_in_both_parts(written: Path) -> None:
    found = Counter(str(path.parent.relative_to(written)) for path in written.rglob("*.png"))
    assert found == {f"{part}/{label}": count for part, count in FEWER.items() for label in PHOTOGRAPHS}
    for path in written.rglob("*.png"):
        with Image.open(path) as crop:
            assert crop.mode == "L" and crop.width == crop.height and WRITTEN[0] <= crop.width <= WRITTEN[1]


@pytest.mark.parametrize("label", PHOTOGRAPHS)
def test_no_pixel_is_both_in_a_crop_to_train_on_and_in_one_to_test_on(label: str) -> None:
    picture = photograph(label)
    for part, count in COUNTS.items():
        crops = [draw_crop(picture, label, part, f"{number:02}.png") for number in range(count)]
        assert len(set(crops)) == count
        for left, upper, right, lower in (crop.box for crop in crops):
            if part == "train":
                assert 0 <= left < right <= picture.width / 2
            else:
                assert picture.width / 2 <= left < right <= picture.width
            assert 0 <= upper < lower <= picture.height and right - left == lower - upper
            assert right - left >= SMALLEST * min(picture.width // 2, picture.height) - 1


def test_crops_show_something() -> None:
    picture = photograph("launch_pad")  # half of it is sky
    for number in range(COUNTS["test"]):
        grey = picture.crop(draw_crop(picture, "launch_pad", "test", f"{number:02}.png").box)
        mean = sum(value * count for value, count in enumerate(grey.histogram())) / (grey.width * grey.height)
        squares = sum((value - mean) ** 2 * count for value, count in enumerate(grey.histogram()))
        assert (squares / (grey.width * grey.height)) ** 0.5 > LEAST_CONTRAST - 0.01


def test_what_is_missing_is_completed_and_the_rest_left_alone(written: Path, tmp_path: Path) -> None:
    folder = Path(surfaces_folder(str(tmp_path / "surfaces")))
    gone, kept = folder / "test" / "moon" / "03.png", folder / "test" / "moon" / "04.png"
    gone.unlink()
    os.utime(kept, (1, 1))
    surfaces_folder(str(folder))
    assert gone.read_bytes() == (written / "test" / "moon" / "03.png").read_bytes()
    assert kept.stat().st_mtime == 1


def test_a_folder_of_somebody_elses_pictures_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train" / "marble").mkdir(parents=True)
    (tmp_path / "train" / "marble" / "a.jpg").touch()
    with pytest.raises(UserError, match=r"train/marble/a\.jpg.*--data"):
        surfaces_folder(str(tmp_path))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.jpg"]


def test_the_demo_reports_three_rows_predictions_and_a_picture(place: Path, report: dict[str, Any]) -> None:
    assert [row["features"] for row in report["rows"]] == ["raw pixels", f"{BACKBONE} with random weights", BACKBONE]
    assert all(1 / len(PHOTOGRAPHS) < row["accuracy"] <= 1 for row in report["rows"])
    assert report["train"] + report["test"] == CROPS and report["classes"] == sorted(PHOTOGRAPHS)
    assert len({prediction["true"] for prediction in report["predictions"]}) == 3
    for prediction in report["predictions"]:
        assert prediction["path"].startswith("surfaces/test/") and len(prediction["ranked"]) == 3
    assert report["right"] == round(report["rows"][2]["accuracy"] * report["test"])
    assert (place / "models" / "demo.joblib").is_file()
    with Image.open(place / report["picture"]) as picture:
        picture.load()
        assert picture.width > 500 and picture.height > 300
    assert len(contents(place / "surfaces")) == CROPS, "the picture must not be among the data"


def test_the_default_backbone_is_better_than_raw_pixels_and_random_weights(report: dict[str, Any]) -> None:
    pixels, by_chance, pretrained = (row["accuracy"] for row in report["rows"])
    assert pretrained > by_chance + 0.2 and pretrained > pixels + 0.2


def test_the_demo_prints_its_table_and_computes_nothing_twice(run: Run, report: dict[str, Any]) -> None:
    status, out, err = run("demo")
    assert status == 0 and "to compute" not in err
    for row in report["rows"]:
        (line,) = [line for line in out.splitlines() if line.startswith(f"{row['features']}  ")]
        assert f"{row['accuracy']:.4f}" in line
    assert f"right {report['right']} of {report['test']}" in out and report["picture"] in out and "seconds" in out
    assert out.count("surfaces/test/") == 3


def test_features_without_data_take_the_photographs(run: Run) -> None:
    for forward_passes in (CROPS, 0):
        status, out, err = run("features", "--cache-dir", "new", "--backbone", "nano")
        assert status == 0 and f"images {CROPS}: " in out and out.count(f"; forward passes {forward_passes}\n") == 1
        said = [line for line in err.splitlines() if line.startswith("no data given")]
        assert said == ["no data given: taking the photographs of surfaces that come with scikit-image, in surfaces/"]


@pytest.mark.usefixtures("report")
def test_train_evaluate_and_predict_work_without_data(run: Run) -> None:
    status, out, err = run("train", "--head", "ridge")
    assert status == 0 and "model  models/ridge.joblib" in out and "forward passes 0" in out
    assert "no data given" in err and f"{FEWER['test'] * len(PHOTOGRAPHS)} pictures; 95% interval" in out
    status, out, err = run("evaluate", "--head", "ridge")
    assert status == 0 and "accuracy" in out and "no data given" in err
    status, out, err = run("predict", "--head", "ridge")
    rows = list(csv.reader(io.StringIO(out)))[1:]
    assert status == 0 and "no images given" in err and len(rows) == FEWER["test"] * len(PHOTOGRAPHS)
    assert all(path.startswith("surfaces/test/") and label in PHOTOGRAPHS for path, label, *_ in rows)
    status, out, _ = run("cache", "export", "--output", "features.h5")
    assert status == 0 and f"{CROPS} rows" in out


@pytest.mark.usefixtures("place")
def test_a_named_backbone_stays_and_a_pattern_without_data_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match="resnet50_v2"), caplog.at_level(logging.INFO, logger="bottleneck"):
        pipeline.features(backbone="resnet")
    assert "in surfaces/" in caplog.text
    with pytest.raises(UserError, match="no pictures given"):
        pipeline.features(label_pattern=r"(?P<label>cat|dog)")


def test_the_picture_may_have_no_wrong_ones(written: Path, tmp_path: Path) -> None:
    crops = [str(written / "test" / label / "00.png") for label in ("moon", "fur")]
    assert save_gallery(str(tmp_path / "a.png"), crops, ["moon", "fur"], ["moon", "fur"]) == 2
    assert save_gallery(str(tmp_path / "b.png"), crops, ["moon", "fur"], ["fur", "moon"]) == 0
    with Image.open(tmp_path / "a.png") as right, Image.open(tmp_path / "b.png") as wrong:
        assert right.size == wrong.size and right.tobytes() != wrong.tobytes()
