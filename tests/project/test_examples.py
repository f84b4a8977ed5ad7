"""The examples on real photographs with real weights of MobileNetV2, which stands in for the tutorials' backbones."""

import csv
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import REPOSITORY, exit_status
from PIL import Image

import pipeline
from examples import alpaca, arctic_wildlife, cats_dogs, dog_breeds, flowers
from examples.shared import Asked, example, obtainable

WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
Ran = tuple[int, str, str, Path]


@pytest.fixture
def ran(shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run an example on a folder: (exit status, stdout, stderr, folder of results)."""

    def call(module: ModuleType, job: Callable[[Asked], None], data: Path, *options: str) -> Ran:
        output, given = tmp_path / "results", ("--data", str(data), "--backbone", "mobilenet_v2")
        places = ("--output", str(output), "--cache-dir", str(tmp_path / "cache"))
        words = [*given, "--weights", str(shared / "weights" / WEIGHTS), *places, *options]
        status = exit_status(example, job.__name__, job, module.PHOTOGRAPHS, "vgg16", "150", arguments=words)
        return status, *capfd.readouterr(), output

    return call


def some(source: Path, target: Path, count: int) -> None:
    """The first photographs of a folder, in another one."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir())[:count]:
        shutil.copy(path, target)


def row_of(out: str, way: str) -> list[str]:
    """The columns of a line of the table: tutorial, ours, low, high, scored, folds, passes."""
    (line,) = (line for line in out.splitlines() if line.startswith(way))
    return line.removeprefix(way).replace(" to ", " ").split()


def drawn(out: str, folder: Path) -> set[str]:
    """The pictures that are named and are there."""
    names = {Path(path).name for path in re.findall(r"^drawn  (.*)$", out, re.MULTILINE)}
    for name in names:
        with Image.open(folder / name) as picture:
            picture.load()
            assert len(picture.convert("RGB").getcolors(2**24)) > 10  # not blank
    return names


def test_alpaca(shared: Path, tmp_path: Path, ran: Callable[..., Ran]) -> None:
    for label in ("alpaca", "not alpaca"):
        some(shared / "images" / "alpaca" / label, tmp_path / "data" / label, 30)
    status, out, err, folder = ran(alpaca, alpaca.alpaca, tmp_path / "data", "--size", "96")
    assert status == 0, err
    plain, turned = row_of(out, "plain"), row_of(out, "with flips and rotations")
    assert (plain[0], turned[0]) == ("0.95", "0.97")
    assert min(float(plain[5]), float(turned[5])) > 0.7  # over all folds
    assert (plain[6], turned[6]) == ("60", "180")  # the pictures themselves are not computed again
    assert drawn(out, folder) == {"curves.png"}
    assert pipeline.load(str(folder / "views.joblib")).saved.record["views"]["predict"] == 1


def test_cats_and_dogs(shared: Path, tmp_path: Path, ran: Callable[..., Ran]) -> None:
    source = shared / "images" / "cats_dogs" / "train"
    (tmp_path / "data").mkdir()
    for name in (f"{label}.{number}.jpg" for label in ("cat", "dog") for number in range(24)):
        shutil.copy(source / name, tmp_path / "data")
    status, out, err, folder = ran(cats_dogs, cats_dogs.cats_dogs, tmp_path / "data", "--size", "96")
    assert status == 0, err
    assert re.search(r"^2 dog +[01]\.\d{4}", out, re.MULTILINE)  # the report by class
    assert row_of(out, "logistic regression")[0] == "0.90"
    assert float(row_of(out, "logistic regression")[1]) > 0.7
    assert float(row_of(out, "fewer layers kept, the others tuned")[1]) > 0.7
    assert "(the tutorial's figures are of vgg16, ours of mobilenet_v2)" in out
    assert drawn(out, folder) == {"curves.png"}


def test_flowers(shared: Path, tmp_path: Path, ran: Callable[..., Ran]) -> None:
    for part, count in (("train", 20), ("val", 6)):
        for label in ("daisy", "roses", "tulips"):
            some(shared / "images" / "flowers" / part / label, tmp_path / "data" / part / label, count)
    status, out, err, folder = ran(flowers, flowers.flowers, tmp_path / "data")
    assert status == 0, err
    tutorial, ours, *_, scored, _, passes = row_of(out, "dense, batch norm and dropout")
    assert (tutorial, scored, passes) == ("0.90", "18", "78")
    assert float(ours) > 0.6
    assert drawn(out, folder) == {"curves.png", "confusion.png"}


def test_arctic_wildlife(shared: Path, tmp_path: Path, ran: Callable[..., Ran]) -> None:
    source = shared / "images" / "arctic_wildlife"
    for label in ("arctic_fox", "polar_bear", "walrus"):
        some(source / "train" / label, tmp_path / "data" / "train" / label, 15)
        some(source / "test" / label, tmp_path / "data" / "test" / label, 5)
        some(source / "test" / label, tmp_path / "samples", 7) if label == "walrus" else None
    status, out, err, folder = ran(arctic_wildlife, arctic_wildlife.arctic_wildlife, tmp_path / "data", "--size", "96")
    assert status == 0, err
    tutorial, ours, *_, scored, _, passes = row_of(out, "dense, 1,024 units")
    assert (tutorial, scored, passes) == ("0.95", "15", "60")
    assert float(ours) > 0.6
    assert drawn(out, folder) == {"curves.png", "confusion.png", "samples.png"}
    assert len(re.findall(r"^.*/test/.*: \w+ [01]\.\d{3}, ", out, re.MULTILINE)) == 8

    shutil.move(tmp_path / "samples", tmp_path / "data" / "samples")  # as the book has them: neither train nor test
    shown = arctic_wildlife.unseen(str(tmp_path / "data"))
    assert {Path(path).parent.name for path in shown} == {"samples"}
    _, out, *_ = ran(arctic_wildlife, arctic_wildlife.arctic_wildlife, tmp_path / "data", "--size", "96")
    assert row_of(out, "dense, 1,024 units")[4] == "15"


def with_table(shared: Path, folder: Path) -> None:
    """Flowers as the competition has its dogs: train/ID.jpg, labels.csv with id and breed, and test/ without labels."""
    rows = []
    for label in ("daisy", "roses", "tulips"):
        paths = sorted((shared / "images" / "flowers" / "train" / label).iterdir())
        for part, chosen in (("train", paths[:20]), ("test", paths[20:22])):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for path in chosen:
                shutil.copy(path, folder / part)
        rows += [[path.stem, label] for path in paths[:20]]
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "breed"], *rows])


def test_dog_breeds(shared: Path, tmp_path: Path, ran: Callable[..., Ran]) -> None:
    with_table(shared, tmp_path / "data")
    status, out, err, folder = ran(dog_breeds, dog_breeds.dog_breeds, tmp_path / "data", "--size", "96")
    assert status == 0, err
    tutorial, ours, *_, passes = row_of(out, "four views of each")
    assert (tutorial, passes) == ("-", "240")
    assert float(ours) > 0.4
    assert drawn(out, folder) == {"curves.png", "top3.png"}
    assert len(re.findall(r"^.*/test/.*: \w+ [01]\.\d{3}, \w+ [01]\.\d{3}, \w+ [01]\.\d{3}$", out, re.MULTILINE)) == 6
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))


def test_a_table_is_made_of_the_folders_of_the_downloaded_dogs(shared: Path, tmp_path: Path) -> None:
    for label, folder in (("daisy", "n02085620-Chihuahua"), ("roses", "n02085782-Japanese_spaniel")):
        some(shared / "images" / "flowers" / "train" / label, tmp_path / "Images" / folder, 12)
    data, table = str(tmp_path / "Images"), str(tmp_path / "labels.csv")
    assert dog_breeds.table_of_folders(data, table) == table
    unseen = dog_breeds.unlisted(data, table)
    assert sorted({Path(path).parent.name for path in unseen}) == ["n02085620-Chihuahua", "n02085782-Japanese_spaniel"]
    report = pipeline.train(
        data,
        labels=table,
        path_column="id",
        label_column="breed",
        backbone="nano",
        cache_dir=str(tmp_path / "cache"),
        model=str(tmp_path / "model.joblib"),
    )
    assert report["classes"] == ["chihuahua", "japanese_spaniel"]
    assert report["images"] == 20
    assert len(unseen) == 4


@pytest.mark.parametrize("name", ["alpaca", "arctic_wildlife", "cats_dogs", "dog_breeds", "flowers"])
@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_every_example_is_a_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, "--data", "nowhere", "--backbone", "nano"])
    assert exit_status(runpy.run_module, f"examples.{name}", run_name="__main__") in (1, 2)
    assert re.fullmatch(r"error: .*nowhere.*\n", capsys.readouterr().err)


def test_the_default_stands_in_for_a_backbone_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from keras.src.applications import efficientnet

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(efficientnet, "BASE_WEIGHTS_PATH", "http://127.0.0.1:9/")  # where nobody answers
    assert obtainable("efficientnet_b0", str(tmp_path / "cache")) == "efficientnet_lite2"
    assert "efficientnetb0_notop.h5" in caplog.text
    assert "efficientnet_lite2 stands in for efficientnet_b0" in caplog.text
    assert obtainable("nano", str(tmp_path / "cache")) == "nano"


def test_an_example_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(example, "flowers", flowers.flowers, flowers.PHOTOGRAPHS, "vgg16", arguments=["--help"]) == 0
    assert "python -m examples.flowers" in capsys.readouterr().out


def test_an_example_runs_without_anything_from_outside(surfaces: Path, tmp_path: Path) -> None:
    variables: dict[str, Any] = {"DATA": str(surfaces), "BACKBONE": "nano", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "examples.flowers"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert drawn(done.stdout, tmp_path / "example-results" / "flowers") == {"curves.png", "confusion.png"}
    assert (tmp_path / "example-results" / "flowers" / "dense.joblib").exists()
    assert (tmp_path / ".features").is_dir()
