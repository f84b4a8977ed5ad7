"""Rows go to object storage and come back: each once, whole, under whatever names."""

import shutil
import uuid
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.storage.cached_rows import OTHER_SPEC, PROVENANCE, SPEC, filled, keys, rows, shards
from helpers.storage.remote_rows import objects_at

from cache.errors import UserError
from cache.remote.pull import pull
from cache.remote.push import push
from cache.signatures import SIDE, signature_store
from cache.signatures import SPEC as SIGNATURE
from cache.store import FeatureStore

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(params=["s3", "memory", "folder"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place on the other side."""
    if request.param == "s3":
        return str(request.getfixturevalue("storage").url) + "/features"
    return f"memory://{uuid.uuid4().hex}/features" if request.param == "memory" else str(tmp_path / "nas" / "features")


def test_what_is_pushed_is_pulled(tmp_path: Path, address: str) -> None:
    filled(tmp_path / "a", 3, 2)
    sent = push(str(tmp_path / "a"), address)
    assert (sent.objects, sent.rows) == (2, 5)
    got = pull(str(tmp_path / "b"), address)
    assert (got.objects, got.rows, got.bytes) == (2, 5, sent.bytes)
    assert (FeatureStore(str(tmp_path / "b"), SPEC).read(keys(5)) == rows(5)).all()
    assert [Path(path).read_bytes() for path in shards(FeatureStore(str(tmp_path / "a"), SPEC))] == [
        Path(path).read_bytes() for path in shards(FeatureStore(str(tmp_path / "b"), SPEC))
    ]


def test_a_second_time_nothing_is_copied(tmp_path: Path, address: str) -> None:
    filled(tmp_path / "a", 3, 2)
    push(str(tmp_path / "a"), address)
    pull(str(tmp_path / "b"), address)
    for done in (
        push(str(tmp_path / "a"), address),
        push(str(tmp_path / "b"), address),
        pull(str(tmp_path / "b"), address),
    ):
        assert (done.objects, done.rows, done.bytes) == (0, 0, 0)


def test_merged_shards_are_not_stored_twice(tmp_path: Path, address: str) -> None:
    store = filled(tmp_path / "a", 3, 2)
    push(str(tmp_path / "a"), address)
    pull(str(tmp_path / "b"), address)
    store.compact(100)
    assert len(shards(store)) == 1
    assert push(str(tmp_path / "a"), address).objects == 0
    assert pull(str(tmp_path / "a"), address).objects == 0
    store.commit(rows(9)[5:], keys(9)[5:], PROVENANCE)
    store.compact(100)
    assert len(shards(store)) == 1
    sent = push(str(tmp_path / "a"), address)
    assert (sent.objects, sent.rows) == (1, 4)
    assert len(objects_at(address)) == 3
    assert pull(str(tmp_path / "b"), address).rows == 4
    assert (FeatureStore(str(tmp_path / "b"), SPEC).read(keys(9)) == rows(9)).all()


def test_rows_that_are_there_under_other_names_are_not_copied(tmp_path: Path, address: str) -> None:
    """Two caches that have computed the same pictures in other portions."""
    filled(tmp_path / "a", 6, 4)
    filled(tmp_path / "b", 3, 7)
    push(str(tmp_path / "a"), address)
    assert push(str(tmp_path / "b"), address).objects == 0
    assert pull(str(tmp_path / "b"), address).objects == 0


def test_of_an_object_with_some_new_rows_these_are_kept(tmp_path: Path, address: str) -> None:
    store = filled(tmp_path / "a", 2)
    push(str(tmp_path / "a"), address)
    pull(str(tmp_path / "b"), address)
    store.commit(rows(2, seed=1), keys(2, seed=1), PROVENANCE)
    store.compact(100)
    other = filled(tmp_path / "c", 2)
    other.commit(rows(2, seed=2), keys(2, seed=2), PROVENANCE)
    push(str(tmp_path / "a"), address)
    assert pull(str(tmp_path / "c"), address).rows == 2
    other.compact(100)
    sent = push(str(tmp_path / "c"), address)
    assert (sent.objects, sent.rows) == (1, 2)
    assert pull(str(tmp_path / "b"), address).rows == 4
    there = FeatureStore(str(tmp_path / "b"), SPEC)
    assert sum(map(len, there.refresh())) == 6
    for seed in range(3):
        assert (there.read(keys(2, seed=seed)) == rows(2, seed=seed)).all()


def test_specs_are_chosen_by_backbone_and_fingerprint(tmp_path: Path, address: str) -> None:
    nano = replace(SPEC, backbone="nano")
    for spec in (SPEC, OTHER_SPEC, nano):
        filled(tmp_path / "a", 2, spec=spec)
    assert push(str(tmp_path / "a"), address, backbone="nano").folders[0][0] == nano.folder
    assert push(str(tmp_path / "a"), address, fingerprint=SPEC.fingerprint[:8]).folders[0][0] == SPEC.folder
    assert push(str(tmp_path / "a"), address, backbone="vgg16+nano").objects == 0
    assert [each[0] for each in push(str(tmp_path / "a"), address).folders] == [OTHER_SPEC.folder]
    got = pull(str(tmp_path / "b"), address, backbone="mobilenet_v2", fingerprint=OTHER_SPEC.fingerprint)
    assert [each[0] for each in got.folders] == [OTHER_SPEC.folder]
    with pytest.raises(UserError, match="fingerprint 'xyz' is none"):
        pull(str(tmp_path / "b"), address, fingerprint="xyz")


def test_several_fingerprints_are_chosen_at_once(tmp_path: Path, address: str) -> None:
    nano = replace(SPEC, backbone="nano")
    for spec in (SPEC, OTHER_SPEC, nano):
        filled(tmp_path / "a", 2, spec=spec)
    push(str(tmp_path / "a"), address)
    got = pull(str(tmp_path / "b"), address, fingerprint=(SPEC.fingerprint, nano.fingerprint))
    assert {each[0] for each in got.folders} == {SPEC.folder, nano.folder}
    with pytest.raises(UserError, match="fingerprint 'xyz' is none"):
        pull(str(tmp_path / "b"), address, fingerprint=(SPEC.fingerprint, "xyz"))


def test_of_pictures_that_are_named_the_rows_come_and_no_other_objects(tmp_path: Path, address: str) -> None:
    filled(tmp_path / "a", 5, 3, 2)
    push(str(tmp_path / "a"), address)
    store = FeatureStore(str(tmp_path / "b"), SPEC)
    strangers = keys(4, seed=1)
    for wanted, new, there in (
        (keys(10)[:0], 0, []),
        (strangers, 0, []),
        (np.concatenate([keys(10)[[6, 6]], strangers]), 3, [5, 6, 7]),
        (keys(10)[[5, 9]], 2, [5, 6, 7, 8, 9]),
        (keys(10)[5:], 0, [5, 6, 7, 8, 9]),
    ):
        assert pull(str(tmp_path / "b"), address, keys=wanted).rows == new
        assert np.flatnonzero(store.contains(keys(10))).tolist() == there
    assert (store.read(keys(10)[5:]) == rows(10)[5:]).all()


def test_rows_that_are_there_are_stored_once_more_where_keys_are_not_compared(
    tmp_path: Path, request: pytest.FixtureRequest, address: str
) -> None:
    filled(tmp_path / "a", 6, 4)
    filled(tmp_path / "b", 10)
    push(str(tmp_path / "a"), address)
    if address.startswith("s3"):
        request.getfixturevalue("storage").server.reset()
    assert push(str(tmp_path / "b"), address, compare=False).rows == 10
    if address.startswith("s3"):
        counts = request.getfixturevalue("storage").server.counts()
        assert (counts["LIST"], counts["PUT"], counts["GET"]) == (3, 1, 0)
    assert push(str(tmp_path / "b"), address, compare=False).rows == 0
    assert pull(str(tmp_path / "c"), address).rows == 10


def test_signatures_go_along_before_the_rows(tmp_path: Path, address: str) -> None:
    filled(tmp_path / "a", 2)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    signature_store(str(tmp_path / "a")).commit(pixels, keys(2), {})
    sent = push(str(tmp_path / "a"), address, backbone="mobilenet_v2")
    assert [folder for folder, *_ in sent.folders] == [f"picture-signatures/{SIGNATURE.folder}", SPEC.folder]
    got = pull(str(tmp_path / "b"), address, backbone="mobilenet_v2")
    assert got.folders == sent.folders
    assert (signature_store(str(tmp_path / "b")).read(keys(2)) == pixels).all()


def test_a_dry_run_says_what_would_be_copied_and_changes_nothing(tmp_path: Path, address: str) -> None:
    filled(tmp_path / "a", 3, 2)
    would = push(str(tmp_path / "a"), address, dry_run=True)
    assert objects_at(address) == []
    assert push(str(tmp_path / "a"), address) == would
    would = pull(str(tmp_path / "b"), address, dry_run=True)
    assert not (tmp_path / "b").exists()
    assert pull(str(tmp_path / "b"), address) == would


def test_the_disk_that_a_pull_takes_is_bounded(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path / "a", 30, 20, 10)
    sizes = [Path(path).stat().st_size for path in shards(store)]
    push(str(tmp_path / "a"), address)
    got = pull(str(tmp_path / "b"), address, most=sizes[0] + sizes[2])
    assert (got.rows, got.left, got.bytes) == (40, 20, sizes[0] + sizes[2])
    assert pull(str(tmp_path / "b"), address, most=sizes[1] - 1).left == 20
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(10**9, 10**9, sizes[1] - 1))
    with pytest.raises(UserError, match="too little disk"):
        pull(str(tmp_path / "b"), address)
    assert sum(map(len, FeatureStore(str(tmp_path / "b"), SPEC).refresh())) == 40


def test_small_objects_are_merged_there_when_it_is_asked_for(tmp_path: Path, address: str) -> None:
    """As many pushes as there are rows: the objects stay few, and who pulls in between has every row in the end."""
    store = FeatureStore(str(tmp_path / "a"), SPEC)
    for number in range(20):
        store.commit(rows(20)[number : number + 1], keys(20)[number : number + 1], PROVENANCE)
        push(str(tmp_path / "a"), address, merge=True)
        if number % 5 == 0:
            pull(str(tmp_path / "b"), address)
        assert len(objects_at(address)) <= 16
    pull(str(tmp_path / "b"), address)
    assert (FeatureStore(str(tmp_path / "b"), SPEC).read(keys(20)) == rows(20)).all()
    assert pull(str(tmp_path / "c"), address).rows == 20


def test_rows_dropped_here_stay_there(tmp_path: Path, address: str) -> None:
    store = filled(tmp_path / "a", 4)
    push(str(tmp_path / "a"), address)
    store.compact(100, keep={key.tobytes() for key in keys(4)[:2]})
    assert push(str(tmp_path / "a"), address, merge=True).objects == 0
    assert pull(str(tmp_path / "b"), address).rows == 4


def test_an_address_without_driver_or_of_the_cache_itself_is_one_line(tmp_path: Path) -> None:
    filled(tmp_path / "a", 2)
    for address, words in (
        ("ftps://host/features", "no driver has such addresses"),
        ("", "the address is empty"),
        (str(tmp_path / "a"), "is the cache"),
        (str(tmp_path / "a" / "below"), "lies within it"),
    ):
        for copy in (push, pull):
            with pytest.raises(UserError, match=words):
                copy(str(tmp_path / "a"), address)
    with pytest.raises(UserError, match="there are no features in"):
        pull(str(tmp_path / "a"), str(tmp_path / "nowhere"))


def test_a_mounted_folder_is_a_cache_itself(tmp_path: Path) -> None:
    filled(tmp_path / "a", 3, 2)
    push(str(tmp_path / "a"), f"file://{tmp_path / 'nas'}")
    there = FeatureStore(str(tmp_path / "nas"), SPEC)
    assert (there.read(keys(5)) == rows(5)).all()
    there.compact(100)
    assert push(str(tmp_path / "nas"), str(tmp_path / "a")).objects == 0
    assert pull(str(tmp_path / "b"), str(tmp_path / "nas")).rows == 5
