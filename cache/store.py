"""The rows of one spec: a folder of immutable shards that any number of processes may add to.

A shard's presence under its final name is its commit; a committed shard is never opened for writing again. Names of
shards are never used twice, so nobody overwrites what another has stored, with a lock or without one.
"""

import contextlib
import errno
import json
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from cache.digest_table import Stamp, take_stamp
from cache.errors import log
from cache.files.atomic import make_folder, write_atomically
from cache.files.lock import holding
from cache.files.plain_file import open_plain
from cache.index import KeyIndex, comparable
from cache.merging import Group, groups, rows_that_stay, small_shards
from cache.row_key import DIGEST_BYTES, FeatureSpec
from cache.shard_file import DamagedShardError, Shard, UnreadableShardError, encode_shard, open_shard

SHARD_SUFFIX = ".h5"
DAMAGED_SUFFIX = ".damaged"
SPEC_FILE = "spec.json"
COMMIT = ".commit"  # the lock of whoever writes in a folder
SHARD_ROWS = 2048
SHARD_BYTES = 128 * 1024**2  # a shard is written in one piece, from memory: flattened rows fill it with few rows
MERGED_BYTES = SHARD_BYTES // 4  # of a shard that a commit merges: it is in memory beside the rows of the run
THREADS = min(8, os.cpu_count() or 1)


class FeatureStore:
    """Feature rows of one `spec` below `cache_dir`, found by the digests of their images.

    Nothing is created before the first commit. Keys are arrays of SHA-256 digests, (n, 32) uint8.
    """

    def __init__(self, cache_dir: str, spec: FeatureSpec):
        self.spec = spec
        self.folder = os.path.join(cache_dir, spec.folder)
        self._seen: tuple[Stamp | None, dict[str, Shard]] = (None, {})  # the folder's stamp, and its shards then
        self._index = KeyIndex()
        self._passed_over: set[str] = set()

    @property
    def _shards(self) -> dict[str, Shard]:
        return self._seen[1]

    def refresh(self) -> list[Shard]:
        """The shards now in the folder, oldest first; damaged ones are set aside (announced)."""
        shards, damaged = self.examine()
        for error in damaged:
            self.set_aside(error)
        return shards

    def examine(self) -> tuple[list[Shard], list[DamagedShardError]]:
        """The shards now in the folder, oldest first, and what is wrong with those that cannot be opened.

        The folder's own times say whether anything in it has changed since it was listed, so the cost of a warm store
        does not grow with its shards. A folder that has changed is listed until two listings agree: during a
        compaction, one listing may miss both the new shard and the old ones.
        """
        stamp, shards = self._seen
        now = take_stamp(self.folder)
        if stamp and now and stamp.proves_same_content(now):
            return list(shards.values()), []
        listed: list[str] | None = None
        names = self._names()
        damaged: dict[str, DamagedShardError] = {}
        while names != listed:
            opened = {}
            for name in names:
                try:
                    opened[name] = shards.get(name) or open_shard(os.path.join(self.folder, name), self.spec)
                except FileNotFoundError:
                    continue  # gone since it was listed
                except DamagedShardError as error:
                    damaged[name] = error
            shards = opened
            listed, names = names, self._names()
        self._seen = (None if damaged else now, shards)
        return list(shards.values()), [damaged[name] for name in names if name in damaged]

    def _names(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(n for n in os.listdir(self.folder) if n.endswith(SHARD_SUFFIX) and n not in self._passed_over)
        return []

    def set_aside(self, damage: DamagedShardError) -> None:
        """Rename a damaged shard out of the way: its rows count as missing and are computed again.

        Where it cannot be renamed (a read-only folder), or the system failed to read it, this store ignores it from now
        on, and nothing deletes it.
        """
        name = os.path.basename(damage.path)
        if not set_aside(damage):
            self._passed_over.add(name)
        stamp, shards = self._seen
        self._seen = (stamp, {other: shard for other, shard in shards.items() if other != name})

    def check(self) -> tuple[list[Shard], list[DamagedShardError]]:
        """The shards that are whole, every row of them read and checked, and the damage, which is set aside."""
        shards, damaged = self.examine()
        whole: list[Shard] = []
        broken: list[tuple[Shard, DamagedShardError]] = []
        for shard in shards:
            try:
                shard.verify()
                whole.append(shard)
            except FileNotFoundError:
                continue  # merged by a compaction, which has checked what it wrote
            except DamagedShardError as error:
                broken.append((shard, error))
        for shard, damage in broken:
            damage.rows_lost = int((KeyIndex().locate(whole, shard.digests)[0] < 0).sum())
            damaged.append(damage)
        for damage in damaged:
            self.set_aside(damage)
        return whole, damaged

    def contains(self, digests: np.ndarray) -> np.ndarray:
        """Which of `digests` (n, 32) have a row: (n,) bool. Looks at the folder afresh."""
        return self._index.locate(self.refresh(), digests)[0] >= 0

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row; (0,) where there is none."""
        if not self._shards:
            self.refresh()
        return next(iter(self._shards.values())).row_shape if self._shards else (0,)

    def blocks(self, digests: np.ndarray) -> np.ndarray:
        """Which block each row of `digests` (n, 32) is read and checked with: (n,) int64, -1 for a row that is missing.

        Blocks are numbered through all shards, in the order in which they lie there.
        """
        shards = self.refresh()
        where, numbers = self._index.locate(shards, digests)
        if not shards:
            return where
        first = np.cumsum([0, *(len(shard.checksums) for shard in shards)])[where]
        block_rows = np.array([shard.block_rows for shard in shards])[where]
        return np.where(where < 0, -1, first + numbers // block_rows)

    def read(self, digests: np.ndarray) -> np.ndarray:
        """The rows of `digests` (n, 32), in that order: (n, ...) as they are stored, every one checked.

        Raises `KeyError` when a row is missing, `DamagedShardError` when a shard fails its checksums.
        """
        if not self._shards:
            self.refresh()
        while True:
            shards = self._shards
            try:
                return self._read(list(shards.values()), digests)
            except (KeyError, FileNotFoundError):  # committed, or merged by a compaction, since the folder was listed
                self._seen = (None, shards)  # whatever its times say
                self.refresh()
                if self._shards == shards:
                    raise

    def _read(self, shards: list[Shard], digests: np.ndarray) -> np.ndarray:
        where, numbers = self._index.locate(shards, digests)
        if (where < 0).any():
            raise KeyError(f"{int((where < 0).sum())} of {len(digests)} rows are not in {self.folder}")
        row_shape = shards[0].row_shape if shards else (0,)
        rows = np.empty((len(digests), *row_shape), self.spec.row_dtype)
        order = np.argsort(where, kind="stable")
        bounds = np.flatnonzero(np.diff(where[order], prepend=-1, append=-1))

        def fill(bound: tuple[int, int]) -> None:
            positions = order[slice(*bound)]
            shards[where[positions[0]]].read_into(rows, positions, numbers[positions])

        with ThreadPoolExecutor(THREADS) as pool:  # reading and checksums release the interpreter's lock
            for _ in pool.map(fill, pairwise(bounds.tolist())):
                pass
        return rows

    def commit(
        self, rows: np.ndarray, digests: np.ndarray, provenance: dict[str, Any], shard_rows: int = SHARD_ROWS
    ) -> int:
        """Add `rows` (n, ...) under `digests` (n, 32) as one new shard; returns how many were new.

        Rows that are stored already, by whomever, are left out; of several rows under one key the first is taken.
        On return the shard is on disk (fsynced, read back and checked). Small shards are merged now and then, up to
        `shard_rows` rows (and 32 MiB), so that few of them stand there however few rows come at a time.

        Raises `OSError` when the rows cannot be written; nothing is lost then. Raises `ValueError`
        where there is not one key for each row, or the rows have another shape than those stored.
        """
        if digests.shape != (len(rows), DIGEST_BYTES) or digests.dtype != np.uint8:
            raise ValueError(f"keys of shape {digests.shape} and type {digests.dtype} for {len(rows)} rows")
        with self.lock():
            shards = self.refresh()
            if shards and shards[0].row_shape != rows.shape[1:]:
                raise ValueError(f"rows of shape {rows.shape[1:]}, those in {self.folder} have {shards[0].row_shape}")
            new = np.flatnonzero(self._index.locate(shards, digests)[0] < 0)
            new = new[np.sort(np.unique(comparable(digests[new]), return_index=True)[1])]
            if len(new):
                everything = len(new) == len(rows)
                self._write(rows if everything else rows[new], digests[new], provenance)
                self.merge_small(shard_rows)
        return len(new)

    def merge_small(self, shard_rows: int) -> None:
        """Merge small shards, see `cache.merging.small_shards`: a row is written again at most 4 times.

        The caller holds the lock.

        A shard is deleted once all of its rows are in a shard written by this call, as in `_compact`: a kill in between
        leaves rows stored twice, never none. A failure to merge is announced. The rows of the commit are stored anyway.
        """
        try:
            while merged := small_shards(self.refresh(), shard_rows, MERGED_BYTES):
                seen: set[bytes] = set()
                self._write_group([(shard, rows_that_stay(shard, None, seen)) for shard in merged])
                for shard in merged:
                    _unlink(shard)
        except DamagedShardError as damage:
            self.set_aside(damage)
        except OSError as error:
            log.warning("small shards in %s are not merged now: %s", self.folder, error.strerror or error)

    def _write_group(self, group: Group) -> None:
        """One shard of the rows of several that stay. Raises `DamagedShardError`, `OSError`."""
        self._write(
            np.concatenate([shard.read(rows) for shard, rows in group]),
            np.concatenate([shard.digests[rows] for shard, rows in group]),
            group[-1][0].provenance,
        )

    def _write(self, rows: np.ndarray, digests: np.ndarray, provenance: dict[str, Any]) -> None:
        self.write_spec()
        self.write_image(new_name(), encode_shard(rows, digests, self.spec, provenance))

    def write_image(self, name: str, image: bytes | memoryview) -> None:
        """Write the bytes of a shard under its name, read back and checked. Raises `OSError`."""
        write_atomically(os.path.join(self.folder, name), image, self._read_back)

    def _read_back(self, path: str) -> None:
        try:
            open_shard(path, self.spec).verify()
        except DamagedShardError as damage:  # the disk does not keep what was written: no damage of the cache
            raise OSError(errno.EIO, damage.reason) from damage

    def write_spec(self) -> None:
        """Write the folder's `spec.json`, unless it is there and right. Raises `OSError` where that is impossible."""
        path = os.path.join(self.folder, SPEC_FILE)
        record = self.spec_record()
        with contextlib.suppress(FileNotFoundError, ValueError), open_plain(path) as file:
            if file.read(len(record) + 1) == record:
                return
        write_atomically(path, record)

    def spec_record(self) -> bytes:
        """The content of the folder's `spec.json`."""
        return json.dumps({"fingerprint": self.spec.fingerprint, "spec": self.spec.to_json()}, indent=2).encode()

    def lock(self, name: str = COMMIT, waiting: str = "") -> contextlib.AbstractContextManager[bool]:
        """A lock of this spec's folder, as `cache.files.lock.holding` has it."""
        make_folder(self.folder)
        return holding(os.path.join(self.folder, f"{name}.lock"), waiting)

    def compact(self, shard_rows: int, keep: set[bytes] | None = None) -> tuple[int, int]:
        """Merge small shards up to `shard_rows` rows (and 128 MiB); with `keep`, drop the rows of all other digests.

        Returns (rows dropped, shards fewer). Every shard is checked first, so that no row goes as the double of a
        damaged one. Each new shard is committed before the old ones are removed, so a kill in between leaves rows
        stored twice, never none; doubles go at the next compaction.
        """
        with self.lock() as alone:
            while True:
                with contextlib.suppress(FileNotFoundError, DamagedShardError):  # a shard has gone since it was checked
                    return self._compact(shard_rows, keep, alone)

    def _compact(self, shard_rows: int, keep: set[bytes] | None, alone: bool) -> tuple[int, int]:
        """Without a lock (not `alone`), delete a shard only once every row it keeps is in a shard written by this call.

        Another process may be merging the same shards. Whoever deletes a shard has written a newer one with its rows,
        so the newest shard with a row is deleted by nobody.
        """
        shards = self.check()[0]
        seen: set[bytes] = set()
        kept = [(shard, rows_that_stay(shard, keep, seen)) for shard in shards]
        rewrite_all = not alone and any(len(rows) < len(shard) for shard, rows in kept)
        merged = [
            group
            for group in groups(kept, shard_rows, SHARD_BYTES)
            if rewrite_all or len(group) > 1 or len(group[0][1]) < len(group[0][0])  # a whole shard stays as it is
        ]
        replaced: list[Shard] = []
        for group in merged:
            if any(len(rows) for _, rows in group):
                self._write_group(group)
            replaced += [shard for shard, _ in group]
            while replaced and (alone or group is merged[-1]):
                _unlink(replaced.pop())
        return sum(map(len, shards)) - len(seen), len(shards) - len(self.refresh())


def new_name() -> str:
    """The name of a new shard, which no other has: names sort by time."""
    return f"{time.time_ns():016x}-{uuid.uuid4().hex[:8]}{SHARD_SUFFIX}"


def set_aside(damage: DamagedShardError) -> bool:
    """Rename a damaged shard; False, announced, where that is impossible, and for one that cannot be read just now."""
    if isinstance(damage, UnreadableShardError):
        log.warning("shard passed over for now, its rows count as missing: %s", damage)
        return False
    try:
        os.replace(damage.path, damage.path + DAMAGED_SUFFIX)
        log.warning("damaged shard set aside as %s%s: %s", damage.path, DAMAGED_SUFFIX, damage.reason)
    except FileNotFoundError:
        log.info("damaged shard is gone already: %s", damage)
    except OSError as error:
        log.warning("damaged shard passed over: %s (it cannot be renamed: %s)", damage, error.strerror)
        return False
    return True


def _unlink(shard: Shard) -> None:
    with contextlib.suppress(FileNotFoundError):  # set aside meanwhile by a reader whose disk failed
        os.unlink(shard.path)
