"""Images in, feature rows out, the cache consulted first: every view of an image passes each network once.

digests of all images -> those that lack a row -> decoded once, computed in threads -> committed shards
"""

import logging
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NoReturn

import numpy as np

from cache.digest_table import DigestTable, ReadOnlyTable
from cache.errors import UserError
from cache.row_key import ORIGINAL_VIEW, OWN_MODEL, FeatureSpec
from cache.signatures import signature_store
from cache.store import SHARD_ROWS, FeatureStore
from featurize.backbones.tail import Tail
from featurize.cluster.active_cluster import active_cluster, fill_on_cluster
from featurize.decoding.decode import DECODER, NetworkInput, decode_inputs
from featurize.engines.choose import shared_engine
from featurize.engines.engine import Cost, Engine
from featurize.extract.decoder_takeover import take_over
from featurize.extract.extractor import Extractor, RowsMissingError, WhenMissing
from featurize.extract.former_default import mention_former_default
from featurize.extract.forward import Decoder, Network, Pace, Row, compute
from featurize.extract.outcome import Missing, Outcome, Progress, Unread
from featurize.extract.pending_rows import PendingRows, alone
from featurize.extract.writable import can_be_written, open_table
from featurize.pictures.sources import Source
from featurize.pictures.unusual_pictures import announce_changed, announce_notes
from featurize.remembered_weights import Remembered, remember
from featurize.reopen import check_weights
from featurize.resolve import Resolved

log = logging.getLogger("bottleneck")

Fresh = dict["NetworkExtractor", dict[bytes, np.ndarray]]  # of each network: digest -> features that are not stored


class ComputingExtractor(Extractor):
    """Computes the rows of one network or several, `parts`, that the cache lacks. An image is decoded once for all.

    `when_missing` says what is done about rows that the cache lacks.
    """

    when_missing: WhenMissing

    def __init__(self) -> None:
        self._announced = False
        self._spent = Cost()

    def __getstate__(self) -> dict[str, Any]:
        """A copy counts for itself."""
        return self.__dict__ | {"_spent": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_spent": Cost()}

    @property
    @abstractmethod
    def parts(self) -> Sequence["NetworkExtractor"]:
        """The networks, each with its rows in the cache. All have the same views."""

    @abstractmethod
    def joined(self, rows: list[np.ndarray]) -> np.ndarray:
        """The features of images of their rows (n, ...) by each network."""

    @property
    def folders(self) -> list[str]:
        """Those of the stores."""
        return [store.folder for part in self.parts for store in part.stores]

    @property
    def forward_passes(self) -> int:
        """As `Extractor.forward_passes`."""
        return self._spent.forward_passes

    def run(self, sources: Sequence[Source], progress: Progress | None = None) -> Outcome:
        """As `Extractor.run`; by the workers of `joblib.parallel_config` where that names some."""
        with self.new_outcome(sources) as (outcome, cost):
            cluster = active_cluster() if self.when_missing == "store" else None
            if cluster and fill_on_cluster(self, cluster, outcome, cost, progress):
                return outcome
            outcome.take_digests(self.table, progress, leave_objects=self.when_missing == "store")
            missing = self.lacking(outcome, outcome.digests.known)
            unread = Unread.at(np.array(sorted(outcome.unread), np.int64), self.parts)
            if self.when_missing != "store":
                self._refuse(outcome, missing, cost)
                return outcome
            mention_former_default(self.parts[0].spec, self.cache_dir, outcome.keys)
            try:
                with alone(self.parts, max(missing, unread, key=len)):
                    store = partial(self.store_rows, outcome, cost)
                    read = self._in_groups(unread, store, progress) if unread else unread.first
                    # of the others another run may have computed some by now
                    self.fill(outcome, cost, self.lacking(outcome, np.union1d(missing.positions, read)), progress)
            except KeyboardInterrupt as interruption:
                interruption.add_note(f"{outcome.new.sum()} new rows are kept, the next run goes on from there")
                raise
            return outcome

    def fill(self, outcome: Outcome, cost: Cost, missing: Missing, progress: Progress | None = None) -> None:
        """Compute and store all that is `missing`, and what turns out to be on the way."""
        if missing and self._take_over(outcome, missing, progress):
            missing = self.lacking(outcome, missing.positions)
        while missing:
            left = self._in_groups(missing, partial(self.store_rows, outcome, cost), progress)
            missing = self.lacking(outcome, left)

    def complete(self, sources: Sequence[Source], progress: Progress | None = None) -> tuple[Outcome, np.ndarray]:
        """As `Extractor.complete`. An image that lacks the row of one view is computed in all of them."""
        if self.when_missing == "refuse":
            raise UserError(f"rows in {self.store.folder} are damaged or gone: `features` computes them again")
        fresh: Fresh = {part: {} for part in self.parts}
        rows: list[np.ndarray] | None = None
        with self.new_outcome(sources) as (outcome, cost):
            outcome.take_digests(ReadOnlyTable(self.cache_dir), progress)
            while rows is None:
                missing = self.lacking(outcome, outcome.digests.known, fresh)
                while missing:
                    left = self._in_groups(missing, partial(self._compute_fresh, outcome, cost, fresh))
                    missing = self.lacking(outcome, left, fresh)
                rows = self._stored_or(fresh, outcome.keys)
        if outcome.forward_passes and self.when_missing == "compute" and not self._announced:
            log.info("%s cannot be written: rows that are missing there are computed and not kept", self.cache_dir)
            self._announced = True
        return outcome, self.joined(rows)

    def without_cache(self, sources: Sequence[Source]) -> tuple[Outcome, np.ndarray]:
        """As `Extractor.without_cache`."""
        rows: dict[int, list[np.ndarray]] = {}
        lacking = np.ones((len(sources), len(self.parts), len(self.stores)), bool)
        with self.new_outcome(sources) as (outcome, cost):

            def keep(position: int, row: Row) -> None:
                rows[position] = self.features_of(row)

            everything = Missing(np.arange(len(sources)), {}, lacking)
            self._compute(outcome, cost, self.parts, everything, partial(self._ready, cost, self.parts), keep)
            known = outcome.digests.known
            outcome.new[Missing.of(known, outcome.keys, lacking[known]).first] = True
        if not len(known):
            return outcome, np.empty((0, 0), np.float32)
        of_parts = zip(*(rows[position] for position in known.tolist()), strict=True)
        return outcome, self.joined([np.stack(of_part) for of_part in of_parts])

    @contextmanager
    def new_outcome(self, sources: Sequence[Source]) -> Iterator[tuple[Outcome, Cost]]:
        """An outcome for the body to fill, and where it counts what it spends; its notes are announced at the end."""
        start, cost = time.perf_counter(), Cost(self._spent)
        outcome = Outcome(sources, len(self.stores))
        yield outcome, cost
        outcome.new[list(outcome.reasons)] = False  # of a joined image that failed, a row may have been stored
        outcome.forward_passes, outcome.startup_seconds = cost.forward_passes, cost.startup_seconds
        outcome.seconds = time.perf_counter() - start - cost.startup_seconds
        if outcome.notes:
            announce_notes((outcome.name(position), note) for position, note in sorted(outcome.notes.items()))
        decoder = min(part.spec.decoder for part in self.parts)
        if decoder != DECODER:
            announce_changed(outcome.changed.values(), decoder, DECODER)

    def lacking(self, outcome: Outcome, positions: np.ndarray, fresh: Fresh | None = None) -> Missing:
        """The contents among the images at `positions` (m,) that lack a row in the cache, and are not `fresh`."""
        if not len(positions):
            return Missing(positions, {}, np.empty((0, len(self.parts), len(self.stores)), bool))
        keys = outcome.digests.keys(positions)
        lacking = ~np.array([[store.contains(keys) for store in part.stores] for part in self.parts]).transpose(2, 0, 1)
        if fresh and any(fresh.values()):
            lacking &= ~np.array([[[bytes(key) in fresh[part]] for part in self.parts] for key in keys], bool)
        some = np.flatnonzero(lacking.any(axis=(1, 2)))
        return Missing.of(positions[some], keys[some], lacking[some])

    def _take_over(self, outcome: Outcome, missing: Missing, progress: Progress | None) -> int:
        stores = [part.stores for part in self.parts]
        with self._decoder() as decode:
            return take_over(stores, outcome, missing, decode, self.parts[0].shard_rows, progress)

    def _in_groups(
        self,
        missing: Missing,
        compute: Callable[[list["NetworkExtractor"], Missing, Progress], np.ndarray],
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Have `compute` called for the pictures that lack rows by the same networks, then for the next ones.

        Returns all positions that it returns. Progress is that through all of `missing`.
        """
        left: list[np.ndarray] = []
        before = 0

        def shown(stage: str, done: int, _: int) -> None:
            if progress:
                progress(stage, before + done, len(missing))

        for mask, group in missing.groups():
            left.append(compute([self.parts[number] for number in np.flatnonzero(mask).tolist()], group, shown))
            before += len(group)
        return np.sort(np.concatenate(left))

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

        def decode(parts: list[NetworkExtractor], group: Missing, _: Progress) -> np.ndarray:
            return self._compute(outcome, cost, parts, group, refuse, lambda *_: None)

        while missing:
            missing = self.lacking(outcome, self._in_groups(missing, decode))

    def _compute_fresh(
        self, outcome: Outcome, cost: Cost, fresh: Fresh, parts: list["NetworkExtractor"], missing: Missing, _: Progress
    ) -> np.ndarray:
        """Add the rows of `missing` to `fresh`, all views of each picture; returns what `_compute` returns."""

        def keep(position: int, row: Row) -> None:
            if not row.reason:
                for part, features in zip(parts, self.features_of(row), strict=True):
                    fresh[part][row.digest] = features
                outcome.new[position] = True

        whole = replace(missing, lacking=np.ones_like(missing.lacking))
        return self._compute(outcome, cost, parts, whole, partial(self._ready, cost, parts), keep)

    def _stored_or(self, fresh: Fresh, keys: np.ndarray) -> list[np.ndarray] | None:
        """The rows of the images with `keys` (n, 32) by each network, where not `fresh` from the cache.

        None where some are in a damaged shard, or have gone meanwhile.
        """
        found = []
        for part in self.parts:
            rows = [fresh[part].get(bytes(key)) for key in keys] if fresh[part] else [None] * len(keys)
            in_cache = np.array([row is None for row in rows], bool)
            stored = part.stored(keys[in_cache]) if in_cache.any() or not fresh[part] else np.empty(0)
            if stored is None:
                return None
            of_cache = iter(stored)
            found.append(np.stack([next(of_cache) if row is None else row for row in rows]) if fresh[part] else stored)
        return found

    def store_rows(
        self, outcome: Outcome, cost: Cost, parts: list["NetworkExtractor"], missing: Missing, progress: Progress
    ) -> np.ndarray:
        """Compute and commit the rows of `missing`; returns what `_compute` returns."""
        pending = PendingRows(parts, self.cache_dir, outcome, missing)

        def ready() -> tuple[list[Network], Pace]:
            networks, _ = self._ready(cost, parts)
            pending.require_room()
            return networks, pending.pace

        try:
            return self._compute(outcome, cost, parts, missing, ready, pending.add, progress)
        finally:  # whatever ends the run, what is computed is kept
            pending.commit()
            outcome.record_read(self.table)

    def _compute(
        self,
        outcome: Outcome,
        cost: Cost,
        parts: Sequence["NetworkExtractor"],
        missing: Missing,
        ready: Callable[[], tuple[Sequence[Network], Pace]],
        keep: Callable[[int, Row], None],
        progress: Progress | None = None,
    ) -> np.ndarray:
        """`featurize.extract.forward.compute` by the networks of `parts`."""
        with self._decoder() as decoder:
            inputs = [part.input(cost) for part in parts]
            return compute(outcome, missing, inputs, ready, keep, decoder, progress)

    def _ready(self, cost: Cost, parts: Sequence["NetworkExtractor"]) -> tuple[list[Network], Pace]:
        networks: list[Network] = [(partial(part.opened(cost), cost=cost), part.spec.row_dtype) for part in parts]
        return networks, Pace.within(SHARD_ROWS, max(part.engine.batch for part in parts), len(self.stores))

    def features_of(self, row: Row) -> list[np.ndarray]:
        """Features of an image by each network, as `Extractor` has them, of a row without a `reason`."""
        every = [features for features in row.features if features is not None]
        return every if len(self.stores) > 1 else [features[0] for features in every]

    def _decoder(self) -> AbstractContextManager[Decoder]:
        if not self.parts[0].resolved.isolate:
            return nullcontext(decode_inputs)
        from featurize.decoding.isolation import isolated_decoder

        return isolated_decoder()


class NetworkExtractor(ComputingExtractor):
    """One spec, its rows in the cache, and its engine, which is built when the first image needs it.

    An image has a row for each of `resolved.views`.
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
        super().__init__()
        self.spec = resolved.spec
        self.stores = [FeatureStore(cache_dir, replace(resolved.spec, view=view)) for view in resolved.views]
        self.signatures = signature_store(cache_dir)
        self.table = open_table(cache_dir) if when_missing != "store" else DigestTable(cache_dir)
        self.cache_dir = cache_dir
        self.when_missing = when_missing
        self.shard_rows = shard_rows
        self.resolved = resolved
        self._engine: Engine | None = None

    @classmethod
    def open(cls, resolved: Resolved, cache_dir: str, shard_rows: int = SHARD_ROWS) -> "NetworkExtractor":
        """The extractor of a spec, which stores what it computes where the cache can be written."""
        extractor = cls(resolved, cache_dir, shard_rows)
        locks = [os.path.join(folder, f"{name}.lock") for folder in extractor.folders for name in (".run", ".commit")]
        if all(map(can_be_written, [cache_dir, *extractor.folders, *locks])):
            return extractor
        return cls(resolved, cache_dir, shard_rows, "compute")

    def __getstate__(self) -> dict[str, Any]:
        """A copy has an engine of its own."""
        return super().__getstate__() | {"_engine": None}

    @property
    def parts(self) -> list["NetworkExtractor"]:
        """This one."""
        return [self]

    def joined(self, rows: list[np.ndarray]) -> np.ndarray:
        """They are the rows."""
        return rows[0]

    def record(self) -> dict[str, Any]:
        """As `Extractor.record`."""
        return {
            "spec": self.spec.to_json(),
            "fingerprint": self.spec.fingerprint,
            "weights": asdict(self.resolved.weights),
            "cache_dir": os.path.abspath(self.cache_dir),
        }

    def tail(self) -> Tail:
        """As `Extractor.tail`, where the rows are maps."""
        return Tail.of(self.spec, self.resolved.weights)

    @property
    def checked(self) -> Resolved:
        """The spec with its weights proven. Raises UserError as `featurize.reopen.check_weights`."""
        return check_weights(self.resolved, self.table)

    @property
    def engine(self) -> Engine:
        """The compiled network, which extractors share; a forked process has its own.

        Raises UserError in a forked process where it would hang, see `featurize.engines.engine`.
        """
        engine = self._engine
        if engine is None or engine.is_inherited:
            checked = self.checked
            plain = replace(checked.spec, view=ORIGINAL_VIEW, stored="float32")  # the network is the same
            one_view = replace(checked, spec=plain, views=(ORIGINAL_VIEW,))
            self._engine = engine = shared_engine(one_view, self.cache_dir)
            own = checked.spec.backbone == OWN_MODEL or checked.graph  # nothing that could be given again
            if self.when_missing == "store" and checked.weights.kind == "file" and not own:
                given = Remembered(checked.spec.backbone, checked.spec.weights, checked.weights.path)
                remember(self.cache_dir, given)
        return engine

    def opened(self, cost: Cost) -> Engine:
        """The engine; what it takes to build it counts in `cost`."""
        with cost.starting():
            return self.engine

    def input(self, cost: Cost) -> NetworkInput:
        """What the network takes of a picture, in all views. A spec without a size takes the engine to know."""
        size = self.spec.size or self.opened(cost).size
        return NetworkInput(size, self.spec.resize, self.resolved.views, self.spec.decoder)
