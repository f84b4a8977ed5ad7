"""The rows of one spec: a folder of immutable shards that any number of processes may add to.

A shard's presence under its final name is its commit; a committed shard is never opened for writing again.
"""

import contextlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
from filelock import FileLock

from cache.atomic import TEMPORARY_SUFFIX, make_folder, write_atomically
from cache.shard import DIGEST_BYTES, DamagedShardError, Shard, encode_shard, open_shard
from cache.spec import FeatureSpec

log = logging.getLogger("bottleneck")

SHARD_SUFFIX = ".h5"
DAMAGED_SUFFIX = ".damaged"
SPEC_FILE = "spec.json"


class FeatureStore:
    """Feature rows of one `spec` below `cache_dir`, found by the digests of their images.

    Nothing is created before the first commit. Keys are arrays of SHA-256 digests, (n, 32) uint8.
    """

    def __init__(self, cache_dir: str, spec: FeatureSpec):
        self.spec = spec
        self.folder = os.path.join(cache_dir, spec.folder)
        self._shards: dict[str, Shard] = {}

    def refresh(self) -> list[Shard]:
        """The shards now in the folder, oldest first; damaged ones are set aside (announced)."""
        shards, damaged = self.examine()
        for error in damaged:
            self.set_aside(error)
        return shards

    def examine(self) -> tuple[list[Shard], list[DamagedShardError]]:
        """The shards now in the folder, oldest first, and what is wrong with those that cannot be opened."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if name.endswith(SHARD_SUFFIX))
        except FileNotFoundError:
            names = []
        opened, damaged = {}, []
        for name in names:
            path = os.path.join(self.folder, name)
            try:
                opened[name] = self._shards.get(name) or open_shard(path, self.spec)
            except DamagedShardError as error:
                if os.path.exists(path):  # else: merged away by a neighbour since it was listed
                    damaged.append(error)
        self._shards = opened
        return list(opened.values()), damaged

    def set_aside(self, damage: DamagedShardError) -> None:
        """Rename a damaged shard out of the way: its rows count as missing and are computed again."""
        try:
            os.replace(damage.path, damage.path + DAMAGED_SUFFIX)
            log.warning("damaged shard set aside as %s%s: %s", damage.path, DAMAGED_SUFFIX, damage.reason)
        except OSError as error:
            log.warning("damaged shard passed over: %s (it cannot be renamed: %s)", damage, error.strerror)
        self._shards.pop(os.path.basename(damage.path), None)

    def contains(self, digests: np.ndarray) -> np.ndarray:
        """Which of `digests` (n, 32) have a row: (n,) bool. Looks at the folder afresh."""
        return _locate(self.refresh(), digests)[0] >= 0

    def read(self, digests: np.ndarray) -> np.ndarray:
        """The rows of `digests` (n, 32), in that order: (n, ...) float32, every one checked.

        Raises `KeyError` when a row is missing, `DamagedShardError` when a shard fails its checksums.
        """
        try:
            return self._read(list(self._shards.values()), digests)
        except (KeyError, FileNotFoundError):  # committed, or merged by a compaction, since the folder was listed
            return self._read(self.refresh(), digests)

    def _read(self, shards: list[Shard], digests: np.ndarray) -> np.ndarray:
        where, numbers = _locate(shards, digests)
        if (where < 0).any():
            raise KeyError(f"{int((where < 0).sum())} of {len(digests)} rows are not in {self.folder}")
        row_shape = shards[where[0]].row_shape if len(digests) else (0,)
        rows = np.empty((len(digests), *row_shape), dtype="<f4")
        for shard in np.unique(where):
            mine = where == shard
            rows[mine] = shards[shard].read(numbers[mine])
        return rows

    def commit(self, rows: np.ndarray, digests: np.ndarray, provenance: dict[str, Any]) -> int:
        """Add `rows` (n, ...) float32 under `digests` (n, 32) as one new shard; returns how many were new.

        Rows that another process has committed meanwhile are left out. On return the shard is on disk
        (fsynced, read back and checked). Raises `OSError` when it cannot be written; nothing is lost then.
        """
        with self.lock():
            new = np.flatnonzero(~self.contains(digests))
            new = new[np.sort(np.unique(digests[new], axis=0, return_index=True)[1])]
            if len(new):
                self._write(rows[new], digests[new], provenance)
        return len(new)

    def _write(self, rows: np.ndarray, digests: np.ndarray, provenance: dict[str, Any]) -> str:
        record = {"fingerprint": self.spec.fingerprint, "spec": self.spec.to_json()}
        spec_file = os.path.join(self.folder, SPEC_FILE)
        if not os.path.exists(spec_file):
            write_atomically(spec_file, json.dumps(record, indent=2).encode())
        path = os.path.join(self.folder, f"{time.time_ns():016x}-{uuid.uuid4().hex[:8]}{SHARD_SUFFIX}")
        image = encode_shard(rows, digests, self.spec, provenance)
        write_atomically(path, image, check=lambda temporary: open_shard(temporary, self.spec).verify())
        return path

    def lock(self, name: str = ".commit") -> FileLock:
        """A kernel lock of this spec's folder: it falls with its holder, however that dies."""
        make_folder(self.folder)
        return FileLock(os.path.join(self.folder, f"{name}.lock"))

    def compact(self, shard_rows: int, keep: set[bytes] | None = None) -> tuple[int, int]:
        """Merge neighbouring small shards up to `shard_rows` rows; with `keep`, drop the rows of all other digests.

        Returns (rows dropped, shards fewer). Each new shard is committed before the old ones are removed, so a
        kill in between leaves rows stored twice, never none; doubles go at the next compaction.
        """
        with self.lock():
            before = self.refresh()
            dropped = 0
            seen: set[bytes] = set()
            for group in _groups(before, shard_rows):
                kept = [_kept(shard, keep, seen) for shard in group]
                gone = sum(len(shard) for shard in group) - sum(len(rows) for rows in kept)
                if len(group) == 1 and not gone:
                    continue
                dropped += gone
                if any(len(rows) for rows in kept):
                    self._write(
                        np.concatenate([shard.read(rows) for shard, rows in zip(group, kept, strict=True)]),
                        np.concatenate([shard.digests[rows] for shard, rows in zip(group, kept, strict=True)]),
                        group[-1].provenance,
                    )
                for shard in group:
                    os.unlink(shard.path)
            return dropped, len(before) - len(self.refresh())

    def leftovers(self) -> list[str]:
        """Temporary files of killed processes, and damaged shards that were set aside: safe to delete."""
        with contextlib.suppress(FileNotFoundError):
            names = sorted(os.listdir(self.folder))
            return [os.path.join(self.folder, n) for n in names if n.endswith((TEMPORARY_SUFFIX, DAMAGED_SUFFIX))]
        return []


def stored_specs(cache_dir: str) -> Iterator[FeatureStore]:
    """The stores below `cache_dir`, by name of folder; a folder whose `spec.json` cannot be read is announced."""
    try:
        folders = sorted(entry.path for entry in os.scandir(cache_dir) if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for folder in folders:
        path = os.path.join(folder, SPEC_FILE)
        try:
            with open(path, "rb") as file:
                spec = FeatureSpec.from_json(json.load(file)["spec"])
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("passed over %s: its %s cannot be read (%s)", folder, SPEC_FILE, error)
            continue
        yield FeatureStore(cache_dir, spec)


def _locate(shards: list[Shard], digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each digest (number of its shard or -1, its row there): two (n,) arrays of int64.

    Compares the first eight bytes as integers over whole shards, and all 32 only where those agree: no index has
    to be built or kept, and a million keys are searched in a fraction of a second.
    """
    where = np.full(len(digests), -1, dtype=np.int64)
    numbers = np.zeros(len(digests), dtype=np.int64)
    wanted: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests):
        wanted.setdefault(digest.tobytes(), []).append(position)
    prefixes = np.unique(_prefixes(digests))
    for number, shard in enumerate(shards):
        for row in np.flatnonzero(np.isin(_prefixes(shard.digests), prefixes)):
            positions = wanted.pop(shard.digests[row].tobytes(), [])
            where[positions] = number
            numbers[positions] = row
    return where, numbers


def _prefixes(digests: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(digests.reshape(-1, DIGEST_BYTES)[:, :8]).view("<u8").ravel()


def _kept(shard: Shard, keep: set[bytes] | None, seen: set[bytes]) -> np.ndarray:
    """Numbers of the rows that stay: wanted, and not in `seen`, where they are noted."""
    rows = []
    for row, digest in enumerate(shard.digests):
        key = digest.tobytes()
        if key not in seen and (keep is None or key in keep):
            seen.add(key)
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def _groups(shards: list[Shard], shard_rows: int) -> Iterator[list[Shard]]:
    """Runs of neighbouring shards that fit into one shard together."""
    group: list[Shard] = []
    for shard in shards:
        if group and sum(map(len, group)) + len(shard) > shard_rows:
            yield group
            group = []
        group.append(shard)
    if group:
        yield group
