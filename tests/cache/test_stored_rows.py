"""Rows that stay on the disk: what is read, how often, how much at once, and what is said of damage."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.storage.cached_rows import PROVENANCE, SPEC, damage, keys, rows, shards

from cache.errors import UserError
from cache.store import FeatureStore
from cache.stored_rows import PARTS, StoredRows

COUNT, WIDTH = 5000, 1024
ROW_BYTES = 4 * WIDTH
BLOCK_ROWS = 64  # of 256 KiB


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """5000 rows (20 MB) in three shards, 79 blocks."""
    store = FeatureStore(str(tmp_path_factory.mktemp("rows")), SPEC)
    features, digests = rows(COUNT, WIDTH), keys(COUNT)
    for first, last in ((0, 2048), (2048, 4096), (4096, COUNT)):
        store.commit(features[first:last], digests[first:last], PROVENANCE)
    return store


def stored(store: FeatureStore, memory: int = PARTS * 640 * ROW_BYTES) -> StoredRows:
    """All rows, about 640 (10 blocks) at once."""
    return StoredRows(store, keys(COUNT), memory)


@pytest.mark.parametrize("seed", [None, 0])
def test_a_pass_reads_every_row_and_every_block_once_and_little_at_once(
    filled: FeatureStore, reads: Counter, seed: int | None
) -> None:
    some = stored(filled)
    random = None if seed is None else np.random.RandomState(seed)
    expected = rows(COUNT, WIDTH)
    seen = []
    for chosen in some.chunks(random):
        assert len(chosen) <= some.rows_at_once + BLOCK_ROWS
        np.testing.assert_array_equal(some.read(chosen), expected[chosen])
        seen.append(chosen)
    assert sorted(np.concatenate(seen)) == list(range(COUNT))
    assert len(seen) == 8 and min(map(len, seen)) > 500
    assert len(reads) == 79 and set(reads.values()) == {1}


def test_an_order_is_that_of_its_seed_new_in_each_pass_and_mixes_the_whole_store(filled: FeatureStore) -> None:
    some = stored(filled)

    def passes(seed: int) -> list[list[np.ndarray]]:
        random = np.random.RandomState(seed)
        return [list(some.chunks(random)) for _ in range(2)]

    (first, second), (again, _), (other, _) = passes(0), passes(0), passes(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], second[0]) and not np.array_equal(first[0], other[0])
    assert all(chosen.max() - chosen.min() > COUNT / 2 for chosen in first)


def test_some_of_the_rows_are_chosen_as_of_an_array_without_reading(filled: FeatureStore, reads: Counter) -> None:
    some, expected = stored(filled), rows(COUNT, WIDTH)
    mask = np.random.default_rng(0).random(COUNT) < 0.3
    every_third = np.arange(COUNT)[::-3]
    for chosen in (mask, every_third, slice(7, 2100)):
        part = some[chosen].map(lambda block: block * 2)[1:]
        assert part.shape == expected[chosen][1:].shape and part.nbytes == part.shape[0] * ROW_BYTES
        assert not reads
        np.testing.assert_array_equal(part.read(), expected[chosen][1:] * 2)
        np.testing.assert_array_equal(part.apply(lambda block: block.sum(axis=1)), part.read().sum(axis=1))
        reads.clear()


def test_rows_in_another_order_than_stored_are_put_in_place_in_one_pass(filled: FeatureStore, reads: Counter) -> None:
    order = np.random.default_rng(1).permutation(COUNT)
    sums = stored(filled)[order].apply(lambda block: block.sum(axis=1))
    np.testing.assert_array_equal(sums, rows(COUNT, WIDTH)[order].sum(axis=1))
    assert set(reads.values()) == {1}


def test_copies_of_one_picture_each_have_their_row(filled: FeatureStore) -> None:
    digests = keys(COUNT)[[3, 4000, 3]]
    np.testing.assert_array_equal(
        StoredRows(filled, digests, 10**6).apply(lambda block: block), rows(COUNT, WIDTH)[[3, 4000, 3]]
    )


def test_with_no_memory_to_speak_of_a_chunk_is_one_block(filled: FeatureStore) -> None:
    sizes = [len(chosen) for chosen in stored(filled, 1).chunks()]
    assert len(sizes) == 79 and max(sizes) == BLOCK_ROWS


def test_nobody_takes_them_for_an_array_by_mistake(filled: FeatureStore) -> None:
    with pytest.raises(TypeError, match="5000 rows stay on the disk: read them in chunks"):
        np.asarray(stored(filled))
    with pytest.raises(ValueError, match="there are no rows"):
        stored(filled)[:0].apply(lambda block: block)


def test_a_compaction_in_the_middle_changes_no_row(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path), SPEC)
    for first in range(0, 400, 100):
        store.commit(rows(400, WIDTH)[first : first + 100], keys(400)[first : first + 100], PROVENANCE)
    some = StoredRows(store, keys(400), 1)
    found = np.empty((400, WIDTH), np.float32)
    for number, chosen in enumerate(some.chunks()):
        if number == 3:
            FeatureStore(str(tmp_path), SPEC).compact(4096)
        found[chosen] = some.read(chosen)
    np.testing.assert_array_equal(found, rows(400, WIDTH))


def test_damage_is_set_aside_and_said_in_one_line_that_tells_what_to_do(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path), SPEC)
    store.commit(rows(10), keys(10), PROVENANCE)
    some = StoredRows(store, keys(10), 1)
    (shard,) = shards(store)
    damage(shard)
    with pytest.raises(UserError, match=r"^.* is damaged: run again, its rows alone are computed again$"):
        some.read()
    assert shards(store) == [] and Path(f"{shard}.damaged").exists()
    with pytest.raises(UserError, match=r"^rows have gone from .*: run again, they are computed again$"):
        some.read()
