"""Computed rows that wait for their commit: of each network and view of the pictures, and the pictures' signatures."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

import numpy as np

from cache.digest_table import DigestTable
from cache.row_key import FeatureSpec
from cache.store import SHARD_BYTES, FeatureStore
from featurize.engines.engine import Engine
from featurize.extract.forward import Pace, Row
from featurize.extract.outcome import Missing, Outcome
from featurize.machine.disk import require_room

MANY = 32  # pictures from which on two runs do not compute side by side what may be the same
WAITING = "another run is computing features of this spec: waiting for it"


class StoredNetwork(Protocol):
    """A network with a store for the rows of each view, and one for the signatures of the pictures."""

    spec: FeatureSpec
    stores: list[FeatureStore]
    signatures: FeatureStore
    shard_rows: int
    table: DigestTable

    @property
    def engine(self) -> Engine:
        """The compiled network."""


@contextmanager
def alone(parts: Sequence[StoredNetwork], missing: Missing) -> Iterator[None]:
    """Hold the lock of each network whose rows many contents lack, for the body.

    Always in the same order: else two runs could wait for each other.
    """
    counts = missing.lacking.any(axis=2).sum(axis=0)
    many = [part for part, count in zip(parts, counts, strict=True) if count > MANY]
    with ExitStack() as locks:
        for part in sorted(many, key=lambda part: part.spec.folder):
            locks.enter_context(part.stores[0].lock(".run", WAITING))
        yield


class PendingRows:
    """The rows that `missing` pictures of one run lack by each network of `parts`.

    They lie in the same arrays from commit to commit, so that memory does not grow.
    """

    def __init__(self, parts: Sequence[StoredNetwork], cache_dir: str, outcome: Outcome, missing: Missing):
        self._parts = parts
        self._cache_dir = cache_dir
        self._outcome = outcome
        self._lacking = missing.lacking
        self._signature_store = parts[0].signatures
        self._signatures = _Rows()
        self._of_parts = [[_Rows() for _ in part.stores] for part in parts]

    @property
    def _most(self) -> int:
        """Rows of each network that wait in memory at once: those of all networks together fill one shard at most."""
        row_bytes = sum(part.spec.row_dtype.itemsize * part.engine.dimension for part in self._parts)
        return min(self._parts[0].shard_rows, max(1, SHARD_BYTES // row_bytes))

    @property
    def pace(self) -> Pace:
        """How far the networks may run ahead of the commits."""
        return Pace.within(self._most, max(part.engine.batch for part in self._parts), self._outcome.views)

    def require_room(self) -> None:
        """Raise UserError where the disk has too little room for all missing rows."""
        needed = 0
        for number, part in enumerate(self._parts):
            folder = part.stores[0].folder if self._outcome.views == 1 else self._cache_dir
            count, itemsize = int(self._lacking[:, number].sum()), part.spec.row_dtype.itemsize
            needed = require_room(folder, count, part.engine.row_shape, itemsize, needed)

    def add(self, position: int, row: Row) -> None:
        """Take in the rows of the image at `position`, and commit all where they are as many as `pace` says."""
        most = max(1, self._most // self._outcome.views)
        self._signatures.add(position, row.signature, most)
        for number, features in enumerate(row.features):
            if features is not None:
                views = np.flatnonzero(self._lacking[row.position, number])
                for view, values in zip(views, features, strict=True):
                    self._of_parts[number][view].add(position, values, most)
        if len(self._signatures.positions) == self.pace.commit:
            self.commit()

    def commit(self) -> None:
        """Store all rows, after the signatures: whoever finds a row finds its signature."""
        if not self._signatures.positions:
            return
        written = {"written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        digests = self._outcome.digests  # those of images that failed by one network are still there
        keys = digests.keys(self._signatures.positions)
        self._signature_store.commit(self._signatures.values, keys, self._parts[0].engine.provenance | written)
        self._signatures.positions.clear()
        for part, of_views in zip(self._parts, self._of_parts, strict=True):
            provenance = part.engine.provenance | written
            for view, (store, rows) in enumerate(zip(part.stores, of_views, strict=True)):
                if rows.positions:
                    store.commit(rows.values, digests.keys(rows.positions), provenance, part.shard_rows)
                    self._outcome.new[rows.positions, view] = True
                    rows.positions.clear()
        self._outcome.record_read(self._parts[0].table)


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
