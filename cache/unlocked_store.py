"""Stores of processes that add to one folder at once, on any number of machines, with or without locks there."""

import contextlib
import os

from cache.store import COMMIT, FeatureStore


class UnlockedStore(FeatureStore):
    """A store whose `commit` waits for nobody and merges nothing, which whoever started these processes does.

    Shards are named once and never changed, so no writer harms another. Two that compute the same picture at the same
    moment may both store its row: `cache gc` drops one.
    """

    @classmethod
    def of(cls, store: FeatureStore) -> "UnlockedStore":
        """The same folder, written without lock."""
        return cls(os.path.dirname(store.folder), store.spec)

    def lock(self, name: str = COMMIT, waiting: str = "") -> contextlib.AbstractContextManager[bool]:  # noqa: ARG002
        """No lock."""
        return contextlib.nullcontext(False)

    def merge_small(self, shard_rows: int) -> None:
        """Nothing."""
