"""Joined backbones as they are asked for: names, weights and options of each part, and what is refused."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED

import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.extract.joined_extractor import open_parts
from featurize.joined_options import check_parts, reopen_parts, resolve_parts, share_weights, specs_of
from featurize.resolve import resolve

SMALL: dict[str, Any] = {"backbone": "nano", "size": 64}
BOTH: dict[str, Any] = {"backbone": "nano+nano", "size": "+64"}


@pytest.fixture
def table(tmp_path: Path) -> DigestTable:
    return DigestTable(str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Files that may pass for weights as long as nobody loads them."""
    names = [str(tmp_path / f"{name}.weights.h5") for name in ("one", "other", "third")]
    for name in names:
        Path(name).write_bytes(name.encode())
    return names


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    """The one line with which `call` refuses."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_options_are_one_for_all_or_one_for_each(table: DigestTable, tmp_path: Path) -> None:
    options: dict[str, Any] = {"pooling": "max+", "size": 64, "stored": "float16+float32", "layer": None}
    parts = resolve_parts(table, {"backbone": "nano+nano", **options})
    assert [part.spec.pooling for part in parts] == ["max", "avg"]
    assert [part.spec.size for part in parts] == [(64, 64), (64, 64)]
    assert [part.spec.stored for part in parts] == ["float16", "float32"]
    extractor = open_parts(parts, str(tmp_path))
    assert extractor.features([str(BUNDLED / "coffee.png")])[1].dtype == np.float32


@pytest.mark.parametrize(
    ("given", "backbones", "expected"),
    [
        (None, "nano+mobilenet_v2", [None, None]),
        ("a.h5", "nano+mobilenet_v2", [None, "a.h5"]),
        ("+a.h5", "nano+mobilenet_v2", [None, "a.h5"]),
        ("a.h5", "mobilenet_v2+own.keras", ["a.h5", None]),
        ("a.h5+random", "mobilenet_v2+vgg16", ["a.h5", "random"]),
        ("a.h5+", "mobilenet_v2+vgg16", ["a.h5", None]),
        ("a.h5+b.h5", "vgg16+nano+mobilenet_v2", ["a.h5", None, "b.h5"]),
        ("random+", "nano+mobilenet_v2", ["random", None]),
    ],
)
def test_whose_weights_they_are(given: str | None, backbones: str, expected: list[str | None]) -> None:
    assert share_weights(given, backbones.split("+")) == expected


@pytest.mark.parametrize(
    ("given", "backbones"), [("a.h5", "vgg16+mobilenet_v2"), ("a+b+c", "nano+mobilenet_v2"), ("a.h5", "nano+nano")]
)
def test_weights_that_may_be_anybodys_are_refused(given: str, backbones: str) -> None:
    message = refusal(share_weights, given, backbones.split("+"))
    assert repr(given) in message and backbones in message


def test_a_file_whose_name_has_a_plus_sign_is_one_file(
    table: DigestTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nano+own.keras").write_bytes(b"a saved model")
    (part,) = resolve_parts(table, {"backbone": "nano+own.keras"})
    assert part.network == str(tmp_path / "nano+own.keras")
    Path("own.keras").write_bytes(b"another one")
    assert "rename" in refusal(resolve_parts, table, {"backbone": "nano+own.keras"})
    os.unlink("nano+own.keras")
    parts = resolve_parts(table, {"backbone": "nano+own.keras"})
    assert [part.spec.backbone for part in parts] == ["nano", "own_model"]
    for name in ("a", "b.h5", "a+b.h5"):
        Path(name).write_bytes(b"numbers")
    assert "rename" in refusal(share_weights, "a+b.h5", ["vgg16", "mobilenet_v2"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"pooling": "none"}, "maps of nano+nano"),
        ({"pooling": "avg+none"}, "maps of nano+nano"),
        ({"size": "64+96+128"}, "size '64+96+128': give one for all 2 backbones"),
        ({"size": None}, "nano would be there twice"),
        ({"backbone": "nano+"}, "unknown backbone ''"),
        ({"backbone": "nano+resnet"}, "unknown backbone 'resnet'"),
        ({"backbone": "nano+efficientnet_lite3"}, "'efficientnet_lite3': did you mean efficientnet_lite"),
        ({"weights": "some.h5+", "size": "+64"}, "nano ships with its own"),
        (
            {"backbone": "nano+a.onnx", "preprocess": "scale=1 mean=0 std=1 crop=none"},
            "nano has its own; give one for each backbone, --preprocess '+scale=1 mean=0 std=1 crop=none'",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused_in_one_line(table: DigestTable, options: dict[str, Any], reason: str) -> None:
    assert reason in refusal(resolve_parts, table, BOTH | options)


def test_options_that_agree_with_the_model_pass_and_others_are_named(table: DigestTable, tmp_path: Path) -> None:
    spec = pipeline.open_extractor(str(tmp_path), **BOTH).spec
    for options in ({}, BOTH, {"size": "96+64"}, {"pooling": "avg"}, {"backbone": "nano+nano", "layer": None}):
        check_parts(spec, "m.joblib", options, table)
    for name, value in (
        ("backbone", "nano"), ("backbone", "nano+vgg16"), ("backbone", "nano+nano+nano"), ("pooling", "avg+max"),
        ("size", "64"), ("size", "64+96"), ("resize", "nearest"),
    ):  # fmt: skip
        message = refusal(check_parts, spec, "m.joblib", {name: value}, table)
        assert f"--{name}" in message and "contradicts the model m.joblib" in message
    one = pipeline.open_extractor(str(tmp_path), **SMALL).spec
    assert "--backbone nano+nano contradicts" in refusal(check_parts, one, "m.joblib", {"backbone": "nano+nano"}, table)


def test_what_needs_one_backbone_takes_one(table: DigestTable) -> None:
    assert "one is wanted here" in refusal(resolve, table, backbone="nano+mobilenet_v2")


def test_every_parts_weights_are_checked_when_a_model_is_opened(
    table: DigestTable, tmp_path: Path, files: list[str]
) -> None:
    asked: Any = {"backbone": "nano+mobilenet_v2+mobilenet_v2_035", "weights": f"{files[0]}+{files[1]}"}
    parts = resolve_parts(table, asked)
    record = open_parts(parts, str(tmp_path / "cache")).record()
    assert reopen_parts(record, table) == parts
    os.rename(files[1], tmp_path / "moved.weights.h5")
    moved = reopen_parts(record, table, f"{files[0]}+{tmp_path / 'moved.weights.h5'}")
    assert [part.spec for part in moved] == [part.spec for part in parts]
    message = refusal(reopen_parts, record, table, f"{files[0]}+{files[2]}")
    assert parts[2].spec.weights in message and files[2] in message
    os.rename(files[2], files[1])
    message = refusal(reopen_parts, record, table)
    assert parts[2].spec.weights in message and files[1] in message


def test_weights_for_keras_without_a_backbone_are_those_of_the_former_default(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="bottleneck")
    file = tmp_path / "some.weights.h5"
    file.write_bytes(b"some numbers")
    table = DigestTable(str(tmp_path / "cache"))
    (found,) = resolve_parts(table, {"weights": str(file)})
    assert found == resolve(table, backbone="mobilenet_v2", weights=str(file))
    assert "weights without a backbone: taking mobilenet_v2" in caplog.text
    assert specs_of(table, {"weights": str(file)}) == [found.spec]
    assert resolve_parts(table, {})[0].spec.backbone == "efficientnet_lite2"
