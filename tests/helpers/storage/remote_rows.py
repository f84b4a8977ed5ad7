"""What tests of push and pull share: rows that their keys decide, and what is really on the other side."""

import hashlib
from pathlib import Path

import numpy as np
from helpers.storage.cached_rows import PROVENANCE, SPEC

from cache.remote.other_side import open_objects
from cache.shard_file import open_shard
from cache.store import FeatureStore

COUNT = 24


def key(number: int) -> np.ndarray:
    """The digest (32,) uint8 of picture `number`."""
    return np.frombuffer(hashlib.sha256(str(number).encode()).digest(), np.uint8)


def keys_of(numbers: list[int]) -> np.ndarray:
    """Digests (n, 32) uint8."""
    return np.array([key(number) for number in numbers], np.uint8).reshape(-1, 32)


def rows_of(numbers: list[int], width: int = 5) -> np.ndarray:
    """The rows (n, width) float32 that these pictures have, whoever computes them."""
    return np.array([np.random.default_rng(number).standard_normal(width, np.float32) for number in numbers]).reshape(
        -1, width
    )


def computed(folder: str | Path, numbers: list[int]) -> FeatureStore:
    """The store of a cache after a run over these pictures."""
    store = FeatureStore(str(folder), SPEC)
    store.commit(rows_of(numbers), keys_of(numbers), PROVENANCE)
    return store


def numbers_in(folder: str | Path) -> list[int]:
    """The pictures with a row in a cache. Every row is read, and is the right one."""
    store = FeatureStore(str(folder), SPEC)
    found = np.flatnonzero(store.contains(keys_of([*range(COUNT)]))).tolist()
    assert not found or (store.read(keys_of(found)) == rows_of(found)).all()
    return found


def numbers_there(folder: str | Path) -> list[int]:
    """The pictures with a row in whole shards below a folder, once for each."""
    number_of = {key(number).tobytes(): number for number in range(COUNT)}
    found: list[int] = []
    for path in sorted(Path(folder, SPEC.folder).glob("*.h5")):
        shard = open_shard(str(path), SPEC)
        shard.verify()
        numbers = [number_of[digest.tobytes()] for digest in shard.digests]
        assert (shard.read(np.arange(len(shard))) == rows_of(numbers)).all()
        found += numbers
    return sorted(found)


def objects_at(address: str, folder: str = SPEC.folder) -> list[str]:
    """The names of the shards in a folder of an address."""
    return [entry.name for entry in open_objects(address).entries(folder) if entry.name.endswith(".h5")]
