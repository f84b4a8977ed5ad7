"""What every extractor offers: images in, feature rows out, the cache consulted first."""

import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from cache.digest_table import DigestTable
from cache.errors import UserError
from cache.joined_rows import Spec, Store
from cache.shard_file import DamagedShardError
from featurize.backbones.tail import Tail
from featurize.extract.outcome import Outcome, Progress
from featurize.pictures.find_images import Failure
from featurize.pictures.sources import Source

log = logging.getLogger("bottleneck")

SAME_COSINE = 0.99999  # rounding of another batch shape or library version stays far above

# What becomes of images without a row in the cache: it is computed and stored; where the cache cannot be written, `run`
# refuses and `complete` computes it for once; or nothing may pass a network, and both refuse.
WhenMissing = Literal["store", "compute", "refuse"]


class RowsMissingError(UserError):
    """Rows are missing where none can be stored."""


class Extractor(ABC):
    """Rows of a spec: of one network (`network_extractor`) or of several (`joined_extractor`).

    An image has a row for each of its views, in a store of its own among `stores`. Its features are (d,), of several
    views (views, d).
    """

    spec: Spec
    stores: Sequence[Store]
    table: DigestTable
    cache_dir: str

    @property
    def store(self) -> Store:
        """That of the first view, as a rule the picture itself."""
        return self.stores[0]

    @property
    @abstractmethod
    def folders(self) -> list[str]:
        """All folders of the cache that rows are in."""

    @property
    @abstractmethod
    def forward_passes(self) -> int:
        """Views of pictures that have gone through a network so far."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What a model's record keeps to find the same computation and the same rows again."""

    @abstractmethod
    def tail(self) -> Tail:
        """What lies above the maps in the network. Raises TypeError where rows never are maps."""

    @abstractmethod
    def run(self, sources: Sequence[Source], progress: Progress | None = None) -> Outcome:
        """Compute and store the rows that `sources` lack in the cache. A bad image is a failure, never the end.

        Whatever ends the run early, what is computed by then is committed first; what kills it costs the rows of one
        shard at most.
        Raises UserError where the disk is too small, RowsMissingError where rows are missing in a cache that cannot be
        written, `OSError` where that turns out later.
        """

    @abstractmethod
    def complete(self, sources: Sequence[Source], progress: Progress | None = None) -> tuple[Outcome, np.ndarray]:
        """As `features`, but nothing is written: rows that are missing in the cache are computed and not kept."""

    @abstractmethod
    def without_cache(self, sources: Sequence[Source]) -> tuple[Outcome, np.ndarray]:
        """As `features`, from the network alone: rows are neither looked up nor stored."""

    def features(self, sources: Sequence[Source], progress: Progress | None = None) -> tuple[Outcome, np.ndarray]:
        """`run`, then `read`; rows that are missing in a cache that cannot be written are computed and not kept."""
        try:
            return self.read(self.run(sources, progress), progress)
        except RowsMissingError:
            return self.complete(sources, progress)

    def read(self, outcome: Outcome, progress: Progress | None = None) -> tuple[Outcome, np.ndarray]:
        """The rows of all images that have one, as they are stored, in order, and what became of the images.

        (n, d), of several views (n, views, d). Every row is checked as it is read; a damaged shard is set aside and its
        rows are computed again, to be kept where the cache can be written.
        """
        while (rows := self.stored(outcome.keys)) is None:
            try:
                again = self.run(outcome.sources, progress)
            except RowsMissingError:
                return self.complete(outcome.sources, progress)
            again.add(outcome)
            outcome = again
        return outcome, rows

    def stored(self, keys: np.ndarray) -> np.ndarray | None:
        """The rows of the images with `keys` (n, 32): (n, d), of several views (n, views, d).

        None where some are in a damaged shard, which is set aside, or have gone meanwhile, as is announced.
        """
        rows = np.empty(0)
        for view, store in enumerate(self.stores):
            try:
                found = store.read(keys)
            except DamagedShardError as error:
                store.set_aside(error)
                return None
            except KeyError:
                log.info("rows have gone from %s meanwhile: looking again", self.store.folder)
                return None
            if len(self.stores) == 1 or not len(keys):
                return found
            if not view:
                rows = np.empty((len(keys), len(self.stores), *found.shape[1:]), found.dtype)
            rows[:, view] = found
        return rows

    def report(self, outcome: Outcome, failures: list[Failure], started: float) -> dict[str, Any]:
        """What became of images, as JSON types. `failures`: of those never looked at; `started`: seconds before."""
        everything = [*failures, *outcome.failures]
        images = len(outcome.digests) + len(failures)
        return {
            "images": images,
            "computed": outcome.computed,
            "cached": images - outcome.computed - len(everything),
            "failed": len(everything),
            "forward_passes": outcome.forward_passes,
            "seconds": outcome.seconds,
            "startup_seconds": outcome.startup_seconds + started,
            "failures": [asdict(failure) for failure in everything],
            "notes": [
                {"path": outcome.name(position), "note": note} for position, note in sorted(outcome.notes.items())
            ],
            "fingerprint": self.spec.fingerprint,
            "features": self.store.folder,
        }

    def difference_to_network(self, paths: Sequence[str], sample: int, seed: int = 0) -> tuple[int, float, float]:
        """Compute up to `sample` of the cached images anew: (how many, largest difference, smallest cosine)."""
        outcome = Outcome(paths)
        outcome.take_digests(self.table)
        known = outcome.digests.known
        cached = known[self.store.contains(outcome.keys)].tolist()
        chosen = [paths[position] for position in random.Random(seed).sample(cached, min(sample, len(cached)))]
        if not chosen:
            return 0, 0.0, 1.0
        before = self.features(chosen)[1].astype(np.float32).reshape(len(chosen), -1)
        after = self.without_cache(chosen)[1].astype(np.float32).reshape(len(chosen), -1)
        norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        cosines = (before * after).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)
        cosines[(before == after).all(axis=1)] = 1  # rows of zeros have no direction
        return len(chosen), float(np.abs(before - after).max()), float(cosines.min())
