"""The features of several backbones in one row: each part is computed and cached as if it were alone."""

import os
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from cache.joined_rows import JoinedSpec, JoinedStore, unit_length
from cache.store import SHARD_ROWS
from featurize.extract.extractor import Extractor
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.outcome import Outcome, Progress
from featurize.pictures.sources import Source
from featurize.resolve import Resolved

CHANGED = "it has changed while its features were computed: run again"


def open_parts(parts: Sequence[Resolved], cache_dir: str, shard_rows: int = SHARD_ROWS) -> Extractor:
    """The extractor of one spec, or of several joined."""
    extractors = [NetworkExtractor.open(part, cache_dir, shard_rows) for part in parts]
    return extractors[0] if len(extractors) == 1 else JoinedExtractor(extractors)


class JoinedExtractor(Extractor):
    """Several extractors. Their rows (d,), each scaled to length 1, are concatenated.

    An image has features where every part has a row. All parts have the same views and the same cache.
    """

    def __init__(self, parts: Sequence[NetworkExtractor]):
        self.parts = parts
        self.spec = JoinedSpec(tuple(part.spec for part in parts))
        self.stores = [JoinedStore(list(of_view)) for of_view in zip(*(part.stores for part in parts), strict=True)]
        self.table, self.cache_dir = parts[0].table, parts[0].cache_dir

    @property
    def folders(self) -> list[str]:
        """Those of the parts."""
        return [folder for part in self.parts for folder in part.folders]

    @property
    def forward_passes(self) -> int:
        """Those of all parts together."""
        return sum(part.forward_passes for part in self.parts)

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

    def run(self, sources: Sequence[Source], progress: Progress | None = None) -> Outcome:
        """As `Extractor.run`, part after part."""
        return _merged([part.run(sources, _named(part, progress)) for part in self.parts])

    def complete(self, sources: Sequence[Source], progress: Progress | None = None) -> tuple[Outcome, np.ndarray]:
        """As `Extractor.complete`."""
        return _joined([part.complete(sources, _named(part, progress)) for part in self.parts])

    def without_cache(self, sources: Sequence[Source]) -> tuple[Outcome, np.ndarray]:
        """As `Extractor.without_cache`."""
        return _joined([part.without_cache(sources) for part in self.parts])


def _merged(parts: Sequence[Outcome]) -> Outcome:
    """The outcomes of the same images in all parts as one, with the cost of all. It is the first one, changed."""
    whole = parts[0]
    for part in parts[1:]:
        whole.add(part)
        for position, reason in part.reasons.items():
            if position not in whole.reasons:
                whole.fail(position, reason)
        known = whole.digests.known
        changed = (whole.digests.keys(known) != part.digests.keys(known)).any(axis=1)
        for position in known[changed].tolist():
            whole.fail(position, CHANGED)
    whole.new[[*whole.reasons]] = False  # what failed in one part counts as failed, not as computed
    return whole


def _joined(parts: Sequence[tuple[Outcome, np.ndarray]]) -> tuple[Outcome, np.ndarray]:
    """Joined rows (n, d), of several views (n, views, d), of the images that have a row in every part."""
    known = [outcome.digests.known for outcome, _ in parts]
    whole = _merged([outcome for outcome, _ in parts])
    kept = whole.digests.known
    if not len(kept):
        return whole, np.empty((0, 0), np.float32)
    rows = [features[np.searchsorted(of_part, kept)] for of_part, (_, features) in zip(known, parts, strict=True)]
    return whole, np.concatenate([unit_length(of_part) for of_part in rows], axis=-1)


def _named(part: NetworkExtractor, progress: Progress | None) -> Progress | None:
    """`progress`, its stages named after the part."""
    if progress is None:
        return None
    return lambda stage, done, total: progress(f"{part.spec.backbone}: {stage}", done, total)
