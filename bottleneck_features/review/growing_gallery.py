"""The pictures of a folder that have rows by now: one may begin to label while the others are computed."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import featurize.machine.memory
from cache.errors import log
from cache.row_key import DIGEST_BYTES
from classify.data.duplicates import near_duplicates
from classify.data.split import Indices
from classify.heads.numerics import Floats, unit_rows
from classify.labelling.ask import Pool
from featurize.extract.extractor import Extractor
from featurize.extract.missing_signatures import signatures_of
from featurize.extract.outcome import Progress

FIRST = 64  # pictures that are waited for
MOST_AT_ONCE = 1024
MOST = 100_000  # pictures of one session: a page that learns from more at every label answers too late
COPIES = 12  # bytes of each number of a row: rows in float32, their copy as others come, and what a head makes of them
GROWTH = 1.3  # from one `Pictures` to the next: each takes a look at all of its pictures


@dataclass(frozen=True, eq=False)
class Pictures:
    """n pictures with rows. A picture keeps its number when others come.

    names: paths relative to the folder, with slashes. rows: (n, d) float32 of length 1. digests: (n, 32) uint8.
    groups: (n,), equal numbers for near-duplicates.
    """

    names: list[str]
    rows: Floats
    digests: np.ndarray
    groups: Indices
    pool: Pool

    @classmethod
    def none(cls) -> "Pictures":
        """Before the first ones are there."""
        nothing = np.empty(0, np.intp)
        rows = np.empty((0, 1), np.float32)
        return cls([], rows, np.empty((0, DIGEST_BYTES), np.uint8), nothing, Pool(rows, nothing, nothing))


class Gallery:
    """The pictures at `paths` (n,) below the folder `root`, in a random order that is always the same.

    The first ones are then of all kinds, however the folder is sorted. failures: path -> reason. done: pictures that
    were looked at, of `total`. Of more than `MOST`, or than fit into memory, the first so many are taken, as is
    announced: a sample of all.
    """

    def __init__(self, root: str, paths: Sequence[str], extractor: Extractor):
        self.root = root
        self.total = len(paths)
        self.done = 0
        self.failures: dict[str, str] = {}
        self.pictures = Pictures.none()
        order = np.random.default_rng(0).permutation(len(paths))
        self._paths = [paths[number] for number in order]
        self._extractor = extractor
        self._kept: list[str] = []
        self._rows: list[np.ndarray] = []
        self._digests: list[np.ndarray] = []

    def path_of(self, number: int) -> str:
        """The file of a picture by its number. Raises IndexError."""
        if not 0 <= number < len(self.pictures.names):
            raise IndexError(number)
        return self._kept[number]

    def fill(self, changed: Callable[[], None], stopped: threading.Event, progress: Progress | None = None) -> None:
        """Compute what the cache lacks, and call `changed` each time that there are more `pictures`."""
        size = FIRST
        while self.done < self.total and not stopped.is_set():
            some = self._paths[self.done : self.done + size]
            outcome, rows = self._extractor.features(some)
            if len(kept := outcome.succeeded):
                if not self._rows:
                    self._limit(rows.shape[-1])
                self._kept += [some[position] for position in kept]
                self._rows.append(unit_rows(np.asarray(rows, np.float32)))
                self._digests.append(outcome.keys)
            self.failures |= {failure.path: failure.reason for failure in outcome.failures}
            self.done += len(some)
            size = min(2 * size, MOST_AT_ONCE)
            if progress:
                progress("features", self.done, self.total)
            if self._kept and (self.done == self.total or len(self._kept) >= GROWTH * len(self.pictures.names)):
                self.pictures = self._gathered()
                changed()

    def _limit(self, width: int) -> None:
        """Take no more pictures with rows (width,) than a session can have."""
        most = max(FIRST, min(MOST, featurize.machine.memory.free_memory() // (COPIES * width)))
        if self.total > most:
            log.warning("%d pictures of %d are shown, drawn at random: always the same ones", most, self.total)
            self.total, self._paths = most, self._paths[:most]

    def _gathered(self) -> Pictures:
        rows, digests = np.concatenate(self._rows), np.concatenate(self._digests)
        self._rows, self._digests = [rows], [digests]
        signatures = signatures_of(self._extractor.cache_dir, self._kept, digests)
        groups = near_duplicates(digests, signatures)
        return Pictures([name_of(path, self.root) for path in self._kept], rows, digests, groups, Pool.of(rows, groups))


def name_of(path: str, root: str) -> str:
    """A path relative to the folder `root`, with slashes: what stands in a table of labels."""
    return os.path.relpath(path, root).replace(os.sep, "/")
