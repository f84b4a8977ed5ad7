"""Which row of which shard has a key, found by binary search. The cost of new shards depends on them alone."""

from collections.abc import Collection

import numpy as np

from cache.row_key import DIGEST_BYTES
from cache.shard_file import Shard


class KeyIndex:
    """Finds keys among shards, of which some are added and some deleted between calls.

    Shards are indexed in groups. A new group is merged with the last one unless that is more than twice as large (the
    logarithmic method of Bentley and Saxe, 1980). So a key is looked up in a few groups, and a row is indexed again a
    few times only, however many rows are added.
    """

    def __init__(self) -> None:
        self.groups: list[Group] = []

    def locate(self, shards: list[Shard], digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each of `digests` (n, 32) (index of its shard in `shards`, or -1; its row there): two (n,) of int64."""
        index_of = {shard: index for index, shard in enumerate(shards)}
        self.groups = groups = _regrouped(self.groups, index_of)
        where = np.full(len(digests), -1, dtype=np.int64)
        rows = np.zeros(len(digests), dtype=np.int64)
        for group in groups:
            missing = np.flatnonzero(where < 0)
            shard, row = group.locate(digests[missing])
            index = np.array([*(index_of[shard] for shard in group.shards), -1])
            where[missing], rows[missing] = index[shard], row
        return where, rows


def _regrouped(groups: list["Group"], shards: Collection[Shard]) -> list["Group"]:
    """Groups of these shards and no others, as many as possible of `groups` among them."""
    kept = [group for group in groups if all(shard in shards for shard in group.shards)]
    indexed = {shard for group in kept for shard in group.shards}
    fresh = [shard for shard in shards if shard not in indexed]
    if not fresh:
        return kept
    while kept and len(kept[-1]) <= 2 * sum(map(len, fresh)):
        fresh = [*kept.pop().shards, *fresh]
    return [*kept, Group(fresh)]


class Group:
    """Shards that are searched together, by the beginnings of their keys in order."""

    def __init__(self, shards: list[Shard]):
        self.shards = shards
        lengths = [len(shard) for shard in shards]
        self._shard_of = np.repeat(np.arange(len(shards), dtype=np.int32), lengths)  # of each row, over all shards
        self._first_row = np.cumsum([0, *lengths])
        digests = np.concatenate([shard.digests for shard in shards])
        self._keys = comparable(digests)
        beginnings = _beginnings(digests)
        # by the lower half, then by the upper: NumPy sorts numbers of 16 bits, stably, ten times faster than others
        by_lower = np.argsort(beginnings.astype(np.uint16), kind="stable")
        self._order = by_lower[np.argsort((beginnings >> 16).astype(np.uint16)[by_lower], kind="stable")]
        self._order = self._order.astype(np.int32)
        self._sorted = beginnings[self._order]

    def __len__(self) -> int:
        return len(self._keys)

    def locate(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `KeyIndex.locate`, indices being those in `shards`."""
        keys = comparable(digests)
        found = np.full(len(keys), -1, dtype=np.int64)
        found[:1] = first = self._search(keys[:1], digests[:1])
        if len(first) and first[0] >= 0:  # mostly rows are wanted in the order in which they were stored
            following = np.arange(first[0], min(first[0] + len(keys), len(self)))
            same = self._keys[first[0] : first[0] + len(keys)] == keys[: len(following)]
            found[: len(following)] = np.where(same, following, -1)
        left = np.flatnonzero(found < 0)
        found[left] = self._search(keys[left], digests[left])
        shard = np.where(found < 0, -1, self._shard_of[found])
        return shard, found - self._first_row[shard]

    def _search(self, keys: np.ndarray, digests: np.ndarray) -> np.ndarray:
        """The row of each key, counted over all shards, or -1: (n,) int64."""
        beginnings = _beginnings(digests)
        at = np.searchsorted(self._sorted, beginnings)
        found = np.full(len(keys), -1, dtype=np.int64)
        left = np.arange(len(keys))
        while len(left):  # one round, and another for keys that begin as those of other rows do
            begun_alike = self._sorted.take(at, mode="clip") == beginnings[left]
            begun_alike &= at < len(self)
            left, at = left[begun_alike], at[begun_alike]
            rows = self._order[at]
            same = self._keys[rows] == keys[left]
            found[left[same]] = rows[same]
            left, at = left[~same], at[~same] + 1
        return found


def comparable(digests: np.ndarray) -> np.ndarray:
    """Keys (n, 32) uint8 as (n,) byte strings, which NumPy sorts and compares as whole keys."""
    return np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}").ravel()


def _beginnings(digests: np.ndarray) -> np.ndarray:
    """The first 4 bytes of keys (n, 32) as numbers (n,) uint32: SHA-256 spreads them evenly."""
    return np.ascontiguousarray(digests[:, :4]).view(np.uint32).ravel()
