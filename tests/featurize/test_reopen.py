"""A model's record and this machine: the same computation, or a line that names both sides."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.extract.network_extractor import NetworkExtractor
from featurize.reopen import check_options, check_weights, reopen
from featurize.resolve import resolve


@pytest.fixture
def table(tmp_path: Path) -> DigestTable:
    return DigestTable(str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "some.weights.h5"
    path.write_bytes(b"some numbers")
    return path


@pytest.fixture
def others(tmp_path: Path) -> Path:
    path = tmp_path / "others.weights.h5"
    path.write_bytes(b"some other numbers")
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.keras"
    path.write_bytes(b"a saved model")
    return path


def record_of(table: DigestTable, **options: Any) -> dict[str, Any]:
    """The part of a model's record that says how its features were computed."""
    return NetworkExtractor(
        resolve(table, **{"backbone": "mobilenet_v2"} | options), os.path.dirname(table.path)
    ).record()


def refusal(call: Any, *arguments: Any) -> str:
    """The one line with which `call` refuses."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "options", [{}, {"size": "96x128", "pooling": "max", "layer": "block_1_expand"}, {"weights": "random"}]
)
def test_a_record_gives_the_very_request_again(table: DigestTable, weights: Path, options: dict[str, Any]) -> None:
    asked = {"backbone": "mobilenet_v2", "weights": str(weights)} | options
    assert reopen(record_of(table, **asked), table) == resolve(table, **asked)


def test_a_record_of_a_model_of_ones_own_gives_it_again(
    table: DigestTable, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.parent)
    record = record_of(table, backbone=own.name, preprocess="vgg16")
    monkeypatch.chdir("/")
    assert reopen(record, table) == resolve(table, backbone=str(own), preprocess="vgg16")


def test_moved_weights_are_found_where_the_caller_says(table: DigestTable, weights: Path, tmp_path: Path) -> None:
    record = record_of(table, weights=str(weights))
    moved = weights.rename(tmp_path / "moved.weights.h5")
    found = reopen(record, table, str(moved))
    assert found.weights.path == str(moved) and found.spec.fingerprint == record["fingerprint"]


def test_a_moved_model_of_ones_own_is_found_where_the_caller_says(
    table: DigestTable, own: Path, tmp_path: Path
) -> None:
    record = record_of(table, backbone=str(own))
    moved = own.rename(tmp_path / "moved.keras")
    found = reopen(record, table, str(moved))
    assert found.network == str(moved) and found.spec.fingerprint == record["fingerprint"]


def test_missing_weights_are_no_error_until_they_are_needed(table: DigestTable, weights: Path) -> None:
    record = record_of(table, weights=str(weights))
    weights.unlink()
    found = reopen(record, table)
    message = refusal(check_weights, found, table)
    assert str(weights) in message and "--weights" in message


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_weights_that_are_no_file_are_not_read(table: DigestTable, weights: Path, kind: str) -> None:
    record = record_of(table, weights=str(weights))
    weights.unlink()
    if kind == "fifo":
        os.mkfifo(weights)  # whoever opens it waits for ever
    elif kind == "device":
        weights.symlink_to("/dev/zero")  # and this has no end
    else:
        weights.mkdir()
    assert f"{weights} are not a regular file" in refusal(reopen, record, table)


def test_replaced_weights_are_refused_naming_both_digests(table: DigestTable, weights: Path, others: Path) -> None:
    record = record_of(table, weights=str(weights))
    found = reopen(record, table)
    time.sleep(0.05)
    others.rename(weights)
    for message in (refusal(reopen, record, table), refusal(check_weights, found, table)):
        assert (
            record["spec"]["weights"] in message
            and resolve(table, backbone="mobilenet_v2", weights=str(weights)).spec.weights in message
        )
        assert str(weights) in message and "--weights (weights=), or train again" in message


@pytest.mark.parametrize(("trained", "given"), [("file", "others"), ("file", "random"), ("random", "file")])
def test_other_weights_are_refused_naming_both(
    table: DigestTable, weights: Path, others: Path, trained: str, given: str
) -> None:
    names = {"file": str(weights), "others": str(others), "random": "random"}
    record = record_of(table, weights=names[trained])
    message = refusal(reopen, record, table, names[given])
    assert record["spec"]["weights"] in message
    assert resolve(table, backbone="mobilenet_v2", weights=names[given]).spec.weights in message


def test_random_weights_of_other_versions_are_refused(table: DigestTable) -> None:
    record = record_of(table, weights="random")
    record["spec"]["weights"] = "random, seed 0, keras 2.0, tensorflow 2.0"
    message = refusal(reopen, record, table)
    assert "keras 2.0" in message and resolve(table, backbone="mobilenet_v2", weights="random").spec.weights in message


def test_weights_that_the_record_calls_random_and_the_spec_does_not_are_refused(
    table: DigestTable, weights: Path
) -> None:
    record = record_of(table, weights=str(weights)) | {"weights": {"kind": "random", "path": ""}}
    assert record["spec"]["weights"] in refusal(reopen, record, table)


@pytest.mark.parametrize(("field", "value"), [("decoder", 0), ("view", "flipped"), ("precision", "float16")])
def test_what_this_version_does_not_compute_is_refused_naming_both(
    table: DigestTable, weights: Path, field: str, value: Any
) -> None:
    record = record_of(table, weights=str(weights))
    here = record["spec"][field]
    record["spec"][field] = value
    message = refusal(reopen, record, table)
    assert f"{field} {value}" in message and f"has {here}" in message


def test_a_backbone_that_this_version_does_not_know_is_named(table: DigestTable, weights: Path) -> None:
    record = record_of(table, weights=str(weights))
    record["spec"]["backbone"] = "mobilenet_v9"
    assert "'mobilenet_v9'" in refusal(reopen, record, table, str(weights))


AGREEING = {
    "backbone": "mobilenet_v2",
    "pooling": "avg",
    "layer": "out_relu",
    "size": "224",
    "resize": "antialias",
    "preprocess": "mobilenet_v2",
}


def test_options_that_agree_with_the_model_pass(table: DigestTable, weights: Path) -> None:
    spec = resolve(table, backbone="mobilenet_v2", weights=str(weights)).spec
    check_options(spec, "m.joblib", AGREEING, table)
    check_options(spec, "m.joblib", {"size": "224x224", "layer": None}, table)
    check_options(spec, "m.joblib", {}, table)


@pytest.mark.parametrize(
    ("option", "given", "trained"),
    [
        ("backbone", "vgg16", "mobilenet_v2"),
        ("backbone", "own.keras", "mobilenet_v2"),
        ("pooling", "max", "avg"),
        ("layer", "block_1_expand", "out_relu"),
        ("size", "160", "224x224"),
        ("size", "224x160", "224x224"),
        ("resize", "nearest", "antialias"),
        ("preprocess", "none", "mobilenet_v2"),
    ],
)
def test_an_option_that_contradicts_the_model_is_named_with_both_values(
    table: DigestTable, weights: Path, option: str, given: str, trained: str
) -> None:
    spec = resolve(table, backbone="mobilenet_v2", weights=str(weights)).spec
    message = refusal(check_options, spec, "m.joblib", AGREEING | {option: given}, table)
    assert f"--{option} {given}" in message and f"{option} {trained}" in message and "m.joblib" in message


def test_a_model_of_ones_own_agrees_with_its_file_wherever_that_is(
    table: DigestTable, own: Path, others: Path, tmp_path: Path
) -> None:
    spec = resolve(table, backbone=str(own)).spec
    moved = str(own.rename(tmp_path / "moved.keras"))
    check_options(spec, "m.joblib", {"backbone": moved}, table)
    for other in (str(others.rename(tmp_path / "others.keras")), "gone.keras", "vgg16"):
        message = refusal(check_options, spec, "m.joblib", {"backbone": other}, table)
        assert f"--backbone {other}" in message and spec.weights in message


def test_a_size_contradicts_a_model_of_ones_own_that_brought_its_own(table: DigestTable, own: Path) -> None:
    spec = resolve(table, backbone=str(own)).spec
    assert "--size 96" in refusal(check_options, spec, "m.joblib", {"size": "96"}, table)
    check_options(replace(spec, size=(96, 96)), "m.joblib", {"size": "96"}, table)


@pytest.mark.parametrize(("backbone", "kind"), [("nano", "imagenet"), ("mobilenet_v2", "packaged")])
def test_weights_of_a_kind_that_the_backbone_does_not_have_are_refused(
    table: DigestTable, weights: Path, backbone: str, kind: str
) -> None:
    record = record_of(table, backbone="nano") | {"weights": {"kind": kind, "path": str(weights)}}
    record["spec"] = record["spec"] | {"backbone": backbone}
    assert f"the weights of {backbone} are {kind}: they are not" in refusal(reopen, record, table)
