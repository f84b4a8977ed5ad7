"""Pictures that are read, hashed and decoded at once: from storage, where to read one twice would cost twice."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cache.store import FeatureStore
from featurize.extract.outcome import Missing, Outcome


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
    def in_run(cls, outcome: Outcome, parts: Sequence[Stored]) -> "Unread":
        """Those of an outcome, to be computed by all networks of `parts`."""
        first = np.array(sorted(outcome.unread), np.int64)
        lacking = np.ones((len(first), len(parts), outcome.views), bool)
        return cls(first, {}, lacking, [store for part in parts for store in part.stores])

    def wants(self, digest: bytes) -> bool:
        """Whether this picture is the first of its content, and lacks a row."""
        key = np.frombuffer(digest, np.uint8)[None]
        with self._lock:
            if digest in self._taken:
                return False
            self._taken.add(digest)
            return not all(store.contains(key)[0] for store in self.stores)
