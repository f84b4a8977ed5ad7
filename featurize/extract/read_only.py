"""A cache that cannot be written: a shared folder, a container. Its rows are served; what is missing is not kept."""

import logging
import os
from collections import deque
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from cache.digests import DigestTable, ReadOnlyTable
from cache.store import SHARD_ROWS
from featurize.extract.extractor import RowsMissingError, metered, silent
from featurize.extract.forward import Row
from featurize.extract.hashing import Progress
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.outcome import Outcome
from featurize.pictures.sources import Source
from featurize.resolve import Resolved

log = logging.getLogger("bottleneck")


def open_table(cache_dir: str) -> DigestTable:
    """The table of digests in `cache_dir`; where it cannot be written, one that nothing is recorded in."""
    table = DigestTable(cache_dir)
    return table if can_be_written(cache_dir) and can_be_written(table.path) else ReadOnlyTable(cache_dir)


def open_extractor(resolved: Resolved, cache_dir: str, shard_rows: int = SHARD_ROWS) -> NetworkExtractor:
    """The extractor of a spec; a `ReadOnlyExtractor` where the cache cannot be written."""
    extractor = NetworkExtractor(resolved, cache_dir, shard_rows)
    locks = [os.path.join(folder, f"{name}.lock") for folder in extractor.folders for name in (".run", ".commit")]
    places = [cache_dir, *extractor.folders, *locks]
    return extractor if all(map(can_be_written, places)) else ReadOnlyExtractor(resolved, cache_dir, shard_rows)


def can_be_written(path: str) -> bool:
    """Whether the file or folder at `path` may be written, or created where it is not there yet."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


class ReadOnlyExtractor(NetworkExtractor):
    """The rows of a cache that cannot be written. Nothing is: no rows, no locks, no digests, no converted graph."""

    def __init__(self, resolved: Resolved, cache_dir: str, shard_rows: int = SHARD_ROWS):
        super().__init__(resolved, cache_dir, shard_rows)
        self.table = open_table(cache_dir)
        self._said = False

    @metered
    def run(self, sources: Sequence[Source], progress: Progress | None = None) -> Outcome:
        """Look up all rows; images that cannot be decoded are failures.

        Raises RowsMissingError where others have no row, before a picture passes the network.
        """
        outcome = self._hashed(sources, self.table, progress or silent)

        def refuse() -> NoReturn:
            raise RowsMissingError(self.refusal(len(missing), len(sources)), self.complete)

        while missing := self._missing(outcome, outcome.digests.known):
            failed: deque[Row] = deque()
            lacking = [sources[position] for position in missing.first]
            for _ in self._forward(lacking, missing.lacking, refuse, failed):
                pass
            for row in failed:
                missing.fail(outcome, row.position, row.digest, row.reason)
        return outcome

    def refusal(self, missing: int, images: int) -> str:
        """What is said where rows are missing."""
        return (
            f"{missing} of {images} images lack rows in {self.cache_dir}, which cannot be written: "
            "name another folder with --cache-dir (cache_dir=)"
        )

    @metered
    def complete(self, sources: Sequence[Source], progress: Progress | None = None) -> tuple[Outcome, np.ndarray]:
        """As `Extractor.complete`; that rows are not kept is said once."""
        outcome, rows = super().complete(sources, progress)
        if outcome.forward_passes and not self._said:
            log.info("%s cannot be written: rows that are missing there are computed and not kept", self.cache_dir)
            self._said = True
        return outcome, rows
