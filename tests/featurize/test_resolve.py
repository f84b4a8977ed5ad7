"""Requests and their fingerprints: one computation has one, however it is worded; another has another."""

import os
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

import cache.digest_table
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.backbones.model_config import LARGEST_CONFIG
from featurize.backbones.weights import keras_folder
from featurize.resolve import Resolved, parse_size, resolve


@pytest.fixture
def table(tmp_path: Path) -> DigestTable:
    return DigestTable(str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A file that may pass for weights as long as nobody loads it."""
    path = tmp_path / "some.weights.h5"
    path.write_bytes(b"some numbers")
    return str(path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.keras"
    path.write_bytes(b"a saved model")
    return path


def fingerprint(table: DigestTable, **options: Any) -> str:
    return resolve(table, **{"backbone": "mobilenet_v2"} | options).spec.fingerprint


@pytest.mark.parametrize(
    "spelled",
    [
        {"pooling": "avg"},
        {"layer": "out_relu"},
        {"layer": None},
        {"size": 224},
        {"size": "224"},
        {"size": "224x224"},
        {"size": (224, 224)},
        {"size": [224, 224]},
        {"resize": "antialias"},
        {"preprocess": "mobilenet_v2"},
    ],
)
def test_a_default_by_name_or_by_omission_has_one_fingerprint(
    table: DigestTable, weights: str, spelled: dict[str, Any]
) -> None:
    assert fingerprint(table, weights=weights, **spelled) == fingerprint(table, weights=weights)


def test_the_default_backbone_comes_with_the_installation(table: DigestTable) -> None:
    said = {"backbone": "efficientnet_lite2", "layer": "top_activation", "size": 260, "preprocess": "none"}
    assert resolve(table).spec.fingerprint == fingerprint(table, **said)
    assert resolve(table).weights.kind == "packaged"


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "mobilenet_v2_035"},
        {"pooling": "max"},
        {"pooling": "flatten"},
        {"layer": "block_13_expand_relu"},
        {"size": 160},
        {"size": "224x160"},
        {"size": "160x224"},
        {"weights": "random"},
        {"resize": "nearest"},
        {"resize": "bilinear"},
    ],
)
def test_everything_that_changes_features_changes_the_fingerprint(
    table: DigestTable, weights: str, change: dict[str, Any]
) -> None:
    asked = {"weights": weights} | change
    assert fingerprint(table, **asked) != fingerprint(table, weights=weights)
    assert fingerprint(table, **asked) == fingerprint(table, **asked)


def test_weights_count_by_content_not_by_name(table: DigestTable, weights: str, tmp_path: Path) -> None:
    before = fingerprint(table, weights=weights)
    moved = tmp_path / "moved" / "renamed.h5"
    moved.parent.mkdir()
    os.rename(weights, moved)
    assert fingerprint(table, weights=str(moved)) == before
    assert fingerprint(table, weights=os.path.relpath(moved)) == before
    moved.write_bytes(b"some other numbers")
    assert fingerprint(table, weights=str(moved)) != before


def test_weights_are_hashed_once_and_a_touched_file_once_more(
    table: DigestTable, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    file_digest = cache.digest_table.hashlib.file_digest

    def counted(*arguments: Any) -> Any:
        hashed.append(arguments)
        return file_digest(*arguments)

    monkeypatch.setattr(cache.digest_table.hashlib, "file_digest", counted)
    time.sleep(0.05)  # older than the clock of the file system can err
    for _ in range(3):
        fingerprint(table, weights=weights)
    assert len(hashed) == 1
    os.utime(weights)
    time.sleep(0.05)
    for _ in range(3):
        fingerprint(table, weights=weights)
    assert len(hashed) == 2


def test_pretrained_weights_are_those_in_keras_own_folder_for_the_size(
    table: DigestTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    folder = Path(keras_folder())
    folder.mkdir(parents=True)
    for side in (160, 224):
        name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{side}_no_top.h5"
        (folder / name).write_bytes(b"%d" % side)
    found = resolve(table, backbone="mobilenet_v2", size=160)
    assert found.weights.path.startswith(str(folder)) and "_160_" in found.weights.path
    assert found == resolve(table, backbone="mobilenet_v2", size=160, weights="imagenet")
    assert found.spec.weights != resolve(table, backbone="mobilenet_v2").spec.weights


def test_a_model_of_ones_own_counts_by_content(table: DigestTable, own: Path, tmp_path: Path) -> None:
    before = fingerprint(table, backbone=str(own))
    assert fingerprint(table, backbone=own) == fingerprint(table, backbone=str(own), preprocess="none") == before
    moved = own.rename(tmp_path / "renamed.keras")
    assert fingerprint(table, backbone=str(moved)) == before
    moved.write_bytes(b"another model")
    assert fingerprint(table, backbone=str(moved)) != before


@pytest.mark.parametrize(
    "change", [{"pooling": "max"}, {"layer": "conv2d"}, {"size": 96}, {"preprocess": "vgg16"}, {"resize": "nearest"}]
)
def test_a_model_of_ones_own_has_a_fingerprint_for_each_way_to_use_it(
    table: DigestTable, own: Path, change: dict[str, Any]
) -> None:
    assert fingerprint(table, backbone=str(own), **change) != fingerprint(table, backbone=str(own))


def test_a_model_of_ones_own_is_found_again_from_another_folder(
    table: DigestTable, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.parent)
    found: Resolved = resolve(table, backbone="own.keras")
    assert found.weights.path == found.network == str(own)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(table, backbone="~/own.keras") == found


@pytest.mark.parametrize(("sides", "size"), [((48, 64), "48x64"), ((96, 96), 96), ((None, None), None)])
def test_the_size_of_a_model_of_ones_own_is_the_default(
    table: DigestTable, tmp_path: Path, sides: tuple[int | None, int | None], size: Any
) -> None:
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    image = keras.Input((*sides, 3))
    path = str(tmp_path / "own.keras")
    keras.Model(image, keras.layers.Conv2D(2, 3)(image)).save(path)
    assert resolve(table, backbone=path) == resolve(table, backbone=path, size=size)
    assert resolve(table, backbone=path).spec.size == (sides if size else None)
    assert resolve(table, backbone=path, size=32).spec.size == (32, 32)


@pytest.mark.parametrize("way", ["huge", "encrypted", "of another version", "too deep"])
def test_a_strange_archive_has_no_size_of_its_own_and_takes_no_memory(
    table: DigestTable, tmp_path: Path, way: str
) -> None:
    path = tmp_path / "own.keras"
    text = b" " * (LARGEST_CONFIG + 1) if way == "huge" else b"[" * 20_000 if way == "too deep" else b"{}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", text)
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    if way == "encrypted":
        content[6] |= 1
        content[directory + 8] |= 1
    elif way == "of another version":
        content[directory + 6] = 99
    path.write_bytes(content)
    tracemalloc.start()
    assert resolve(table, backbone=str(path)).spec.size is None
    assert tracemalloc.get_traced_memory()[1] < LARGEST_CONFIG
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"pooling": "mean"}, "'mean': choose one of avg, max, flatten"),
        ({"resize": "bicubic"}, "'bicubic': choose one of antialias, nearest, bilinear"),
        ({"backbone": "resnet"}, "resnet50_v2"),
        ({"backbone": "gone.keras"}, "gone.keras: no such file"),
        ({"backbone": "{own}", "weights": "random"}, "leave the option out"),
        ({"backbone": "{own}", "preprocess": "vgg"}, "vgg16, vgg19"),
        ({"preprocess": "vgg16", "weights": "random"}, "efficientnet_lite2 has its own"),
        ({"weights": "gone.h5"}, "gone.h5"),
        ({"size": 31, "weights": "random"}, "smallest side is 32"),
        ({"size": "32x31", "weights": "random"}, "smallest side is 32"),
    ],
)
def test_what_cannot_be_used_is_one_line_with_what_can(
    table: DigestTable, own: Path, options: dict[str, Any], shown: str
) -> None:
    options = {name: value.format(own=own) if name == "backbone" else value for name, value in options.items()}
    with pytest.raises(UserError) as caught:
        resolve(table, **options)
    assert shown in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "sides"),
    [(None, None), (160, (160, 160)), (" 160 ", (160, 160)), ("160x240", (160, 240)), ((3, 4096), (3, 4096))],
)
def test_sizes_as_people_write_them(size: Any, sides: Any) -> None:
    assert parse_size(size) == sides


@pytest.mark.parametrize(
    "size",
    ["", 0, -1, "0", "160x0", "160x", "x160", "160X240", "160,240", "1.5", 224.0, (1, 2, 3), True, 4097, "9" * 99],
)
def test_a_size_that_is_none_is_named(size: Any) -> None:
    with pytest.raises(UserError, match="give a side in pixels such as 224") as caught:
        parse_size(size)
    assert repr(size) in str(caught.value)
