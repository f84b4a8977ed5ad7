"""Files that are called bundles: each is refused in one line, before it costs memory, and nothing is written."""

import io
import json
import os
import re
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from helpers.models.bundled_models import Bundles

import pipeline
from cache.errors import UserError
from classify.bundles.archive import ARRAYS, MANIFEST, RECORD, packed, read
from classify.saved.record import sealed

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def members(bundles: Bundles) -> Members:
    """Those of a sound bundle, without its manifest."""
    return read(bundles.of("logreg").bundle)


def written(path: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]], compression: int = 0) -> str:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return str(path)


def manifest_of(members: Members, /, **changes: Any) -> bytes:
    named = {name: {"sha256": sha256(data).hexdigest(), "bytes": len(data)} for name, data in members.items()}
    return json.dumps({"format": 1, "members": named} | changes).encode()


def refusal(path: str | Path) -> str:
    with pytest.raises(UserError) as refused:
        pipeline.load(str(path)).predict_proba(Path(path).read_bytes())
    message = str(refused.value)
    assert "\n" not in message and len(message) < 700
    return message


@pytest.mark.parametrize(
    "name",
    ["../escaped.bin", "/tmp/escaped.bin", "a/b.bin", "network0.xml\\x", "extra.py", "model.joblib"],
)
def test_names_that_no_bundle_has(members: Members, tmp_path: Path, name: str) -> None:
    more = members | {name: b"x"}
    path = written(tmp_path / "m.zip", [(MANIFEST, manifest_of(more)), *more.items()])
    assert "is no bundle, or a damaged one (a member " in refusal(path)
    assert os.listdir(tmp_path) == ["m.zip"]


def test_a_link_a_name_twice_and_what_is_compressed(members: Members, tmp_path: Path) -> None:
    manifest = (MANIFEST, manifest_of(members))
    link = zipfile.ZipInfo(ARRAYS)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    rest = [(name, data) for name, data in members.items() if name != ARRAYS]
    assert "is no regular file" in refusal(written(tmp_path / "link.zip", [manifest, (link, members[ARRAYS]), *rest]))
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = written(tmp_path / "twice.zip", [manifest, *members.items(), (RECORD, members[RECORD])])
    assert "two of one name" in refusal(twice)
    bomb = members | {"network1.bin": bytes(200 * 2**20)}
    small = written(tmp_path / "bomb.zip", [(MANIFEST, manifest_of(bomb)), *bomb.items()], zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    assert "is compressed or encrypted" in refusal(small)
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


def test_members_that_the_manifest_does_not_name(members: Members, tmp_path: Path) -> None:
    fewer = {name: data for name, data in members.items() if name != "network0.bin"}
    cases = {
        "other members": [(MANIFEST, manifest_of(fewer)), *members.items()],
        "other members than": [(MANIFEST, manifest_of(members)), *fewer.items()],
        "no bundle.json": [*members.items()],
        "is not that of a bundle": [(MANIFEST, b"[]"), *members.items()],
        "format 2, this version reads 1": [(MANIFEST, manifest_of(members, format=2)), *members.items()],
        "is not that of a": [(MANIFEST, manifest_of(members, format=True)), *members.items()],
        "names no members": [(MANIFEST, manifest_of(members, members=[])), *members.items()],
        "a key is there twice": [(MANIFEST, b'{"format": 1, "format": 1}'), *members.items()],
        "has no digest of": [(MANIFEST, manifest_of(members, members={RECORD: {"bytes": 1}})), *members.items()],
    }
    for number, (words, entries) in enumerate(cases.items()):
        assert words in refusal(written(tmp_path / f"{number}.zip", entries))
    # Whole, but without its network: the same manifest fits.
    path = tmp_path / "fewer.zip"
    path.write_bytes(packed(fewer, {}))
    assert "lacks the network nano" in refusal(path)


def test_another_content_than_the_manifest_names(members: Members, tmp_path: Path) -> None:
    for name in members:
        changed = members | {name: members[name][:-1] + bytes([members[name][-1] ^ 1])}
        path = written(tmp_path / "m.zip", [(MANIFEST, manifest_of(members)), *changed.items()])
        assert f"{name} is not the one that {MANIFEST} names" in refusal(path)
        shorter = members | {name: members[name][:-1]}
        path = written(tmp_path / "m.zip", [(MANIFEST, manifest_of(members)), *shorter.items()])
        assert f"{MANIFEST} names {len(members[name])}" in refusal(path)


def test_any_flipped_or_missing_byte_is_found(bundles: Bundles, tmp_path: Path) -> None:
    whole, path = Path(bundles.of("logreg").bundle).read_bytes(), tmp_path / "m.zip"
    for position in range(40, len(whole), len(whole) // 12):
        path.write_bytes(whole[:position])
        assert "is no bundle, or a damaged one" in refusal(path)
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        assert "is no bundle, or a damaged one" in refusal(path)


def test_what_is_no_file_of_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    os.mkfifo(tmp_path / "fifo.zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "text.zip").write_bytes(b"no archive at all" * 100)
    for name in ("folder", "fifo", "empty", "text", "missing"):
        with pytest.raises(UserError):
            pipeline.load(str(tmp_path / f"{name}.zip"))


def rewritten(members: Members, **changes: Any) -> Members:
    """With other fields in the record, whose own digest is right."""
    return members | {RECORD: sealed(json.loads(members[RECORD]) | changes)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ["brick", "grass", "sand"]}, "the model itself"),
        ({"classes": ["brick", "grass"], "training_counts": [1, 2]}, "the model itself"),
        ({"fingerprint": "0" * 64}, "names fingerprint"),
        ({"payload": {"sha256": "0" * 64, "bytes": 1}}, "the model itself"),
        ({"weights": {"kind": "file", "path": 5}}, "is damaged: 'weights'"),
        ({"format": 99}, "has format 99"),
    ],
)
def test_a_record_of_another_model(members: Members, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(packed(rewritten(members, **changes), {}))
    assert words in refusal(path)


def xml_with(pattern: bytes, replacement: bytes) -> Callable[[Members], Members]:
    def changed(members: Members) -> Members:
        text, count = re.subn(pattern, replacement, members["network0.xml"], count=1)
        assert count == 1
        return members | {"network0.xml": text}

    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (xml_with(rb"<net ", b'<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net '), "DOCTYPE"),
        (xml_with(rb'size="\d+"', b'size="99999999999"'), "a constant ends at byte"),
        (xml_with(rb'offset="\d+"', b'offset="-8"'), "a constant ends at byte"),
        (xml_with(rb'type="Convolution"', b'type="Command"'), "cannot be read by OpenVINO"),
        (xml_with(rb"<edges>", b"<edges"), "cannot be read by OpenVINO"),
        (lambda members: members | {"network0.xml": b"<net/>"}, "cannot be read"),
        (lambda members: members | {"network0.xml": b""}, "cannot be read"),
        (lambda members: members | {"network0.bin": b""}, "a constant ends at byte"),
    ],
)
def test_a_network_that_is_none(
    members: Members, tmp_path: Path, change: Callable[[Members], Members], words: str, photos: Path
) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(packed(change(members), {}))
    with pytest.raises(UserError) as refused:
        pipeline.load(str(path)).predict_proba(str(photos / "brick" / "brick.0.png"))
    assert words in str(refused.value) and "\n" not in str(refused.value) and str(path) in str(refused.value)


def test_networks_of_other_models_do_not_answer_for_each_other(bundles: Bundles, tmp_path: Path) -> None:
    made = bundles.of("logreg")
    whole = pipeline.load(made.bundle)
    expected = whole.predict_proba(made.pictures[:2])
    members = read(made.bundle)
    noise = bytearray(members["network0.bin"])
    middle = len(noise) // 2
    noise[middle : middle + 65_536] = bytes(65_536)  # the same spec, another network
    path = tmp_path / "other.zip"
    path.write_bytes(packed(members | {"network0.bin": bytes(noise)}, {}))
    other = pipeline.load(str(path)).predict_proba(made.pictures[:2])
    assert (other != expected).any()
    assert (pipeline.load(made.bundle).predict_proba(made.pictures[:2]) == expected).all()
    assert (made.load().predict_proba(made.pictures[:2], use_cache=False) == expected).all()


def test_arrays_that_are_a_pickle_are_never_loaded(members: Members, tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        archive.writestr("classes.npy", b"\x93NUMPY\x01\x00" + bytes([len(header), 0]) + header)
    path = tmp_path / "m.zip"
    path.write_bytes(packed(members | {ARRAYS: file.getvalue()}, {}))
    assert "holds no head" in refusal(path)
