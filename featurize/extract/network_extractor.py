"""Images in, feature rows out, the cache consulted first: every view of an image passes the network once.

digests of all images -> those that lack a row -> decoded once, computed in threads -> committed shards
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NoReturn

import numpy as np

from cache.digest_table import DigestTable, ReadOnlyTable
from cache.errors import UserError
from cache.row_key import ORIGINAL_VIEW, OWN_MODEL, FeatureSpec
from cache.signatures import signature_store
from cache.store import SHARD_BYTES, SHARD_ROWS, FeatureStore
from featurize.backbones.tail import Tail
from featurize.decoding.decode import DECODER, decode_views
from featurize.engines.choose import shared_engine
from featurize.engines.engine import Cost, Engine, Function
from featurize.extract.decoder_takeover import take_over
from featurize.extract.extractor import Extractor, RowsMissingError, WhenMissing
from featurize.extract.former_default import mention_former_default
from featurize.extract.forward import Decoder, Pace, Row, forward
from featurize.extract.outcome import Missing, Outcome, Progress
from featurize.extract.pending_rows import PendingRows
from featurize.extract.writable import can_be_written, open_table
from featurize.machine.disk import require_room
from featurize.pictures.sources import Source
from featurize.pictures.unusual_pictures import announce_changed, announce_notes
from featurize.remembered_weights import Remembered, remember
from featurize.reopen import check_weights
from featurize.resolve import Resolved

log = logging.getLogger("bottleneck")

MANY = 32  # pictures from which on two runs do not compute side by side what may be the same
WAITING = "another run is computing features of this spec: waiting for it"


class NetworkExtractor(Extractor):
    """One spec, its rows in the cache, and its engine, which is built when the first image needs it.

    An image has a row for each of `resolved.views`. `when_missing` says what is done about rows that the cache lacks.
    """

    spec: FeatureSpec
    stores: list[FeatureStore]

    def __init__(
        self,
        resolved: Resolved,
        cache_dir: str,
        shard_rows: int = SHARD_ROWS,
        when_missing: WhenMissing = "store",
    ):
        if shard_rows < 1:
            raise UserError(f"shard rows {shard_rows}: give a number of 1 or more")
        self.spec = resolved.spec
        self.stores = [FeatureStore(cache_dir, replace(resolved.spec, view=view)) for view in resolved.views]
        self.table = open_table(cache_dir) if when_missing != "store" else DigestTable(cache_dir)
        self.cache_dir = cache_dir
        self.when_missing = when_missing
        self._resolved = resolved
        self._shard_rows = shard_rows
        self._announced = False
        self._engine: Engine | None = None
        self._spent = Cost()

    @classmethod
    def open(cls, resolved: Resolved, cache_dir: str, shard_rows: int = SHARD_ROWS) -> "NetworkExtractor":
        """The extractor of a spec, which stores what it computes where the cache can be written."""
        extractor = cls(resolved, cache_dir, shard_rows)
        locks = [os.path.join(folder, f"{name}.lock") for folder in extractor.folders for name in (".run", ".commit")]
        if all(map(can_be_written, [cache_dir, *extractor.folders, *locks])):
            return extractor
        return cls(resolved, cache_dir, shard_rows, "compute")

    def __getstate__(self) -> dict[str, Any]:
        """A copy has an engine of its own, and counts for itself."""
        return self.__dict__ | {"_engine": None, "_spent": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_spent": Cost()}

    @property
    def folders(self) -> list[str]:
        """Those of the stores."""
        return [store.folder for store in self.stores]

    def record(self) -> dict[str, Any]:
        """As `Extractor.record`."""
        return {
            "spec": self.spec.to_json(),
            "fingerprint": self.spec.fingerprint,
            "weights": asdict(self._resolved.weights),
            "cache_dir": os.path.abspath(self.cache_dir),
        }

    def tail(self) -> Tail:
        """As `Extractor.tail`, where the rows are maps."""
        return Tail.of(self.spec, self._resolved.weights)

    def run(self, sources: Sequence[Source], progress: Progress | None = None) -> Outcome:
        """As `Extractor.run`."""
        with self._outcome(sources) as (outcome, cost):
            outcome.take_digests(self.table, progress)
            missing = self._missing(outcome, outcome.digests.known)
            if self.when_missing != "store":
                self._refuse(outcome, missing, cost)
                return outcome
            try:
                mention_former_default(self.spec, self.cache_dir, outcome.keys)
                with self.stores[0].lock(".run", WAITING) if len(missing) > MANY else nullcontext():
                    missing = self._missing(outcome, missing.positions)  # another run may have computed some by now
                    if missing and self._take_over(outcome, missing, progress):
                        missing = self._missing(outcome, missing.positions)
                    while missing:
                        missing = self._missing(outcome, self._store(outcome, missing, cost, progress))
            except KeyboardInterrupt as interruption:
                interruption.add_note(f"{outcome.new.sum()} new rows are kept, the next run goes on from there")
                raise
            return outcome

    def complete(self, sources: Sequence[Source], progress: Progress | None = None) -> tuple[Outcome, np.ndarray]:
        """As `Extractor.complete`. An image that lacks the row of one view is computed in all of them."""
        if self.when_missing == "refuse":
            raise UserError(f"rows in {self.store.folder} are damaged or gone: `features` computes them again")
        fresh: dict[bytes, np.ndarray] = {}
        stored: np.ndarray | None = None
        with self._outcome(sources) as (outcome, cost):
            outcome.take_digests(ReadOnlyTable(self.cache_dir), progress)
            while stored is None:
                missing = self._missing(outcome, outcome.digests.known, fresh)
                while missing:
                    missing = self._missing(outcome, self._compute_fresh(outcome, missing, cost, fresh), fresh)
                keys = outcome.keys
                in_cache = np.array([bytes(key) not in fresh for key in keys], bool)
                stored = self.stored(keys[in_cache]) if in_cache.any() or not fresh else np.empty(0)
        if outcome.forward_passes and self.when_missing == "compute" and not self._announced:
            log.info("%s cannot be written: rows that are missing there are computed and not kept", self.cache_dir)
            self._announced = True
        if not fresh:
            return outcome, stored
        of_cache = iter(stored)
        return outcome, np.stack([fresh[bytes(key)] if bytes(key) in fresh else next(of_cache) for key in keys])

    def without_cache(self, sources: Sequence[Source]) -> tuple[Outcome, np.ndarray]:
        """As `Extractor.without_cache`."""
        rows: dict[int, np.ndarray] = {}
        lacking = np.ones((len(sources), len(self.stores)), bool)
        with self._outcome(sources) as (outcome, cost):
            everything = Missing(np.arange(len(sources)), {}, lacking)

            def keep(position: int, _: Row, features: np.ndarray) -> None:
                rows[position] = self._of_views(features)

            self._compute(outcome, everything, cost, partial(self._ready, cost), keep)
            known = outcome.digests.known
            outcome.new[Missing.of(known, outcome.keys, lacking[known]).first] = True
        if not rows:
            return outcome, np.empty((0, 0), np.float32)
        return outcome, np.stack([rows[position] for position in sorted(rows)])

    @property
    def engine(self) -> Engine:
        """The compiled network, which extractors share; a forked process has its own.

        Raises UserError in a forked process where it would hang, see `featurize.engines.engine`.
        """
        engine = self._engine
        if engine is None or engine.is_inherited:
            checked = check_weights(self._resolved, self.table)
            plain = replace(checked.spec, view=ORIGINAL_VIEW, stored="float32")  # the network is the same
            one_view = replace(checked, spec=plain, views=(ORIGINAL_VIEW,))
            self._engine = engine = shared_engine(one_view, self.cache_dir)
            if self.when_missing == "store" and checked.weights.kind == "file" and checked.spec.backbone != OWN_MODEL:
                given = Remembered(checked.spec.backbone, checked.spec.weights, checked.weights.path)
                remember(self.cache_dir, given)
        return engine

    @property
    def forward_passes(self) -> int:
        """Views of pictures that have gone through the engine so far."""
        return self._spent.forward_passes

    @contextmanager
    def _outcome(self, sources: Sequence[Source]) -> Iterator[tuple[Outcome, Cost]]:
        """An outcome for the body to fill, and where it counts what it spends; its notes are announced at the end."""
        start, cost = time.perf_counter(), Cost(self._spent)
        outcome = Outcome(sources, len(self.stores))
        yield outcome, cost
        outcome.forward_passes, outcome.startup_seconds = cost.forward_passes, cost.startup_seconds
        outcome.seconds = time.perf_counter() - start - cost.startup_seconds
        if outcome.notes:
            announce_notes((outcome.name(position), note) for position, note in sorted(outcome.notes.items()))
        if self.spec.decoder != DECODER:
            announce_changed(outcome.changed.values(), self.spec.decoder, DECODER)

    def _missing(self, outcome: Outcome, positions: np.ndarray, fresh: Container[bytes] = ()) -> Missing:
        """The contents among the images at `positions` (m,) that lack a row in the cache, and are not `fresh`."""
        keys = outcome.digests.keys(positions)
        if fresh:
            others = np.array([bytes(key) not in fresh for key in keys], bool)
            positions, keys = positions[others], keys[others]
        if not len(positions):
            return Missing(positions, {}, np.empty((0, len(self.stores)), bool))
        lacking = ~np.stack([store.contains(keys) for store in self.stores], axis=1)
        some = np.flatnonzero(lacking.any(axis=1))
        return Missing.of(positions[some], keys[some], lacking[some])

    def _take_over(self, outcome: Outcome, missing: Missing, progress: Progress | None) -> int:
        with self._decoder() as decode:
            return take_over(self.stores, outcome, missing, decode, self._shard_rows, progress)

    def _refuse(self, outcome: Outcome, missing: Missing, cost: Cost) -> None:
        """Note which pictures of `missing` cannot be decoded. Raises RowsMissingError where others need the network."""

        def refuse() -> NoReturn:
            lack = f"{len(missing)} of {len(outcome.sources)}"
            if self.when_missing == "refuse":
                raise RowsMissingError(f"{lack} pictures have no row")
            raise RowsMissingError(
                f"{lack} images lack rows in {self.cache_dir}, which cannot be written: "
                "name another folder with --cache-dir (cache_dir=)"
            )

        while missing:
            missing = self._missing(outcome, self._compute(outcome, missing, cost, refuse, lambda *_: None))

    def _compute_fresh(
        self, outcome: Outcome, missing: Missing, cost: Cost, fresh: dict[bytes, np.ndarray]
    ) -> np.ndarray:
        """Add the rows of `missing` to `fresh`, all views of each picture; returns what `_compute` returns."""

        def keep(position: int, row: Row, features: np.ndarray) -> None:
            fresh[row.digest] = self._of_views(features)
            outcome.new[position] = True

        whole = replace(missing, lacking=np.ones_like(missing.lacking))
        return self._compute(outcome, whole, cost, partial(self._ready, cost), keep)

    def _store(self, outcome: Outcome, missing: Missing, cost: Cost, progress: Progress | None) -> np.ndarray:
        """Compute and commit the rows of `missing`; returns what `_compute` returns."""
        pending = PendingRows(self.stores, signature_store(self.cache_dir), outcome, self._shard_rows)

        def ready() -> tuple[Function, Pace]:
            compute, _ = self._ready(cost)
            folder = self.store.folder if len(self.stores) == 1 else self.cache_dir
            require_room(folder, int(missing.lacking.sum()), self.engine.row_shape, self.spec.row_dtype.itemsize)
            return compute, self._pace_within(self._rows_per_shard)

        def keep(position: int, row: Row, features: np.ndarray) -> None:
            views = np.flatnonzero(missing.lacking[row.position])
            pending.add(position, row.signature, views, features, self._pictures_at_once(self._rows_per_shard))
            if len(pending) == self._pace_within(self._rows_per_shard).commit:
                pending.commit(self.engine.provenance)

        try:
            return self._compute(outcome, missing, cost, ready, keep, progress)
        finally:  # whatever ends the run, what is computed is kept
            if len(pending):
                pending.commit(self.engine.provenance)

    def _compute(
        self,
        outcome: Outcome,
        missing: Missing,
        cost: Cost,
        ready: Callable[[], tuple[Function, Pace]],
        keep: Callable[[int, Row, np.ndarray], None],
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Call `keep` with position, row and features (views, ...) of each picture of `missing`, the views it lacks.

        Failures are noted. Whatever ends the run, what is computed by then is kept. Returns positions (m,) of images
        that have changed since they were hashed, and of their former copies: they may still lack a row.
        """
        names = self._resolved.views
        sources = [outcome.sources[position] for position in missing.first]
        computed: deque[Row] = deque()
        left: list[int] = []
        done = 0

        def views(number: int) -> list[str]:
            return [names[view] for view in np.flatnonzero(missing.lacking[number])]

        def take(row: Row) -> None:
            position = int(missing.first[row.position])
            copies = missing.copies.get(position, [])
            if outcome.digests[position] != row.digest:  # the file has changed since it was hashed, or cannot be read
                left.extend(copies if row.features is None else [position, *copies])
                copies = []
            if row.features is None:
                for failed in (position, *copies):
                    outcome.fail(failed, row.reason)
                return
            outcome.digests[position] = row.digest
            outcome.note(position, row.note, row.changed)
            keep(position, row, row.features)

        with self._decoder() as decoder:
            size = self.spec.size or self._opened(cost).size
            try:
                with closing(forward(sources, self.spec, size, views, ready, computed, decoder)) as steps:
                    for count in steps:
                        for _ in range(count):
                            take(computed.popleft())
                        done += count
                        if progress:
                            progress("features", done, len(missing))
            finally:
                while computed:
                    take(computed.popleft())
        return np.array(sorted(left), np.int64)

    def _opened(self, cost: Cost) -> Engine:
        with cost.starting():
            return self.engine

    def _ready(self, cost: Cost) -> tuple[Function, Pace]:
        return partial(self._opened(cost), cost=cost), self._pace_within(SHARD_ROWS)

    def _of_views(self, features: np.ndarray) -> np.ndarray:
        """Features of an image, as `Extractor` has them, of the rows (views, ...) of all its views."""
        return features if len(self.stores) > 1 else features[0]

    @property
    def _rows_per_shard(self) -> int:
        return min(self._shard_rows, max(1, SHARD_BYTES // (self.spec.row_dtype.itemsize * self.engine.dimension)))

    def _pictures_at_once(self, rows: int) -> int:
        """How many pictures have `rows` rows in all their views: what may be lost, and waits in memory, is the same."""
        return max(1, rows // len(self.stores))

    def _pace_within(self, rows: int) -> Pace:
        return Pace.within(self._pictures_at_once(rows), self._pictures_at_once(self.engine.batch))

    def _decoder(self) -> AbstractContextManager[Decoder]:
        if not self._resolved.isolate:
            return nullcontext(decode_views)
        from featurize.decoding.isolation import isolated_decoder

        return isolated_decoder()
