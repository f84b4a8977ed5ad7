"""Images in, feature rows out, the cache consulted first: every view of an image passes the network once.

digests of all images -> those that lack a row -> decoded once, computed in threads -> committed shards
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np

from cache.digests import DigestTable, ReadOnlyTable
from cache.errors import UserError
from cache.shard import DamagedShardError
from cache.signatures import signature_store
from cache.spec import ORIGINAL_VIEW, FeatureSpec
from cache.store import SHARD_BYTES, SHARD_ROWS, FeatureStore
from featurize.backbones.tail import Tail
from featurize.decoding.decode import DECODER, decode_views
from featurize.decoding.isolation import isolated_decoder
from featurize.engines.choose import shared_graph
from featurize.engines.engine import Engine
from featurize.extract.decoder_takeover import take_over
from featurize.extract.extractor import Extractor, metered, silent
from featurize.extract.forward import Decoder, Pace, Row, forward
from featurize.extract.hashing import Progress, digest_sources
from featurize.extract.outcome import Digests, Missing, Outcome
from featurize.machine.disk import require_room
from featurize.machine.meter import Meter, starting
from featurize.pictures.notes import announce_changed, announce_notes
from featurize.pictures.sources import Source
from featurize.reopen import check_weights
from featurize.resolve import Resolved

log = logging.getLogger("bottleneck")

MANY = 32  # pictures from which on two runs do not compute side by side what may be the same
WAITING = "another run is computing features of this spec: waiting for it"


class NetworkExtractor(Extractor):
    """One spec, its rows in the cache, and its engine, which is built when the first image needs it.

    An image has a row for each of `resolved.views`.
    """

    spec: FeatureSpec
    stores: list[FeatureStore]

    def __init__(self, resolved: Resolved, cache_dir: str, shard_rows: int = SHARD_ROWS):
        if shard_rows < 1:
            raise UserError(f"shard rows {shard_rows}: give a number of 1 or more")
        self.spec = resolved.spec
        self.stores = [FeatureStore(cache_dir, replace(resolved.spec, view=view)) for view in resolved.views]
        self.table = DigestTable(cache_dir)
        self.cache_dir = cache_dir
        self._resolved = resolved
        self._shard_rows = shard_rows
        self._engine: Engine | None = None
        self.meter = Meter()

    def __getstate__(self) -> dict[str, Any]:
        """Without engine and meter: a copy has its own, whether a picture has needed them here or not."""
        return self.__dict__ | {"_engine": None, "meter": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"meter": Meter()}

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

    @metered
    def run(self, sources: Sequence[Source], progress: Progress | None = None) -> Outcome:
        """As `Extractor.run`."""
        progress = progress or silent
        outcome = self._hashed(sources, self.table, progress)
        missing = self._missing(outcome, outcome.digests.known)
        try:
            with self.stores[0].lock(".run", WAITING) if len(missing) > MANY else nullcontext():
                missing = self._missing(outcome, missing.everywhere)  # another run may have computed some by now
                if missing and self._take_over(outcome, missing, progress):
                    missing = self._missing(outcome, missing.everywhere)
                while missing:
                    missing = self._missing(outcome, self._compute(outcome, missing, progress))
        except KeyboardInterrupt as interruption:
            interruption.add_note(f"{outcome.new.sum()} new rows are kept, the next run goes on from there")
            raise
        self._announce(outcome)
        return outcome

    @metered
    def complete(self, sources: Sequence[Source], progress: Progress | None = None) -> tuple[Outcome, np.ndarray]:
        """As `Extractor.complete`. An image that lacks the row of one view is computed in all of them."""
        outcome = self._hashed(sources, ReadOnlyTable(self.cache_dir), progress or silent)
        fresh: dict[bytes, np.ndarray] = {}
        while True:
            self._compute_missing(outcome, fresh)
            keys = outcome.keys
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
        self._announce(outcome)
        return outcome, rows

    @metered
    def without_cache(self, sources: Sequence[Source]) -> tuple[Outcome, np.ndarray]:
        """As `Extractor.without_cache`."""
        outcome = Outcome(sources, Digests(len(sources)), views=len(self.stores))
        computed: deque[Row] = deque()
        all_views = np.ones((len(sources), len(self.stores)), bool)
        for _ in self._forward(sources, all_views, self._ready, computed):
            pass
        rows: dict[int, np.ndarray] = {}
        for row in computed:
            if row.features is None:
                outcome.fail(row.position, row.reason)
            else:
                outcome.digests[row.position] = row.digest
                outcome.note(row.position, row.note, row.changed)
                rows[row.position] = row.features if len(self.stores) > 1 else row.features[0]
        known = outcome.digests.known
        outcome.new[Missing.of(known, outcome.digests.keys(known), all_views[known]).first] = True
        features = np.stack([rows[position] for position in sorted(rows)]) if rows else np.empty((0, 0), np.float32)
        self._announce(outcome)
        return outcome, features

    @property
    def engine(self) -> Engine:
        """The compiled network, which extractors share; a forked process has its own.

        Raises UserError in a forked process where it would hang, see `featurize.machine.forks`.
        """
        engine = self._engine
        if engine is None or engine.is_inherited:
            with starting():
                checked = check_weights(self._resolved, self.table)
                plain = replace(checked.spec, view=ORIGINAL_VIEW, stored="float32")  # the network is the same
                one_view = replace(checked, spec=plain, views=(ORIGINAL_VIEW,))
                self._engine = engine = Engine(shared_graph(one_view, self.cache_dir), self.spec.row_dtype)
        return engine

    @property
    def forward_passes(self) -> int:
        """Views of pictures that have gone through the engine so far."""
        return self.meter.forward_passes

    def _ready(self) -> tuple[Engine, Pace]:
        return self.engine, self._pace_within(SHARD_ROWS)

    def _hashed(self, sources: Sequence[Source], table: DigestTable, progress: Progress) -> Outcome:
        return Outcome(sources, *digest_sources(sources, table, progress), views=len(self.stores))

    def _missing(self, outcome: Outcome, positions: np.ndarray) -> Missing:
        """The contents among the images at `positions` (m,) that lack a row."""
        keys = outcome.digests.keys(positions)
        lacking = ~np.stack([store.contains(keys) for store in self.stores], axis=1)
        some = np.flatnonzero(lacking.any(axis=1))
        return Missing.of(positions[some], keys[some], lacking[some])

    def _compute_missing(self, outcome: Outcome, fresh: dict[bytes, np.ndarray]) -> None:
        """Add to `fresh` the rows of each content that has none, there or in the cache; failures are noted."""
        while True:
            known = outcome.digests.known
            lacking = [bytes(key) not in fresh for key in outcome.digests.keys(known)]
            missing = self._missing(outcome, known[np.array(lacking, bool)])
            if not len(missing):
                return
            computed: deque[Row] = deque()
            sources = [outcome.sources[position] for position in missing.first]
            for _ in self._forward(sources, np.ones_like(missing.lacking), self._ready, computed):
                pass
            for row in computed:
                if row.features is None:
                    missing.fail(outcome, row.position, row.digest, row.reason)
                else:  # perhaps of another content than before: then its former copies are missing still
                    fresh[row.digest] = row.features if len(self.stores) > 1 else row.features[0]
                    position = int(missing.first[row.position])
                    outcome.digests[position] = row.digest
                    outcome.note(position, row.note, row.changed)
                    outcome.new[position] = True

    def _take_over(self, outcome: Outcome, missing: Missing, progress: Progress) -> int:
        with self._decoder() as decode:
            return take_over(self.stores, outcome, missing, decode, self._shard_rows, progress)

    def _compute(self, outcome: Outcome, missing: Missing, progress: Progress) -> np.ndarray:
        """Compute and commit the rows of `missing`; failures are noted.

        Returns positions (m,) of images that have changed since they were hashed, and of their former copies: they may
        still lack a row.
        """

        def ready() -> tuple[Engine, Pace]:
            folder = self.store.folder if len(self.stores) == 1 else self.cache_dir
            require_room(folder, int(missing.lacking.sum()), self.engine.row_shape, self.spec.row_dtype.itemsize)
            return self.engine, self._pace

        done = 0
        left: list[int] = []
        rows = _Waiting([_Rows() for _ in self.stores], _Rows())
        computed: deque[Row] = deque()
        sources = [outcome.sources[position] for position in missing.first]
        try:
            with closing(self._forward(sources, missing.lacking, ready, computed)) as steps:
                for _ in steps:
                    done += (count := len(computed))  # more may come at any moment
                    for _ in range(count):
                        self._take(computed.popleft(), rows, outcome, missing, left)
                        if len(rows.signatures) == self._pace.commit:
                            self._commit(rows, outcome)
                    progress("features", done, len(missing))
        finally:  # whatever ends the run, what is computed is kept
            while computed:
                self._take(computed.popleft(), rows, outcome, missing, left)
            self._commit(rows, outcome)
        return np.array(sorted(left), np.int64)

    def _take(self, row: Row, rows: "_Waiting", outcome: Outcome, missing: Missing, left: list[int]) -> None:
        position = int(missing.first[row.position])
        copies = missing.copies.get(position, [])
        if outcome.digests[position] != row.digest:  # the file has changed since it was hashed
            left += copies if row.features is None else [position, *copies]
            copies = []
        if row.features is None:
            for failed in (position, *copies):
                outcome.fail(failed, row.reason)
            return
        outcome.digests[position] = row.digest
        outcome.note(position, row.note, row.changed)
        most = self._pictures_at_once(self._rows_per_shard)
        rows.signatures.add(position, row.signature, most)
        for view, features in zip(np.flatnonzero(missing.lacking[row.position]), row.features, strict=True):
            rows.of_views[view].add(position, features, most)

    @property
    def _rows_per_shard(self) -> int:
        return min(self._shard_rows, max(1, SHARD_BYTES // (self.spec.row_dtype.itemsize * self.engine.dimension)))

    def _pictures_at_once(self, rows: int) -> int:
        """How many pictures have `rows` rows in all their views: what may be lost, and waits in memory, is the same."""
        return max(1, rows // len(self.stores))

    def _pace_within(self, rows: int) -> Pace:
        return Pace.within(self._pictures_at_once(rows), self._pictures_at_once(self.engine.batch))

    @property
    def _pace(self) -> Pace:
        return self._pace_within(self._rows_per_shard)

    def _forward(
        self,
        sources: Sequence[Source],
        lacking: np.ndarray,
        ready: Callable[[], tuple[Engine, Pace]],
        rows: deque[Row],
    ) -> Generator[None, None, None]:
        """The rows of those views of each source that `lacking` (sources, views) says."""
        size = self.spec.size or self.engine.size
        names = self._resolved.views

        def views(position: int) -> list[str]:
            return [names[view] for view in np.flatnonzero(lacking[position])]

        with self._decoder() as decoder:
            version = self.spec.decoder
            yield from forward(sources, size, self.spec.resize, views, ready, rows, decoder, version)

    def _decoder(self) -> AbstractContextManager[Decoder]:
        return isolated_decoder() if self._resolved.isolate else nullcontext(decode_views)

    def _commit(self, rows: "_Waiting", outcome: Outcome) -> None:
        if not len(rows.signatures):
            return
        provenance = self.engine.provenance | {"written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        signed = rows.signatures  # first: whoever finds a row finds its signature
        signature_store(self.cache_dir).commit(signed.values, outcome.digests.keys(signed.positions), provenance)
        signed.positions.clear()
        for view, (store, of_view) in enumerate(zip(self.stores, rows.of_views, strict=True)):
            if len(of_view):
                keys = outcome.digests.keys(of_view.positions)
                store.commit(of_view.values, keys, provenance, self._shard_rows)
                outcome.new[of_view.positions, view] = True
                of_view.positions.clear()

    def _announce(self, outcome: Outcome) -> None:
        """Say what was decided about unusual pictures, and which ones today's decoder reads otherwise."""
        announce_notes((outcome.name(position), note) for position, note in sorted(outcome.notes.items()))
        if self.spec.decoder != DECODER:
            announce_changed(outcome.changed.values(), self.spec.decoder, DECODER)


class _Rows:
    """Rows of a view that wait until they are a shard, in one place for all shards of a run: memory stays as it is."""

    def __init__(self) -> None:
        self.positions: list[int] = []  # of their images
        self._place = np.empty((0, 0))

    def __len__(self) -> int:
        return len(self.positions)

    def add(self, position: int, values: np.ndarray, most: int) -> None:
        """Take the row `values` (...) in, among `most` rows."""
        if not len(self._place):
            self._place = np.empty((most, *values.shape), values.dtype)
        self._place[len(self.positions)] = values
        self.positions.append(position)

    @property
    def values(self) -> np.ndarray:
        return self._place[: len(self.positions)]


class _Waiting(NamedTuple):
    """What is computed and not yet committed: rows of each view, and the signatures of their pictures."""

    of_views: list[_Rows]
    signatures: _Rows
