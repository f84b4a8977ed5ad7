"""Pictures that are read, hashed and decoded at once: from storage, where to read one twice would cost twice."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cache.store import FeatureStore
from featurize.extract.outcome import Missing


class Stored(Protocol):
    """A network with a store for the rows of each view."""

    stores: list[FeatureStore]


@dataclass(frozen=True)
class Unread(Missing):
    """Pictures that nobody has read yet: each may turn out to be a copy of another, or to have its rows in `stores`."""

    stores: list[FeatureStore] = field(default_factory=list)
    _taken: set[bytes] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def at(cls, positions: np.ndarray, parts: Sequence[Stored]) -> "Unread":
        """Those at `positions` (m,), to be computed by all networks of `parts`, in all views."""
        lacking = np.ones((len(positions), len(parts), len(parts[0].stores)), bool)
        # stores of its own: those of the parts are in use by the thread that commits
        stores = [FeatureStore(os.path.dirname(each.folder), each.spec) for part in parts for each in part.stores]
        return cls(positions, {}, lacking, stores)

    def wants(self, digest: bytes) -> bool:
        """Whether this picture is the first of its content, and has no row yet.

        One that has some rows and lacks others is read again for these: no network computes a row twice.
        """
        key = np.frombuffer(digest, np.uint8)[None]
        with self._lock:
            if digest in self._taken:
                return False
            self._taken.add(digest)
            return not any(store.contains(key)[0] for store in self.stores)
