"""Merging small shards: no row is lost, whatever is damaged, killed or reading meanwhile."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.storage.cached_rows import PROVENANCE, SPEC, damage, filled, keys, rows, shards

import cache.store
from cache.store import FeatureStore


def test_small_shards_are_merged_and_full_ones_left_alone(tmp_path: Path) -> None:
    store = filled(tmp_path, 10, 2, 3, 1, 10, 4)
    full = shards(store)[0]
    assert store.compact(10) == (0, 2)
    assert sorted(map(len, store.refresh())) == [4, 6, 10, 10]
    assert full in shards(store)
    assert (store.read(keys(30)) == rows(30)).all()
    assert store.compact(10) == (0, 1)
    names = shards(store)
    assert store.compact(10) == (0, 0)
    assert shards(store) == names


def test_a_reader_from_before_a_compaction_reads_on(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4, 5)
    reader = FeatureStore(str(tmp_path), SPEC)
    assert reader.contains(keys(12)).all()
    store.compact(100)
    assert len(shards(store)) == 1
    assert (reader.read(keys(12)) == rows(12)).all()


def test_only_the_rows_to_keep_stay(tmp_path: Path) -> None:
    store = filled(tmp_path, 5, 5, 5, 5)
    kept = [0, 2, 16, 17, 19]
    assert store.compact(5, {keys(20)[number].tobytes() for number in kept}) == (15, 3)
    assert np.flatnonzero(store.contains(keys(20))).tolist() == kept
    assert (store.read(keys(20)[kept]) == rows(20)[kept]).all()
    assert store.compact(5, set()) == (5, 1)
    assert shards(store) == []


def test_shards_of_other_versions_are_not_merged_but_those_of_other_days_are(store: FeatureStore) -> None:
    for number, (version, day) in enumerate([("2.20", 1), ("2.21", 2), ("2.20", 3), ("2.21", 4), ("2.21", 5)]):
        batch = slice(2 * number, 2 * number + 2)
        store.commit(rows(10)[batch], keys(10)[batch], {"tensorflow": version, "written": f"day {day}"})
    assert store.compact(100) == (0, 3)
    found = sorted(
        (shard.provenance["tensorflow"], shard.provenance["written"], len(shard)) for shard in store.refresh()
    )
    assert found == [("2.20", "day 3", 4), ("2.21", "day 5", 6)]
    assert (store.read(keys(10)) == rows(10)).all()


def test_large_rows_are_merged_only_as_far_as_memory_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, 4, 4, 4, 4)
    monkeypatch.setattr(cache.store, "SHARD_BYTES", 9 * 8 * 4)
    store.compact(1000)
    assert [len(shard) for shard in store.refresh()] == [8, 8]


def test_a_good_row_is_not_dropped_as_the_double_of_a_damaged_one(tmp_path: Path) -> None:
    store = filled(tmp_path, 20)
    double = FeatureStore(str(tmp_path / "other"), SPEC)
    double.commit(rows(20)[:6], keys(20)[:6], PROVENANCE)
    os.rename(shards(double)[0], os.path.join(store.folder, "zzz.h5"))
    damage(shards(store)[0])
    store.compact(20)
    assert (store.read(keys(20)[:6]) == rows(20)[:6]).all()
    assert not store.contains(keys(20)[6:]).any()


def test_a_damaged_shard_does_not_stop_the_compaction_of_the_others(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4, 5)
    damage(shards(store)[1])
    assert store.compact(100) == (0, 1)
    assert [len(shard) for shard in store.refresh()] == [8]
    assert np.flatnonzero(~store.contains(keys(12))).tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("careful", [True, False])
def test_two_that_compact_at_once_without_locks_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, careful: bool
) -> None:
    """The second comes when the first has merged two shards and not removed them. Rows go if it relies on these."""
    first = filled(tmp_path, 3, 4)
    second = FeatureStore(str(tmp_path), SPEC)
    unlink = os.unlink

    def after_the_second(path: str) -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        second._compact(1, None, alone=not careful)
        unlink(path)

    monkeypatch.setattr(os, "unlink", after_the_second)
    first._compact(100, None, alone=not careful)
    left = FeatureStore(str(tmp_path), SPEC)
    assert left.contains(keys(7)).tolist() == [careful] * 7
    if careful:
        assert (left.read(keys(7)) == rows(7)).all()
        assert left.compact(100) == (0, 1)
        assert (left.read(keys(7)) == rows(7)).all()


def test_rows_of_another_width_are_not_merged_with_the_others(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4)
    stranger = FeatureStore(str(tmp_path / "other"), SPEC)
    stranger.commit(rows(1, 1), keys(8)[7:], PROVENANCE)
    os.rename(shards(stranger)[0], os.path.join(store.folder, "zzz.h5"))
    assert store.compact(100) == (0, 1)
    assert (store.read(keys(7)) == rows(7)).all()
