"""What the tests of the cache share: a spec, keys, rows, stores and shards with them."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from cache.row_key import FeatureSpec
from cache.shard_file import Shard, encode_shard, open_shard
from cache.store import FeatureStore

SPEC = FeatureSpec(
    backbone="mobilenet_v2",
    weights="sha256:" + "ab" * 32,
    layer="out_relu",
    pooling="avg",
    size=(224, 224),
    resize="antialias",
    preprocess="mobilenet_v2",
    decoder=1,
)
OTHER_SPEC = replace(SPEC, pooling="max")
PROVENANCE = {"engine": "tensorflow", "written": "2026-01-01T00:00:00Z"}


def keys(count: int, seed: int = 0) -> np.ndarray:
    """Digests (count, 32) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def rows(count: int, width: int = 8, seed: int = 0) -> np.ndarray:
    """Features (count, width) float32."""
    return np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)


def shards(store: FeatureStore) -> list[str]:
    return sorted(str(path) for path in Path(store.folder).glob("*.h5"))


def damage(path: str) -> None:
    """Flip one bit in the first row of a shard."""
    with open(path, "r+b") as file:
        file.seek(open_shard(path).offset)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def filled(folder: str | Path, *sizes: int, spec: FeatureSpec = SPEC) -> FeatureStore:
    """A store with shards of `sizes` rows; all of its rows together are rows(n), keys(n)."""
    store = FeatureStore(str(folder), spec)
    first = 0
    for size in sizes:
        batch = slice(first, first + size)
        store.commit(rows(sum(sizes))[batch], keys(sum(sizes))[batch], PROVENANCE)
        first += size
    return store


def write_shard(path: Path, features: np.ndarray, digests: np.ndarray) -> Shard:
    """A shard file at `path`, opened."""
    path.write_bytes(encode_shard(features, digests, SPEC, PROVENANCE))
    return open_shard(str(path), SPEC)
