"""A cache that cannot be written: a shared folder, a container. Its rows are served; what is missing is not kept."""

import logging
import os
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NoReturn

import numpy as np

from cache.digests import DigestTable, Stamp
from cache.shard import DamagedShardError
from featurize.extract import SHARD_ROWS, NetworkExtractor
from featurize.extraction import Extraction, Missing
from featurize.extractor import RowsMissingError, silent
from featurize.forward import Row
from featurize.hashing import Progress
from featurize.resolve import Resolved
from featurize.sources import Source

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


class ReadOnlyTable(DigestTable):
    """A table of digests that is only looked up."""

    def record(self, entries: Iterable[tuple[str, Stamp, bytes]]) -> None:
        """Nothing: the next run hashes these files again."""


class ReadOnlyExtractor(NetworkExtractor):
    """The rows of a cache that cannot be written. Nothing is: no rows, no locks, no digests, no converted graph."""

    def __init__(self, resolved: Resolved, cache_dir: str, shard_rows: int = SHARD_ROWS):
        super().__init__(resolved, cache_dir, shard_rows)
        self.table = open_table(cache_dir)
        self._said = False

    def run(self, sources: Sequence[Source], progress: Progress | None = None) -> Extraction:
        """Look up all rows; images that cannot be decoded are failures.

        Raises RowsMissingError where others have no row, before a picture passes the network.
        """
        before = self._meters()
        extraction = self._extraction(sources, progress or silent)
        missing = self._missing(extraction, extraction.digests.known)

        def refuse() -> NoReturn:
            raise RowsMissingError(self.refusal(len(missing), len(sources)), self.complete)

        if len(missing):
            failed: deque[Row] = deque()
            lacking = [sources[position] for position in missing.first]
            for _ in self._forward(lacking, missing.lacking, refuse, failed):
                pass
            for row in failed:
                self._fail(extraction, missing, row.position, row.reason)
        return self._metered(extraction, before)

    def refusal(self, missing: int, images: int) -> str:
        """What is said where rows are missing."""
        return (
            f"{missing} of {images} images lack rows in {self.cache_dir}, which cannot be written: "
            "name another folder with --cache-dir (cache_dir=)"
        )

    def complete(self, sources: Sequence[Source], progress: Progress | None = None) -> tuple[Extraction, np.ndarray]:
        """As `features`, but what is missing is computed and not kept, which is said once.

        An image that lacks the row of one view is computed in all of them.
        """
        before = self._meters()
        extraction = self._extraction(sources, progress or silent)
        fresh: dict[bytes, np.ndarray] = {}
        while True:
            self._compute_missing(extraction, fresh)
            keys = extraction.keys
            stored = np.array([bytes(key) not in fresh for key in keys], bool)
            try:
                rows = self.stored(keys[stored])
            except DamagedShardError:
                pass  # and set aside
            except KeyError:
                log.info("rows have gone from %s meanwhile: looking again", self.store.folder)
            else:
                break
        if fresh:
            of_cache = iter(rows)
            rows = np.stack([fresh[bytes(key)] if bytes(key) in fresh else next(of_cache) for key in keys])
        return self._metered(extraction, before), rows

    def _compute_missing(self, extraction: Extraction, fresh: dict[bytes, np.ndarray]) -> None:
        """Add to `fresh` the rows of each content that has none, there or in the cache; failures are noted."""
        while True:
            known = extraction.digests.known
            lacking = [bytes(key) not in fresh for key in extraction.digests.keys(known)]
            missing = self._missing(extraction, known[np.array(lacking, bool)])
            if not len(missing):
                return
            if not self._said:
                log.info("%s cannot be written: rows that are missing there are computed and not kept", self.cache_dir)
                self._said = True
            computed, rows = self.without_cache([extraction.sources[position] for position in missing.first])
            fresh.update(zip(map(bytes, computed.keys), rows, strict=True))
            for number, position in enumerate(missing.first.tolist()):
                digest = computed.digests[number]
                if digest is None:
                    self._fail(extraction, missing, number, computed.reasons[number])
                else:  # perhaps another one than before: then its former copies are missing still
                    extraction.digests[position] = digest
                    extraction.note(position, computed.notes.get(number, ""), computed.changed.get(number, ""))
                    extraction.new[position] = True

    @staticmethod
    def _fail(extraction: Extraction, missing: Missing, number: int, reason: str) -> None:
        position = int(missing.first[number])
        for failed in (position, *missing.copies.get(position, [])):
            extraction.fail(failed, reason)
