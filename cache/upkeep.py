"""Looking after a cache: what is in it, whether it is whole, and what may go."""

import os
from dataclasses import dataclass
from typing import Any

from cache.shard import DamagedShardError
from cache.store import stored_specs


def listing(cache_dir: str) -> dict[str, Any]:
    """rows, shards and bytes of the cache and of each spec in it; all 0 for a cache that does not exist.

    Changes nothing: a damaged shard is not counted, and stays for `verify` to find.
    """
    specs: list[dict[str, Any]] = []
    for store in stored_specs(cache_dir):
        shards, _ = store.examine()
        specs.append(
            {
                "folder": store.folder,
                "rows": sum(map(len, shards)),
                "shards": len(shards),
                "bytes": sum(shard.file_bytes for shard in shards),
                "row_shape": list(shards[0].row_shape) if shards else None,
                "spec": store.spec.to_json(),
            }
        )
    totals = {name: sum(spec[name] for spec in specs) for name in ("rows", "shards", "bytes")}
    return totals | {"specs": specs}


@dataclass
class Verification:
    """What `verify` found: whole shards and their rows, and the damage, a shard each."""

    shards: int
    rows: int
    damaged: list[DamagedShardError]


def verify(cache_dir: str) -> Verification:
    """Read every row of every shard and check it; damaged shards are set aside, so their rows are computed again."""
    found = Verification(0, 0, [])
    for store in stored_specs(cache_dir):
        shards, damaged = store.check()
        found.shards += len(shards)
        found.rows += sum(map(len, shards))
        found.damaged += damaged
    return found


def collect_garbage(cache_dir: str, shard_rows: int, keep: set[bytes] | None = None) -> dict[str, int]:
    """Delete leftovers of killed runs and damaged shards, merge small shards; returns what went.

    With `keep`, rows of all other digests are dropped.
    """
    gone = {"files": 0, "rows": 0, "shards": 0}
    for store in stored_specs(cache_dir):
        with store.lock():
            for path in store.leftovers():
                os.unlink(path)
                gone["files"] += 1
            rows, shards = store.compact(shard_rows, keep)
        gone["rows"] += rows
        gone["shards"] += shards
    return gone
