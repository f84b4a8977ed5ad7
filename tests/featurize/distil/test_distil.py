"""A student is taught, its training taken up again, and what comes out is an ordinary backbone."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED
from PIL import Image

import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.distil.distil import distil
from featurize.resolve import resolve

TEACHER: dict[str, Any] = {"backbone": "nano", "size": 64, "layer": "down16"}  # cut below its last layer
PHOTOGRAPHS = ("brick.png", "grass.png", "gravel.png", "coffee.png", "chelsea.png", "rocket.jpg")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 photographs of 80 x 80 pixels."""
    folder = tmp_path_factory.mktemp("pool")
    for name in PHOTOGRAPHS:
        with Image.open(BUNDLED / name) as photograph:
            for number in range(20):
                left, top = number % 5 * 60, number // 5 * 50
                photograph.convert("RGB").crop((left, top, left + 80, top + 80)).save(folder / f"{name}.{number}.png")
    return folder


def teach(pool: Path, place: Path, samples: int = 128, **changes: Any) -> dict[str, Any]:
    options = {"crops": 2, "samples": samples, "side": 48, "cache_dir": str(place / "cache")} | TEACHER | changes
    return distil(str(pool), str(place / "small.keras"), progress=lambda *_: None, **options)


@pytest.fixture(scope="module")
def taught(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    place = tmp_path_factory.mktemp("taught")
    return place, teach(pool, place)


@pytest.fixture
def further(taught: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of `taught` that the test may change."""
    return Path(shutil.copytree(taught[0], tmp_path / "further"))


def test_the_teacher_sees_every_crop_once(taught: tuple[Path, dict[str, Any]], pool: Path, further: Path) -> None:
    report = taught[1]
    assert (report["photographs"], report["crops"], report["forward_passes"]) == (120, 240, 240)
    again = teach(pool, further)
    assert again["forward_passes"] == 0
    assert again["samples"] == report["samples"]  # there was nothing left to do


def test_the_cached_rows_are_the_teachers_features_of_the_crops(
    taught: tuple[Path, dict[str, Any]], pool: Path
) -> None:
    from featurize.backbones.network import build_network
    from featurize.decoding.decode import decode
    from featurize.distil.teacher import crops_with_rows, pooling_teacher

    place, _ = taught
    teacher = resolve(DigestTable(str(place / "cache")), **TEACHER)
    paths = [str(path) for path in sorted(pool.iterdir())[:16]]
    crops = crops_with_rows(paths, teacher, "crops", 2, str(place / "cache"), lambda *_: None)
    assert crops.forward_passes == 0
    _, dimension, pooled = pooling_teacher(teacher)
    network = build_network("nano", teacher.weights, (64, 64), None, "avg", "none")
    for view, store in zip(crops.views, crops.stores, strict=True):
        pixels = np.stack([decode(Path(path).read_bytes(), (64, 64), view=view) for path in crops.paths])
        rows = pooled(store.read(crops.digests))
        assert rows.shape == (16, dimension)
        assert np.abs(rows - network.predict(pixels, verbose=0)).max() < 2e-3 * rows.max()


def test_the_plain_network_computes_what_the_student_does() -> None:
    from featurize.distil.student import build_student, keras, plain_student

    keras.utils.set_random_seed(1)
    student = build_student(40, 8)
    plain = plain_student(student, (64, 64))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.float32)
    theirs = np.asarray(student(pixels)[0]).astype(np.float32)
    ours = plain.predict(pixels, verbose=0)
    assert ours.shape == theirs.shape == (4, 4, 4, 40)
    cosine = (ours * theirs).sum() / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert cosine > 0.999  # the student computes in bfloat16


def test_the_student_is_a_backbone(taught: tuple[Path, dict[str, Any]], surfaces: Path) -> None:
    place, report = taught
    trained = pipeline.train(
        str(surfaces), model=str(place / "m.joblib"), backbone=report["model"], cache_dir=str(place / "cache")
    )
    assert trained["forward_passes"] == 36
    assert report["parameters"] < 1_200_000


@pytest.mark.parametrize("change", ["other bytes", "gone"])
def test_a_photograph_that_has_changed_since_the_teacher_saw_it_is_not_learnt_from(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    import featurize.distil.teacher

    photographs = Path(shutil.copytree(pool, tmp_path / "pool"))
    changed, other = sorted(photographs.iterdir())[3:5]
    look = featurize.distil.teacher.crops_with_rows

    def then_it_changes(*arguments: Any) -> Any:
        found = look(*arguments)
        changed.unlink()
        if change == "other bytes":
            shutil.copy(other, changed)
        return found

    monkeypatch.setattr(featurize.distil.teacher, "crops_with_rows", then_it_changes)
    with pytest.raises(UserError, match=f"{changed.name}.* since the teacher saw it: run again"):
        teach(photographs, tmp_path)
    assert not list(tmp_path.glob("small/*.tmp"))


def test_a_training_goes_on_with_more_crops_and_samples_and_the_student_learns(pool: Path, further: Path) -> None:
    def seen() -> int:
        with np.load(further / "small" / "checkpoint.npz") as stored:
            return int(json.loads(str(stored["record"]))["seen"])

    before = seen()
    report = teach(pool, further, crops=3, samples=2000)
    assert report["forward_passes"] == 120
    assert (before, seen()) == (128, report["samples"]) and report["samples"] >= 2000
    with open(further / "small" / "curve.csv", newline="") as file:
        curve = list(csv.DictReader(file))
    assert len(curve) > 2 and float(curve[-1]["feature_cosine"]) > 0.3


def test_a_checkpoint_of_another_training_is_refused(pool: Path, further: Path) -> None:
    with pytest.raises(UserError, match="of another training"):
        teach(pool, further, side=64)
    (further / "small" / "checkpoint.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be taken up"):
        teach(pool, further)


@pytest.mark.parametrize(("layer", "message"), [("block16_2_expand", "no place to cut"), ("nothing", "unknown layer")])
def test_a_teacher_that_cannot_be_cut_is_refused_before_any_forward_pass(
    pool: Path, tmp_path: Path, layer: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        teach(pool, tmp_path, layer=layer)
    assert not list((tmp_path / "cache").glob("*/*.h5"))


@pytest.mark.parametrize(
    ("output", "message"), [("student.h5", "ends in .keras"), ("student.keras", "to distil takes 100")]
)
def test_mistakes_are_one_line(run: Any, tmp_path: Path, output: str, message: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    status, _, err = run("distil", "--data", tmp_path, "--output", output)
    assert status == 2 and message in err and err.count("\n") == 1


def test_a_model_of_ones_own_can_teach(pool: Path, tmp_path: Path) -> None:
    from featurize.backbones.nano import build_nano
    from featurize.decoding.decode import decode
    from featurize.distil.teacher import crops_with_rows, pooling_teacher
    from featurize.engines.keras_import import import_keras

    own, cache = str(tmp_path / "own.keras"), str(tmp_path / "cache")
    network = build_nano(import_keras(), (64, 64), channels=24)
    network.save(own)
    teacher = resolve(DigestTable(cache), backbone=own)
    paths = [str(path) for path in sorted(pool.iterdir())[:4]]
    crops = crops_with_rows(paths, teacher, "crops", 1, cache, lambda *_: None)
    rows = pooling_teacher(teacher)[2](crops.stores[0].read(crops.digests))
    pixels = np.stack([decode(Path(path).read_bytes(), (64, 64), view=crops.views[0]) for path in crops.paths])
    assert crops.forward_passes == 4 and rows.shape == (4, 24)
    assert np.abs(rows - network.predict(pixels, verbose=0).mean(axis=(1, 2))).max() < 2e-3 * rows.max()


def test_copies_of_one_photograph_are_not_many(pool: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    one = next(pool.iterdir()).read_bytes()
    for number in range(120):
        (copies / f"{number}.png").write_bytes(one)
    with pytest.raises(UserError, match="has 1 different images"):
        teach(copies, tmp_path, samples=64, crops=1)
