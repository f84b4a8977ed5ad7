"""The features of several backbones in one row: each part's rows are cached as if it were alone.

One decode of an image serves all networks, see `network_extractor`.
"""

import os
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from cache.joined_rows import JoinedSpec, JoinedStore, unit_length
from cache.store import SHARD_ROWS
from featurize.extract.network_extractor import ComputingExtractor, NetworkExtractor
from featurize.resolve import Resolved


def open_parts(parts: Sequence[Resolved], cache_dir: str, shard_rows: int = SHARD_ROWS) -> ComputingExtractor:
    """The extractor of one spec, or of several joined."""
    extractors = [NetworkExtractor.open(part, cache_dir, shard_rows) for part in parts]
    return extractors[0] if len(extractors) == 1 else JoinedExtractor(extractors)


class JoinedExtractor(ComputingExtractor):
    """Several extractors. Their rows (d,), each scaled to length 1, are concatenated.

    An image has features where every part has a row. All parts have the same views and the same cache.
    """

    def __init__(self, parts: Sequence[NetworkExtractor]):
        super().__init__()
        self._parts = parts
        self.spec = JoinedSpec(tuple(part.spec for part in parts))
        self.stores = [JoinedStore(list(of_view)) for of_view in zip(*(part.stores for part in parts), strict=True)]
        self.table, self.cache_dir = parts[0].table, parts[0].cache_dir
        self.when_missing = next((part.when_missing for part in parts if part.when_missing != "store"), "store")

    @property
    def parts(self) -> Sequence[NetworkExtractor]:
        """The extractors of the parts."""
        return self._parts

    def joined(self, rows: list[np.ndarray]) -> np.ndarray:
        """Each scaled to length 1, side by side."""
        return np.concatenate([unit_length(of_part) for of_part in rows], axis=-1)

    def record(self) -> dict[str, Any]:
        """As `Extractor.record`; `weights` is a list, in the order of the parts."""
        return {
            "spec": self.spec.to_json(),
            "fingerprint": self.spec.fingerprint,
            "weights": [part.record()["weights"] for part in self.parts],
            "cache_dir": os.path.abspath(self.cache_dir),
        }

    def tail(self) -> NoReturn:
        """Rows are no maps: raises TypeError."""
        raise TypeError(f"{self.spec.backbone} has no layers above its rows")
