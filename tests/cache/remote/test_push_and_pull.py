"""Rows go to object storage and come back: each once, whole, under whatever names."""

import uuid
from pathlib import Path

import pytest
from helpers.cached_rows import PROVENANCE, SPEC, filled, keys, rows, shards

from cache.remote.objects import open_objects
from cache.remote.pull import pull
from cache.remote.push import push
from cache.store import FeatureStore


@pytest.fixture(params=["s3", "memory", "folder"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place on the other side."""
    if request.param == "s3":
        return str(request.getfixturevalue("storage").url) + "/features"
    return f"memory://{uuid.uuid4().hex}/features" if request.param == "memory" else str(tmp_path / "nas" / "features")


def objects_of(address: str, folder: str = SPEC.folder) -> list[str]:
    return [entry.name for entry in open_objects(address).entries(folder) if entry.name.endswith(".h5")]


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
    assert len(objects_of(address)) == 3
    assert pull(str(tmp_path / "b"), address).rows == 4
    assert (FeatureStore(str(tmp_path / "b"), SPEC).read(keys(9)) == rows(9)).all()
