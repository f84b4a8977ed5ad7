"""A store with damage in it: set aside, announced, never served; a full disk loses nothing."""

import logging
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from helpers.other_user import folder_for_all, read_only
from helpers.storage.cached_rows import OTHER_SPEC, PROVENANCE, SPEC, damage, filled, keys, rows, shards

import cache.store
from cache.shard_file import DamagedShardError, encode_shard
from cache.store import FeatureStore


def test_a_damaged_shard_is_set_aside_and_its_rows_count_as_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path, 3, 4)
    path = shards(store)[0]
    damage(path)
    with pytest.raises(DamagedShardError, match="checksum") as raised:
        store.read(keys(7))
    assert raised.value.path == path
    assert (store.read(keys(7)[3:]) == rows(7)[3:]).all()
    store.set_aside(raised.value)
    assert path in caplog.text
    assert store.contains(keys(7)).tolist() == [False] * 3 + [True] * 4
    assert os.path.exists(path + ".damaged")
    assert store.commit(rows(7), keys(7), PROVENANCE) == 3
    assert (store.read(keys(7)) == rows(7)).all()


def test_a_shard_with_a_damaged_header_is_set_aside_when_the_folder_is_opened(tmp_path: Path) -> None:
    filled(tmp_path, 3, 4)
    store = FeatureStore(str(tmp_path), SPEC)
    path = shards(store)[1]
    os.truncate(path, 100)
    stranger = os.path.join(store.folder, "stranger.h5")
    os.mkfifo(stranger)
    assert store.contains(keys(7)).tolist() == [True] * 3 + [False] * 4
    assert sorted(os.listdir(store.folder))[-3:] == [
        os.path.basename(path) + ".damaged",
        "spec.json",
        "stranger.h5.damaged",
    ]


def test_a_shard_of_another_spec_in_the_folder_is_set_aside(tmp_path: Path) -> None:
    store, other = filled(tmp_path, 3), filled(tmp_path, 4, spec=OTHER_SPEC)
    os.rename(shards(other)[0], os.path.join(store.folder, "moved.h5"))
    assert store.contains(keys(3)).all()
    assert not store.contains(keys(4)[3:]).any()
    assert os.path.exists(os.path.join(store.folder, "moved.h5.damaged"))


def test_rows_of_two_widths_are_never_mixed(tmp_path: Path) -> None:
    store = filled(tmp_path, 3)
    stranger = FeatureStore(str(tmp_path / "other"), SPEC)
    stranger.commit(rows(1, 1), keys(4)[3:], PROVENANCE)
    os.rename(shards(stranger)[0], os.path.join(store.folder, "narrow.h5"))
    with pytest.raises(DamagedShardError, match="shape"):
        store.read(keys(4))


def test_a_damaged_shard_that_cannot_be_renamed_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    with folder_for_all() as folder:
        filled(folder, 3, 4)
        store = FeatureStore(folder, SPEC)
        path = shards(store)[0]
        damage(path)
        with read_only(folder):
            with pytest.raises(DamagedShardError) as raised:
                store.read(keys(7))
            store.set_aside(raised.value)
            assert path in caplog.text
            caplog.clear()
            assert store.contains(keys(7)).tolist() == [False] * 3 + [True] * 4
            with pytest.raises(KeyError):
                store.read(keys(7))
            assert (store.read(keys(7)[3:]) == rows(7)[3:]).all()
            assert caplog.text == ""
            with pytest.raises(PermissionError):
                store.commit(rows(7), keys(7), PROVENANCE)
        assert os.path.exists(path)


def test_a_read_only_cache_serves_its_rows_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with folder_for_all() as folder:
        names = os.listdir(filled(folder, 3, 4).folder)
        store = FeatureStore(folder, SPEC)
        with read_only(folder), caplog.at_level(logging.INFO):
            assert store.contains(keys(7)).all()
            assert (store.read(keys(7)) == rows(7)).all()
        assert caplog.text == ""
        assert os.listdir(store.folder) == names


def test_two_that_set_the_same_shard_aside_do_not_disturb_each_other(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    one, other = FeatureStore(str(tmp_path), SPEC), FeatureStore(str(tmp_path), SPEC)
    damage(shards(one)[0])
    found = []
    for store in (one, other):
        with pytest.raises(DamagedShardError) as raised:
            store.read(keys(3))
        found.append(raised.value)
    one.set_aside(found[0])
    other.set_aside(found[1])
    assert other.commit(rows(3), keys(3), PROVENANCE) == 3
    assert (one.read(keys(3)) == rows(3)).all()


def test_a_lack_of_file_descriptors_costs_no_shard(tmp_path: Path) -> None:
    filled(tmp_path, 3, 4)
    store = FeatureStore(str(tmp_path), SPEC)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))  # enough to list the folder
    taken = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Too many open files"):
            store.contains(keys(7))
    finally:
        os.close(taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (store.read(keys(7)) == rows(7)).all()
    assert len(shards(store)) == 2


def test_a_shard_that_reads_back_wrong_is_an_error_and_no_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 3)

    def miswritten(*arguments: Any) -> memoryview:
        content = bytearray(encode_shard(*arguments))
        content[-1] ^= 1
        return memoryview(content)

    names = sorted(os.listdir(store.folder))
    monkeypatch.setattr(cache.store, "encode_shard", miswritten)
    with pytest.raises(OSError, match=rf"Input/output error: '{store.folder}"):
        store.commit(rows(7), keys(7), PROVENANCE)
    assert sorted(os.listdir(store.folder)) == names
    assert (store.read(keys(3)) == rows(7)[:3]).all()
