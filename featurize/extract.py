"""Images in, feature rows out, the cache consulted first: every image passes the network once.

digests of all images -> those without a row -> decoded in threads -> engine -> committed shards
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from cache.digests import DigestTable
from cache.errors import UserError
from cache.shard import DIGEST_BYTES, DamagedShardError
from cache.store import FeatureStore
from featurize.engine import BATCH, Engine
from featurize.forward import Row, decoded, forward
from featurize.hashing import Progress, digest_sources
from featurize.images import Failure
from featurize.reopen import check_weights
from featurize.resolve import Resolved
from featurize.sources import Source

log = logging.getLogger("bottleneck")

SHARD_ROWS = 2048
SHARD_BYTES = 128 * 1024**2  # flattened rows are large, and a shard is written in one piece, from memory


@dataclass
class Extraction:
    """What happened to each of the images.

    digests   32 bytes for each image, None where it failed
    failures  the images without a row, with the reason
    computed  rows that were computed and stored; byte-identical copies count once, the others as cached
    seconds   first read to last commit; startup_seconds: building the network, not contained in it
    """

    digests: list[bytes | None]
    failures: list[Failure] = field(default_factory=list)
    computed: int = 0
    forward_passes: int = 0
    seconds: float = 0.0
    startup_seconds: float = 0.0

    @property
    def succeeded(self) -> list[int]:
        """Positions of the images that have a row."""
        return [position for position, digest in enumerate(self.digests) if digest is not None]

    @property
    def keys(self) -> np.ndarray:
        """Digests of the images that have a row: (n, 32) uint8."""
        return _keys([digest for digest in self.digests if digest is not None])

    def fail(self, sources: Sequence[Source], reasons: dict[int, str]) -> None:
        """Note the reasons of the images at these positions; they have no row."""
        for position, reason in sorted(reasons.items()):
            source = sources[position]
            self.failures.append(Failure(source if isinstance(source, str) else f"image {position + 1}", reason))
            self.digests[position] = None


class Extractor:
    """One spec, its rows in the cache, and its engine, which is built when the first image needs it."""

    def __init__(self, resolved: Resolved, cache_dir: str, shard_rows: int = SHARD_ROWS):
        if shard_rows < 1:
            raise UserError(f"shard rows {shard_rows}: give a number of 1 or more")
        self.spec = resolved.spec
        self.store = FeatureStore(cache_dir, resolved.spec)
        self.table = DigestTable(cache_dir)
        self.cache_dir = cache_dir
        self._resolved = resolved
        self._shard_rows = shard_rows
        self._build_seconds = 0.0

    def record(self) -> dict[str, Any]:
        """What a model's record keeps to find the same computation and the same rows again."""
        return {
            "spec": self.spec.to_json(),
            "fingerprint": self.spec.fingerprint,
            "network": self._resolved.network,
            "weights": asdict(self._resolved.weights),
            "cache_dir": os.path.abspath(self.cache_dir),
        }

    def run(self, sources: Sequence[Source], progress: Progress | None = None) -> Extraction:
        """Compute and store the rows that `sources` lack in the cache. A bad image is a failure, never the end.

        On Ctrl-C what is computed is committed before `KeyboardInterrupt` goes on.
        Raises UserError where the disk is too small, `OSError` where the cache cannot be written.
        """
        progress = progress or _silent
        watch = _Watch(self)
        digests, reasons = digest_sources(sources, self.table, progress)
        extraction = Extraction(digests)
        missing = self._missing(digests)
        if len(missing) > BATCH:
            with _waiting(self.store.lock(".run")):
                missing = self._missing(digests)  # what another run has left over meanwhile
                extraction.computed = self._compute(sources, missing, digests, reasons, progress)
        elif missing:
            extraction.computed = self._compute(sources, missing, digests, reasons, progress)
        extraction.fail(sources, reasons)
        return watch.stop(extraction)

    def features(self, sources: Sequence[Source], progress: Progress | None = None) -> tuple[Extraction, np.ndarray]:
        """`run`, then the rows of all images that have one: (n, d) float32, in order.

        Every row is checked as it is read; a damaged shard is set aside and its rows are computed again.
        """
        extraction = self.run(sources, progress)
        while True:
            try:
                return extraction, self.store.read(extraction.keys)
            except DamagedShardError as error:
                self.store.set_aside(error)
            again = self.run(sources, progress)
            for count in ("computed", "forward_passes", "seconds", "startup_seconds"):
                setattr(again, count, getattr(again, count) + getattr(extraction, count))
            extraction = again

    def without_cache(self, sources: Sequence[Source]) -> tuple[Extraction, np.ndarray]:
        """As `features`, from the network alone: rows are neither looked up nor stored."""
        watch = _Watch(self)
        extraction = Extraction([None] * len(sources))
        rows = {}
        reasons = {}
        for row in self._rows(sources, lambda: self.engine):
            if row.features is None:
                reasons[row.position] = row.reason
            else:
                extraction.digests[row.position] = row.digest
                rows[row.position] = row.features
        extraction.computed = len(rows)
        extraction.fail(sources, reasons)
        return watch.stop(extraction), np.array([rows[i] for i in sorted(rows)], np.float32).reshape(len(rows), -1)

    @cached_property
    def engine(self) -> Engine:
        """The compiled network. Imports TensorFlow."""
        from featurize.network import build_network

        start = time.perf_counter()
        spec = self.spec
        checked = check_weights(self._resolved, self.table)
        network = build_network(
            checked.network, checked.weights, spec.size, spec.layer or None, spec.pooling, spec.preprocess
        )
        engine = Engine(network)
        self._build_seconds += time.perf_counter() - start
        return engine

    @property
    def startup_seconds(self) -> float:
        """Time that went into building and compiling the network so far."""
        return self._build_seconds + (self.engine.compile_seconds if "engine" in vars(self) else 0.0)

    @property
    def forward_passes(self) -> int:
        """Pictures that have gone through the network so far."""
        return self.engine.forward_passes if "engine" in vars(self) else 0

    def _missing(self, digests: list[bytes | None]) -> list[int]:
        """The position of one image for each content that has no row yet."""
        first: dict[bytes, int] = {}
        for position, digest in enumerate(digests):
            if digest is not None:
                first.setdefault(digest, position)
        stored = self.store.contains(_keys(list(first)))
        return [position for position, there in zip(first.values(), stored, strict=True) if not there]

    def _compute(
        self,
        sources: Sequence[Source],
        missing: list[int],
        digests: list[bytes | None],
        reasons: dict[int, str],
        progress: Progress,
    ) -> int:
        """Compute and commit the rows of `missing`; returns how many. Reasons of failures go into `reasons`."""
        copies: dict[bytes | None, list[int]] = {}
        for position, digest in enumerate(digests):
            copies.setdefault(digest, []).append(position)
        computed = 0
        rows: list[Row] = []
        try:
            for row in self._rows([sources[i] for i in missing], lambda: self._engine_for(len(missing))):
                position = missing[row.position]
                if row.features is None:
                    reasons |= dict.fromkeys(copies[digests[position]], row.reason)
                else:
                    digests[position] = row.digest  # another one if the file has changed since it was hashed
                    rows.append(row)
                if rows and len(rows) >= self._rows_per_shard:
                    computed += self._commit(rows)
                    rows = []
                progress("features", row.position + 1, len(missing))
        except KeyboardInterrupt:
            computed += self._commit(rows)
            log.warning("interrupted: %d new rows are kept, the next run goes on from there", computed)
            raise
        return computed + self._commit(rows)

    @property
    def _rows_per_shard(self) -> int:
        return min(self._shard_rows, max(1, SHARD_BYTES // (4 * self.engine.dimension)))

    def _rows(self, sources: Sequence[Source], ready_engine: Callable[[], Engine]) -> Iterator[Row]:
        size = self.spec.size or self.engine.size
        return forward(decoded(sources, size, self.spec.resize), ready_engine)

    def _commit(self, rows: list[Row]) -> int:
        if rows:
            provenance = self.engine.provenance | {"written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            features = np.stack([row.features for row in rows if row.features is not None])
            self.store.commit(features, _keys([row.digest for row in rows]), provenance)
        return len(rows)

    def _engine_for(self, count: int) -> Engine:
        """The engine, once it is clear that `count` rows fit on the disk."""
        expected = count * (self.engine.dimension * 4 + DIGEST_BYTES)
        folder = os.path.abspath(self.store.folder)
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        free = shutil.disk_usage(folder).free
        text = f"{count} rows of {self.engine.dimension} numbers, about {_size(expected)}"
        log.info("to compute: %s in %s", text, self.store.folder)
        if expected * 1.05 > free:
            raise UserError(
                f"too little disk: {text}, but {_size(free)} are free in {folder}; "
                "choose another --cache-dir or smaller features (--pooling avg)"
            )
        return self.engine


@lru_cache(maxsize=4)
def extractor_for(resolved: Resolved, cache_dir: str, shard_rows: int = SHARD_ROWS) -> Extractor:
    """The extractor of a spec and cache; its engine stays warm between calls in one process."""
    return Extractor(resolved, cache_dir, shard_rows)


class _Watch:
    """Time and forward passes from its making to `stop`, the building of the engine apart."""

    def __init__(self, extractor: Extractor):
        self._extractor = extractor
        self._start = self._now()

    def _now(self) -> np.ndarray:
        return np.array([time.perf_counter(), self._extractor.startup_seconds, self._extractor.forward_passes])

    def stop(self, extraction: Extraction) -> Extraction:
        elapsed, startup, passes = (self._now() - self._start).tolist()
        extraction.seconds, extraction.startup_seconds = elapsed - startup, startup
        extraction.forward_passes = int(passes)
        return extraction


@contextmanager
def _waiting(lock: FileLock) -> Iterator[None]:
    """Hold `lock`; says so if that means waiting for another run."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("another run is computing features of this spec: waiting for it (%s)", lock.lock_file)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _keys(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)


def _silent(stage: str, done: int, total: int) -> None:
    pass


def _size(count: float) -> str:
    unit = "bytes"
    for larger in ("KB", "MB", "GB"):
        if count < 1000:
            break
        count, unit = count / 1000, larger
    return f"{count:.3g} {unit}"
