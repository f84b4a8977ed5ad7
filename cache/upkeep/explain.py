"""Why a file is cached, or why it is not."""

import os
from typing import Any

import numpy as np

from cache.row_key import FeatureSpec
from cache.store import FeatureStore
from cache.upkeep.spec_folders import stored_specs


def explain(path: str, digest: bytes, last_known: bytes | None, spec: FeatureSpec, cache_dir: str) -> list[str]:
    """Lines that say whether the file has a row of `spec` and, where it has none, why.

    `digest` is that of the file's present bytes, `last_known` the one recorded when it was last read, if ever. In a
    `spec` whose weights are "", any will do.
    The lines name the field of the spec that differs, with the value of the cached row and the one asked for, for
    every spec that the content is cached under, or say that the bytes have changed or were never seen.
    """
    stores = list(stored_specs(cache_dir))
    with_row = [store for store in stores if _has_row(store, digest)]
    asked_for = [store for store in with_row if not _differences(store, spec)]
    if asked_for:
        return [f"{path}: cached in {store.folder}" for store in asked_for]
    where = os.path.join(cache_dir, spec.folder) if spec.weights else f"{cache_dir} as {spec.folder.rpartition('-')[0]}"
    lines = [f"{path}: not cached in {where}"]
    for store in with_row:
        lines.append(f"its content is cached in {store.folder}, where")
        for field, (there, asked) in _differences(store, spec).items():
            lines.append(f"  {field} differs: cached {_shown(there)}, asked for {_shown(asked)}")
    if len(lines) == 1 and last_known and last_known != digest:
        changed = any(_has_row(store, last_known) for store in stores)
        there = "the row of its old content is still there" if changed else "its old content is not cached either"
        lines.append(f"its bytes have changed: SHA-256 was {last_known.hex()}, is {digest.hex()}; {there}")
    if len(lines) == 1:
        lines.append(f"its content (SHA-256 {digest.hex()}) is not in the cache under any spec")
    return lines


def _differences(store: FeatureStore, spec: FeatureSpec) -> dict[str, Any]:
    found = store.spec.differences(spec)
    return found if spec.weights else {field: values for field, values in found.items() if field != "weights"}


def _has_row(store: FeatureStore, digest: bytes) -> bool:
    return bool(store.contains(np.frombuffer(digest, np.uint8)[None])[0])


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else repr(value)
