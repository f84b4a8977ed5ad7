"""Point 14: a row belongs to the bytes of one image and to one spec, and to nothing else."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import REPOSITORY, SPEC
from helpers.storage.cached_rows import shards
from isal.isal_zlib import crc32
from reliability.conftest import Count, Figure

import pipeline
from cache.row_key import FeatureSpec
from cache.shard_file import open_shard
from cache.store import FeatureStore
from cache.upkeep.spec_folders import stored_specs
from featurize.pictures.find_images import find_images

# Option of `features` -> another value, for nano; each changes the field of its name alone.
OPTIONS: dict[str, Any] = {
    "pooling": "max",
    "size": 64,
    "layer": "head",
    "resize": "nearest",
    "weights": "random",
    "precision": "mixed_bfloat16",
    "stored": "float16",
}

# Field of the spec -> another value.
OTHERS: dict[str, Any] = OPTIONS | {
    "backbone": "mobilenet_v2",
    "size": (96, 95),
    "preprocess": "mobilenet_v2",
    "decoder": 10**6,
    "view": "crops-1",
    "tuned": "sha256:" + "ab" * 32,
}


@pytest.fixture(scope="module")
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in two classes; for reading."""
    number = 100 if request.config.getoption("--full") else 12
    originals: Callable[[int], Path] = request.getfixturevalue("photographs")
    folder = tmp_path_factory.mktemp("keys") / "pictures"
    shutil.copytree(originals(number), folder)
    time.sleep(0.1)  # files that are older than a tick of the clock are known by their times
    return folder


@pytest.fixture(scope="module")
def filled(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with their rows, also with max pooling; for copying."""
    cache = tmp_path_factory.mktemp("filled") / "cache"
    for pooling in ("avg", "max"):
        pipeline.features(str(pictures), cache_dir=str(cache), pooling=pooling, shard_rows=8, **SPEC)
    return cache


@pytest.fixture
def cache(filled: Path, tmp_path: Path) -> str:
    """A copy of it."""
    return str(shutil.copytree(filled, tmp_path / "cache"))


def missed(data: Path, cache: str, **options: Any) -> int:
    """How many rows are computed, each by one pass through the network."""
    report = pipeline.features(str(data), cache_dir=cache, **(SPEC | options))
    assert report["failed"] == 0 and report["forward_passes"] == report["computed"]
    return int(report["computed"])


def spec_of(cache: str, **options: Any) -> FeatureSpec:
    return pipeline.open_extractor(cache, **(SPEC | options)).spec


def keys_of(data: Path, cache: str) -> np.ndarray:
    return pipeline.open_extractor(cache, **SPEC).run(find_images(str(data)).images).keys


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changed_alone_misses_every_row(pictures: Path, cache: str, option: str, figure: Figure) -> None:
    if option == "pooling":
        shutil.rmtree(FeatureStore(cache, spec_of(cache, pooling="max")).folder)
    total = len(find_images(str(pictures)).images)
    other = {option: OPTIONS[option]}
    assert list(spec_of(cache).differences(spec_of(cache, **other))) == [option]
    assert missed(pictures, cache, **other) == total
    assert missed(pictures, cache, **other) == missed(pictures, cache) == 0
    figure(14, f"{option}: {total} of {total} rows missed")


@pytest.mark.parametrize("field", [field.name for field in fields(FeatureSpec)])
def test_a_field_changed_alone_is_another_key(pictures: Path, cache: str, field: str) -> None:
    keys, spec = keys_of(pictures, cache), spec_of(cache)
    other = replace(spec, **{field: "sha256:" + "ab" * 32 if field == "weights" else OTHERS[field]})
    assert other.fingerprint != spec.fingerprint and other.folder != spec.folder
    assert FeatureStore(cache, spec).contains(keys).all()
    if field != "pooling":  # its rows with max pooling are there
        assert not FeatureStore(cache, other).contains(keys).any()


def test_one_weight_of_a_model_of_ones_own_and_its_preprocessing(pictures: Path, tmp_path: Path) -> None:
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    network = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3)])
    paths = [str(tmp_path / name) for name in ("one.keras", "two.keras")]
    network.save(paths[0])
    kernel, bias = network.layers[0].get_weights()
    kernel[1, 2, 0, 3] = np.nextafter(kernel[1, 2, 0, 3], 1)
    network.layers[0].set_weights([kernel, bias])
    network.save(paths[1])
    cache, total = str(tmp_path / "cache"), len(find_images(str(pictures)).images)
    assert missed(pictures, cache, backbone=paths[0]) == total
    assert list(spec_of(cache, backbone=paths[0]).differences(spec_of(cache, backbone=paths[1]))) == ["weights"]
    assert missed(pictures, cache, backbone=paths[1]) == total
    assert missed(pictures, cache, backbone=paths[1], preprocess="resnet") == total
    moved = shutil.move(paths[0], tmp_path / "moved.keras")
    assert missed(pictures, cache, backbone=str(moved)) == 0


def touched(folder: Path, _: Path) -> None:
    for path in folder.rglob("*.*"):
        os.utime(path, (1, 1))


def renamed(_: Path, first: Path) -> None:
    first.rename(first.with_name("-new name\n.jpg"))


def relabelled(folder: Path, first: Path) -> None:
    first.rename(folder / "odd" / "from even.jpg")


def copied(_: Path, first: Path) -> None:
    shutil.copyfile(first, first.with_name("copy.jpg"))


def linked(_: Path, first: Path) -> None:
    os.link(first, first.with_name("link.jpg"))


def class_renamed(folder: Path, _: Path) -> None:
    (folder / "even").rename(folder / "another")


def folder_moved(folder: Path, _: Path) -> None:
    shutil.copytree(folder / "odd", folder / "deeper" / "odd")
    shutil.rmtree(folder / "odd")


@pytest.mark.parametrize(
    "change",
    [touched, renamed, relabelled, copied, linked, class_renamed, folder_moved],
    ids=lambda each: each.__name__,
)
def test_what_is_not_content_misses_nothing(
    pictures: Path, cache: str, tmp_path: Path, change: Callable[[Path, Path], None], figure: Figure
) -> None:
    mine = Path(shutil.copytree(pictures, tmp_path / "mine"))
    assert missed(mine, cache) == 0  # another place already
    change(mine, next(path for path in sorted(mine.glob("even/*"))))
    assert missed(mine, cache) == 0
    figure(14, f"{change.__name__.replace('_', ' ')}: 0 missed")


def appended(first: Path, _: Path) -> None:
    with first.open("ab") as file:
        file.write(b"\0")


def changed_with_old_times(first: Path, second: Path) -> None:
    """Other content of the same size, written in place, and the time of the last change set back."""
    before = first.stat()
    with first.open("r+b") as file:
        file.write(second.read_bytes().ljust(before.st_size, b"\0"))
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_with_old_times(first: Path, _: Path) -> None:
    before = first.stat()
    data = bytearray(first.read_bytes())
    data[-1] ^= 255  # behind the picture, or in the mark of its end
    new = first.with_suffix(".new")
    new.write_bytes(data)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(first)


@pytest.mark.parametrize(
    "change", [appended, changed_with_old_times, replaced_with_old_times], ids=lambda each: each.__name__
)
def test_changed_bytes_miss_that_row_alone(
    pictures: Path, cache: str, tmp_path: Path, change: Callable[[Path, Path], None], figure: Figure
) -> None:
    mine = Path(shutil.copytree(pictures, tmp_path / "mine"))
    first, second = sorted(mine.glob("even/*"))[:2]
    with first.open("ab") as file:  # room for what is behind the picture
        file.write(bytes(max(0, second.stat().st_size - first.stat().st_size) + 1))
    time.sleep(0.1)
    missed(mine, cache)
    size = first.stat().st_size
    change(first, second)
    assert change is appended or first.stat().st_size == size
    assert missed(mine, cache) == 1
    figure(14, f"{change.__name__.replace('_', ' ')}: 1 missed")


def features_command(pictures: Path, cache: str, report: Path) -> list[str]:
    command = ["-m", "pipeline", "features", "--data", str(pictures), "--backbone", "nano"]
    return [*command, "--cache-dir", cache, "--json", str(report)]


def test_the_second_run_computes_nothing_and_imports_no_engine(
    pictures: Path, cache: str, tmp_path: Path, figure: Figure
) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-X", "importtime", *features_command(pictures, cache, report)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "h5py" in imported and not imported & {"tensorflow", "keras", "openvino", "sklearn", "scipy", "pandas"}
    found = json.loads(report.read_text())
    assert found["forward_passes"] == found["computed"] == 0 and found["cached"] == found["images"]
    figure(14, f"second features of {found['images']} images: 0 forward passes, no engine imported")


def test_the_second_run_opens_no_image(pictures: Path, cache: str, tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    missed(pictures, cache)
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", str(trace), "-e", "trace=open,openat,openat2,creat", sys.executable]
    command += features_command(pictures, cache, tmp_path / "report.json")
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode and "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    opened = trace.read_text(errors="replace").splitlines()
    assert any(".h5" in line for line in opened)
    names = [Path(path).name for path in find_images(str(pictures)).images]
    assert not [line for line in opened if any(f'{name}"' in line for name in names)]


def swapped_in_the_bytes(path: str) -> None:
    with h5py.File(path) as file:
        one, other = (file["digest"][row].tobytes() for row in (0, 1))
    data = Path(path).read_bytes()
    assert data.count(one + other) == 1
    Path(path).write_bytes(data.replace(one + other, other + one))


def swapped_with_a_right_checksum_of_keys(path: str) -> None:
    with h5py.File(path, "r+") as file:
        digests = file["digest"][:]
        digests[[0, 1]] = digests[[1, 0]]
        file["digest"][:] = digests
        file.attrs["digest_crc32"] = crc32(digests)


def rows_swapped(path: str) -> None:
    with h5py.File(path, "r+") as file:
        rows = file["features"][:]
        rows[[0, 1]] = rows[[1, 0]]
        file["features"][:] = rows


@pytest.mark.parametrize(
    "forge", [swapped_in_the_bytes, swapped_with_a_right_checksum_of_keys, rows_swapped], ids=lambda each: each.__name__
)
def test_a_shard_never_serves_a_row_under_another_key(
    pictures: Path, cache: str, forge: Callable[[str], None], count: Count, figure: Figure
) -> None:
    paths = find_images(str(pictures)).images
    expected = pipeline.open_extractor(cache, **SPEC).features(paths)[1]
    names = shards(pipeline.open_extractor(cache, **SPEC).store)[: count(100, 1)]
    held = sum(len(open_shard(name)) for name in names)
    for name in names:
        forge(name)
    outcome, rows = pipeline.open_extractor(cache, **SPEC).features(paths)
    assert np.abs(rows - expected).max() < 1e-5 * np.abs(expected).max()
    assert outcome.forward_passes == held
    assert all(os.path.exists(name + ".damaged") for name in names)
    figure(14, f"{forge.__name__.replace('_', ' ')}: {len(names)} of {len(names)} shards refused")


def test_a_shard_of_another_spec_serves_nothing(pictures: Path, cache: str) -> None:
    avg, most = (FeatureStore(cache, spec_of(cache, pooling=pooling)) for pooling in ("avg", "max"))
    keys = keys_of(pictures, cache)
    for path in shards(avg):
        os.unlink(path)
    for path in shards(most):
        shutil.copy(path, avg.folder)
    assert not FeatureStore(cache, avg.spec).contains(keys).any()
    assert FeatureStore(cache, most.spec).contains(keys).all()
    assert missed(pictures, cache) == len(keys)


def test_renamed_folders_of_specs_serve_nothing(
    pictures: Path, cache: str, caplog: pytest.LogCaptureFixture, figure: Figure
) -> None:
    specs = [spec_of(cache, pooling=pooling) for pooling in ("avg", "max")]
    one, other = (FeatureStore(cache, spec).folder for spec in specs)
    keys = keys_of(pictures, cache)
    expected = FeatureStore(cache, specs[0]).read(keys)
    os.rename(one, one + ".away")
    os.rename(other, one)
    os.rename(one + ".away", other)
    assert not list(stored_specs(cache)) and caplog.text.count("is that of this folder") == 2
    for spec in specs:
        assert not FeatureStore(cache, spec).contains(keys).any()
    assert missed(pictures, cache) == len(keys)
    assert np.abs(FeatureStore(cache, specs[0]).read(keys) - expected).max() < 1e-5 * np.abs(expected).max()
    figure(14, "shards of another spec, folders of two specs exchanged: 0 rows served")
