"""Computed rows that wait for their commit: of each view of the pictures, and the signatures of the pictures."""

import time
from collections.abc import Iterable, Sequence

import numpy as np

from cache.store import FeatureStore
from featurize.extract.outcome import Outcome


class PendingRows:
    """The rows of one run, in the same arrays from commit to commit, so that memory does not grow."""

    def __init__(self, stores: Sequence[FeatureStore], signatures: FeatureStore, outcome: Outcome, shard_rows: int):
        self._stores = stores
        self._signature_store = signatures
        self._outcome = outcome
        self._shard_rows = shard_rows
        self._of_views = [_Rows() for _ in stores]
        self._signatures = _Rows()

    def __len__(self) -> int:
        """Pictures that wait."""
        return len(self._signatures.positions)

    def add(self, position: int, signature: np.ndarray, views: Iterable[int], features: np.ndarray, most: int) -> None:
        """Take in the rows `features` of some `views` of the image at `position`, among `most` images at once."""
        self._signatures.add(position, signature, most)
        for view, values in zip(views, features, strict=True):
            self._of_views[view].add(position, values, most)

    def commit(self, provenance: dict[str, str]) -> None:
        """Store all rows, after the signatures: whoever finds a row finds its signature."""
        provenance = provenance | {"written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        keys = self._outcome.digests.keys(self._signatures.positions)
        self._signature_store.commit(self._signatures.values, keys, provenance)
        self._signatures.positions.clear()
        for view, (store, rows) in enumerate(zip(self._stores, self._of_views, strict=True)):
            if rows.positions:
                store.commit(rows.values, self._outcome.digests.keys(rows.positions), provenance, self._shard_rows)
                self._outcome.new[rows.positions, view] = True
                rows.positions.clear()


class _Rows:
    """Rows (n, ...) and the positions of their images."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self._array = np.empty((0, 0))

    def add(self, position: int, values: np.ndarray, most: int) -> None:
        if not len(self._array):
            self._array = np.empty((most, *values.shape), values.dtype)
        self._array[len(self.positions)] = values
        self.positions.append(position)

    @property
    def values(self) -> np.ndarray:
        return self._array[: len(self.positions)]
