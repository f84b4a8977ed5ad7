"""Groups of copies: the same whatever the order, each stored row read once, nothing odd for odd rows."""

from collections import Counter
from pathlib import Path

import cached_rows
import numpy as np
import pytest
import real_features

from cache.stored_rows import StoredRows
from classify.copies import copy_groups
from classify.split import duplicate_groups


def nearly(rows: np.ndarray, share: float = 0.003) -> np.ndarray:
    """As rows of re-encoded pictures are."""
    noise = np.random.default_rng(1).standard_normal(rows.shape).astype(np.float32)
    return rows + share * rows.std(axis=0) * noise


@pytest.fixture
def doubled(digits: real_features.Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digests (600, 32), labels and rows of 300 digits and of a nearly equal one of each, with other bytes."""
    rows, labels = digits
    return cached_rows.keys(600), np.tile(labels[:300], 2), np.concatenate([rows[:300], nearly(rows[:300])])


def test_copies_are_grouped_and_nearly_all_others_are_not(
    doubled: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    groups = copy_groups(*doubled)
    assert (groups[:300] == groups[300:]).all()
    assert len(np.unique(groups)) > 270


def test_the_groups_follow_from_the_pictures_not_from_their_order(
    doubled: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    order = np.random.default_rng(0).permutation(600)
    digests, labels, rows = doubled
    groups = copy_groups(digests, labels, rows)
    np.testing.assert_array_equal(copy_groups(digests[order], labels[order], rows[order]), groups[order])
    exact = duplicate_groups(digests)
    assert (groups <= exact).all() and set(groups) <= set(exact)


def test_stored_rows_are_read_once_a_block(
    digits: real_features.Data, tmp_path: Path, reads: Counter[tuple[str, int]]
) -> None:
    rows = np.tile(real_features.with_products(digits[0][:300]), (2, 1))
    store = cached_rows.FeatureStore(str(tmp_path), cached_rows.SPEC)
    for start in range(0, 600, 200):
        store.commit(rows[start : start + 200], cached_rows.keys(600)[start : start + 200], cached_rows.PROVENANCE)
    reads.clear()
    labels = np.tile(digits[1][:300], 2)
    streamed = copy_groups(cached_rows.keys(600), labels, StoredRows(store, cached_rows.keys(600), 8_000_000))
    assert set(reads.values()) == {1}
    np.testing.assert_array_equal(streamed, copy_groups(cached_rows.keys(600), labels, rows))
    assert (streamed[:300] == streamed[300:]).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_few_pictures_are_different_unless_their_rows_are_equal(digits: real_features.Data, count: int) -> None:
    rows, labels = digits
    assert len(set(copy_groups(cached_rows.keys(count), labels[:count], rows[:count]))) == count
    assert len(set(copy_groups(cached_rows.keys(count), labels[:count], np.tile(rows[:1], (count, 1))))) == 1


def test_rows_of_zeros_are_one_picture_and_the_others_stay(digits: real_features.Data) -> None:
    rows, labels = digits[0][:100].copy(), digits[1][:100]
    rows[::10] = 0
    groups = copy_groups(cached_rows.keys(100), labels, rows)
    assert len(set(groups[::10])) == 1 and (groups[::10][0] != np.delete(groups, np.arange(0, 100, 10))).all()
    assert len(set(groups)) > 80


def test_frames_of_a_fixed_camera_are_no_copies() -> None:
    """All alike, and none nearer to another than to the rest."""
    random = np.random.default_rng(0)
    frames = random.standard_normal(256) + 0.01 * random.standard_normal((500, 256))
    groups = copy_groups(cached_rows.keys(500), np.repeat(["good", "bad"], 250), frames.astype(np.float32))
    assert len(set(groups)) == 500
