"""The index of keys: it finds what a plain search finds, and adding a few rows leaves the large groups alone."""

from pathlib import Path

import numpy as np
import pytest
from helpers.storage.cached_rows import PROVENANCE, filled, keys, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.index import KeyIndex
from cache.shard_file import Shard

ALIKE = np.zeros((24, 32), np.uint8)  # all begin alike, and not all of them end so
ALIKE[np.arange(24), 8 + np.arange(24)] = 1
POOL = np.concatenate([keys(40), ALIKE])


def shard_of(numbers: list[int]) -> Shard:
    digests = POOL[numbers]
    return Shard("", 0, None, {}, digests, (1,), 0, 1, np.zeros(len(numbers), np.uint32))  # type: ignore[arg-type]


@given(
    batches=st.lists(st.lists(st.integers(0, 63), min_size=1, max_size=20, unique=True), max_size=8),
    wanted=st.lists(st.integers(0, 63), max_size=30),
    gone=st.sets(st.integers(0, 7)),
)
@settings(max_examples=200)
def test_it_finds_what_a_plain_search_finds_while_shards_come_and_go(
    batches: list[list[int]], wanted: list[int], gone: set[int]
) -> None:
    shards = [shard_of(batch) for batch in batches]
    index = KeyIndex()
    for present in (shards[:3], shards, [shard for n, shard in enumerate(shards) if n not in gone]):
        where, found = index.locate(present, POOL[wanted])
        held = [[key.tobytes() for key in shard.digests] for shard in present]
        for number, shard, row in zip(wanted, where, found, strict=True):
            key = POOL[number].tobytes()
            assert held[shard][row] == key if shard >= 0 else not any(key in each for each in held)


def test_rows_that_are_wanted_in_their_order_are_found_wherever_that_begins(tmp_path: Path) -> None:
    store = filled(tmp_path, 30, 30)
    for start, stop in ((0, 60), (0, 40), (25, 60), (59, 60)):
        assert (store.read(keys(60)[start:stop]) == rows(60)[start:stop]).all()
    around = np.roll(np.arange(60), 7)
    assert (store.read(keys(60)[around]) == rows(60)[around]).all()
    with_strangers = np.concatenate([keys(60)[10:20], keys(5, seed=1), keys(60)[25:]])
    assert store.contains(with_strangers).tolist() == [True] * 10 + [False] * 5 + [True] * 35


@pytest.mark.parametrize("added", [1, 10, 100])
def test_adding_rows_indexes_those_and_not_the_many_that_are_there(tmp_path: Path, added: int) -> None:
    store = filled(tmp_path, 500, 500)
    store.contains(keys(1))
    before = list(store._index.groups)
    store.commit(rows(added, seed=1), keys(added, seed=1), PROVENANCE)
    assert store.contains(np.concatenate([keys(1000), keys(added, seed=1)])).all()
    after = store._index.groups
    assert after[0] is before[0] and [len(group) for group in after] == [1000, added]


def test_however_many_shards_come_the_groups_stay_few_and_rows_are_seldom_indexed_again() -> None:
    index, shards, indexed = KeyIndex(), [], 0
    for number in range(128):
        shards.append(shard_of([number % 64]))
        groups = set(map(id, index.groups))
        index.locate(shards, POOL[:1])
        indexed += sum(len(group) for group in index.groups if id(group) not in groups)
        assert sum(map(len, index.groups)) == len(shards)
        assert len(index.groups) <= 8
    assert indexed <= 128 * 8  # each row at most about log2(128) times
