"""Point 15: copies of a picture, byte by byte or re-encoded, are never on both sides of a split.

Random labels are the proof: what a head gets right about them beyond chance it has seen before.
"""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, SPEC
from PIL import Image
from sklearn.model_selection import StratifiedKFold

import pipeline
from cache.signatures import SIDE
from classify.data.dataset import Dataset
from classify.data.duplicates import near_duplicates
from classify.data.split import GroupedFolds, folds, holdout
from classify.heads.numerics import unit_rows
from classify.train import train_head
from featurize.extract.missing_signatures import signatures_of
from featurize.pictures.find_images import find_images

sys.path.insert(0, str(REPOSITORY / "benchmarks" / "accuracy"))
from duplicates import ENCODINGS, encoded
from reliability.conftest import Count, Figure

WAYS = [way for way in ENCODINGS if way != "half"]  # half of crops of 160 pixels is less than what the network sees
SUFFIXES = {"PNG": ".png", "WebP 80": ".webp"}


@dataclass(frozen=True)
class Copied:
    """Photographs and copies of them: digests (n, 32), rows (n, d), paths, the number of the photograph (n,)."""

    digests: np.ndarray
    rows: np.ndarray
    paths: list[str]
    shown: np.ndarray
    signatures: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        return near_duplicates(self.digests, self.signatures)

    def dataset(self, labels: np.ndarray) -> Dataset:
        """With the label of each photograph for all that show it."""
        parts = np.full(len(self.paths), "all", dtype="U10")
        return Dataset(self.rows, labels[self.shown], parts, self.digests, self.paths, self.signatures)


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Different photographs; beside each a byte-identical copy and re-encoded ones, as NUMBER-WAY, in one folder."""
    number = 300 if request.config.getoption("--full") else 40
    originals: Callable[[int], Path] = request.getfixturevalue("photographs")
    target: Path = tmp_path_factory.mktemp("copied")
    for shown, path in enumerate(find_images(str(originals(number))).images):
        shutil.copy(path, target / f"{shown:04}-original{Path(path).suffix}")
        shutil.copy(path, target / f"{shown:04}-same{Path(path).suffix}")
        for way in WAYS:
            (target / f"{shown:04}-{way}{SUFFIXES.get(way, '.jpg')}").write_bytes(encoded(path, way))
        turned_by_exif(path, target / f"{shown:04}-turned.png")
    return target


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def copied(folder: Path, cache: str) -> Copied:
    paths = find_images(str(folder)).images
    outcome, rows = pipeline.open_extractor(cache, **SPEC).features(paths)
    assert not outcome.failures
    shown = np.array([int(Path(path).name[:4]) for path in paths])
    return Copied(outcome.keys, rows, paths, shown, signatures_of(cache, paths, outcome.keys))


def turned_by_exif(path: str, target: Path) -> None:
    """The same pixels, lying on the side in the file, with the note in it that says so."""
    with Image.open(path) as picture:
        turned = picture.convert("RGB").transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        turned.save(target, exif=exif)


def random_labels(copied: Copied, seed: int) -> np.ndarray:
    """A label of each photograph, each as often as the other."""
    numbers = copied.shown.max() + 1
    return np.random.default_rng(seed).permutation(np.array(["heads", "tails"])[np.arange(numbers) % 2])


def parted(copied: Copied, train: np.ndarray, test: np.ndarray) -> int:
    """How many of the test rows show a photograph that is among the training rows."""
    return int(np.isin(copied.shown[test], copied.shown[train]).sum())


def right(
    copied: Copied, cosines: np.ndarray, labels: np.ndarray, splits: list[tuple[np.ndarray, np.ndarray]]
) -> float:
    """The share that the nearest neighbour says rightly, over all splits."""
    y = labels[copied.shown]
    found = [y[a][cosines[np.ix_(b, a)].argmax(axis=1)] == y[b] for a, b in splits]
    return float(np.concatenate(found).mean())


def test_no_copy_is_on_the_other_side_of_a_split(copied: Copied, seed: int, figure: Figure) -> None:
    labels = random_labels(copied, seed)[copied.shown]
    groups = copied.groups
    originals = np.array(["-original" in path for path in copied.paths])
    group_of = groups[originals]  # in the order of `shown`
    apart = [path for path, group, shown in zip(copied.paths, groups, copied.shown, strict=True)
             if group != group_of[shown]]  # fmt: skip
    assert not apart, apart
    copies = len(groups) - originals.sum()
    figure(15, f"{copies} copies of {originals.sum()} photographs, re-encoded in {len(WAYS)} ways: {len(apart)} missed")
    # What is found never parts, in any kind of split.
    splits = [holdout(labels, groups, 0.2, number) for number in range(5)]
    splits += folds(labels, groups, 5, seed)
    splits += GroupedFolds(5, seed).split(None, labels, groups)
    for train, test in splits:
        assert not np.isin(groups[test], groups[train]).any()
        assert not parted(copied, train, test)
    plain = list(StratifiedKFold(5, shuffle=True, random_state=seed).split(copied.rows, labels))
    assert min(parted(copied, train, test) for train, test in plain) > 0.9 * len(plain[0][1])


def test_random_labels_score_at_chance_and_above_it_with_a_plain_split(
    copied: Copied, seed: int, count: Count, figure: Figure
) -> None:
    unit = unit_rows(copied.rows)
    cosines = unit @ unit.T
    grouped, plain = [], []
    rounds = count(40, 20)
    for number in range(rounds):
        labels = random_labels(copied, seed * 1000 + number)
        grouped.append(right(copied, cosines, labels, folds(labels[copied.shown], copied.groups, 5, number)))
        splits = StratifiedKFold(5, shuffle=True, random_state=number).split(copied.rows, labels[copied.shown])
        plain.append(right(copied, cosines, labels, list(splits)))
    assert np.mean(grouped) == pytest.approx(0.5, abs=0.08)
    assert min(plain) > 0.95
    figure(15, f"random labels, {rounds} rounds: {np.mean(grouped):.3f} right in grouped folds, {np.mean(plain):.3f} "
               "in plain ones")  # fmt: skip


def test_random_labels_score_at_chance_in_a_search(copied: Copied, seed: int) -> None:
    labels = random_labels(copied, seed)
    found = train_head(copied.dataset(labels), "knn", {"temperature": 0.07}, search=True).search_table
    assert found and all(0.2 < row["accuracy"] < 0.8 for row in found)


def test_different_photographs_are_not_taken_for_copies(shared: Path, cache: str, count: Count, figure: Figure) -> None:
    """Of real photographs at most one in a hundred: these were taken one after the other."""
    for name, photographs in (("alpaca", 327), ("cats_dogs", 1200)):
        paths = find_images(str(shared / "images" / name)).images
        paths = paths[:: max(1, len(paths) // count(photographs, 150))]
        outcome = pipeline.open_extractor(cache, **SPEC).run(paths)
        groups = near_duplicates(outcome.keys, signatures_of(cache, paths, outcome.keys))
        grouped = np.bincount(groups)[groups] > 1
        assert grouped.mean() <= 0.01
        figure(15, f"{name}: {grouped.sum()} of {len(paths)} different photographs grouped with another one")


def test_pictures_that_are_all_alike_are_trained_on(caplog: pytest.LogCaptureFixture) -> None:
    """A class of frames that are near-duplicates falls back to byte-identical ones, says so, and counts the leaks."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((60, 32)).astype(np.float32)
    signatures = random.integers(0, 256, (60, SIDE, SIDE, 3), np.uint8)
    signatures[::2] = signatures[0]
    digests = random.integers(0, 256, (60, 32), np.uint8)
    labels = np.tile(["frames", "others"], 30)
    paths = [f"{number}.jpg" for number in range(60)]
    data = Dataset(rows, labels, np.full(60, "all"), digests, paths, signatures)
    training = train_head(data, "knn", {"n_neighbors": 3}, cv=5)
    assert training.scores.n == 12 and len(training.cv_scores) == 5
    assert "the pictures of 'frames' are near-duplicates" in caplog.text and "'others'" not in caplog.text
    report = training.report()
    assert report["leaked"] == 6 and report["without_leaked"]["n"] == 6


def test_the_real_command_says_how_many_copies_there_are(
    copied: Copied, folder: Path, cache: str, tmp_path: Path, seed: int
) -> None:
    """Labels drawn for each photograph in a table: 1 neighbour is right about all copies that it has seen."""
    labels = random_labels(copied, seed)
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n" + "".join(f"{Path(path).name},{labels[shown]}\n" for path, shown in zip(
        copied.paths, copied.shown, strict=True)))  # fmt: skip
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pipeline", "train", "--data", str(folder), "--labels", str(table)]
    command += ["--head", "knn", "--backbone", "nano", "--cache-dir", cache, "--model", str(tmp_path / "m.joblib")]
    command += ["--head-params", "n_neighbors=1", "--cv", "5", "--json", str(report)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "near-duplicates: " in done.stderr
    found = json.loads(report.read_text())
    assert found["forward_passes"] == 0 and found["leaked"] == 0
    assert 0.2 < found["cv_accuracy"] < 0.8  # few photographs: chance is wide


def test_near_duplicates_across_the_datas_own_split_are_named_and_scored_apart(
    copied: Copied, tmp_path: Path, cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own"
    for path, shown in zip(copied.paths, copied.shown, strict=True):
        label, part = ("even", "odd")[shown % 2], "test" if shown % 5 == 0 else "train"
        name = Path(path).name
        if "-original" in name or (shown == 10 and "JPEG 75" in name):
            target = own / ("train" if "JPEG 75" in name else part) / label
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    model = str(tmp_path / "m.joblib")
    trained = pipeline.train(str(own), model=model, cache_dir=cache, **SPEC)
    leaked = {Path(path).name.split("-")[0] for path in trained["leaked_files"]}
    assert leaked == {"0010"} and "near-duplicates of training pictures: 1" in caplog.text
    scored = np.sum(trained["confusion_matrix"])
    assert scored == -(-(copied.shown.max() + 1) // 5)  # they are scored nevertheless: the split is the data's own
    evaluated = pipeline.evaluate(str(own), model)
    for name in ("accuracy", "accuracy_interval", "log_loss", "confusion_matrix", "leaked_files", "without_leaked"):
        assert evaluated[name] == trained[name], name
    assert trained["without_leaked"]["n"] == scored - 1
    other = str(tmp_path / "other")  # another cache: the signatures of the training pictures are not there
    with caplog.at_level(logging.INFO, "bottleneck"):
        apart = pipeline.evaluate(str(own / "test"), model, cache_dir=other)
    assert apart["leaked"] == 0 and "their signatures are not in" in caplog.text
