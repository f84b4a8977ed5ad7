"""What every extractor offers: images in, feature rows out, the cache consulted first."""

import functools
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np

from cache.digests import DigestTable
from cache.errors import UserError
from cache.joined_rows import Spec, Store
from cache.shard import DamagedShardError
from featurize.backbones.tail import Tail
from featurize.extract.hashing import Progress
from featurize.extract.outcome import Outcome
from featurize.machine.meter import Meter, metering
from featurize.pictures.sources import Source

log = logging.getLogger("bottleneck")

Metered = TypeVar("Metered", bound="HasMeter")
Asked = ParamSpec("Asked")
Result = TypeVar("Result", Outcome, tuple[Outcome, np.ndarray])


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
            outcome = self.run(sources, progress)
        except RowsMissingError as missing:
            return missing.complete(sources, progress)
        return self.read(outcome, progress)

    def read(self, outcome: Outcome, progress: Progress | None = None) -> tuple[Outcome, np.ndarray]:
        """The rows of all images that have one, as they are stored, in order, and what became of the images.

        (n, d), of several views (n, views, d). Every row is checked as it is read; a damaged shard is set aside and its
        rows are computed again, to be kept where the cache can be written.
        """
        while True:
            try:
                return outcome, self.stored(outcome.keys)
            except DamagedShardError:
                pass  # and set aside
            except KeyError:
                log.info("rows have gone from %s meanwhile: looking again", self.store.folder)
            try:
                again = self.run(outcome.sources, progress)
            except RowsMissingError as missing:
                return missing.complete(outcome.sources, progress)
            again.add_cost_of(outcome)
            outcome = again

    def stored(self, keys: np.ndarray) -> np.ndarray:
        """The rows of the images with `keys` (n, 32): (n, d), of several views (n, views, d).

        Raises `KeyError` where one is missing, `DamagedShardError` where a shard, now set aside, fails its checksums.
        """
        rows = np.empty(0)
        for view, store in enumerate(self.stores):
            try:
                found = store.read(keys)
            except DamagedShardError as error:
                store.set_aside(error)
                raise
            if len(self.stores) == 1 or not len(keys):
                return found
            if not view:
                rows = np.empty((len(keys), len(self.stores), *found.shape[1:]), found.dtype)
            rows[:, view] = found
        return rows


class RowsMissingError(UserError):
    """Rows are missing where none can be stored. `complete` can still compute them for once, called as `features`."""

    def __init__(self, message: str, complete: Callable[..., tuple[Outcome, np.ndarray]]):
        super().__init__(message, complete)  # as they came, so that it can be pickled
        self.message = message
        self.complete = complete

    def __str__(self) -> str:
        return self.message


def silent(stage: str, done: int, total: int) -> None:
    """The progress of what nobody watches."""


class HasMeter(Protocol):
    """What counts its own passes over all runs, in `meter`."""

    meter: Meter


def metered(run: Callable[Concatenate[Metered, Asked], Result]) -> Callable[Concatenate[Metered, Asked], Result]:
    """`run`, a method, with its cost noted in the outcome that it gives."""

    @functools.wraps(run)
    def noting(self: Metered, *args: Asked.args, **options: Asked.kwargs) -> Result:
        start = time.perf_counter()
        with metering(self.meter), metering(Meter()) as meter:
            result = run(self, *args, **options)
        outcome = result if isinstance(result, Outcome) else result[0]
        outcome.forward_passes, outcome.startup_seconds = meter.forward_passes, meter.startup_seconds
        outcome.seconds = time.perf_counter() - start - meter.startup_seconds
        return result

    return noting
