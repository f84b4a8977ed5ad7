"""Which shards are merged into one: those of a compaction, and the small ones that a commit finds too many of."""

from collections.abc import Iterator

import numpy as np

from cache.shard_file import Shard

FAN_OUT = 8  # shards of about one size from which on a commit merges them

Group = list[tuple[Shard, np.ndarray]]  # shards, and the numbers of their rows that stay


def small_shards(shards: list[Shard], shard_rows: int, shard_bytes: int) -> list[Shard]:
    """Shards to merge into one of up to `shard_rows` rows and `shard_bytes`; none where no tier is full.

    A tier holds shards whose number of rows has the same power of `FAN_OUT`, as in a tiered log-structured merge-tree
    (O'Neil and others, 1996). It is full at `FAN_OUT` shards, so a row is written again at most once a tier. Shards of
    different provenance are not merged. A shard that is more than half full is in no tier.
    """
    tiers: dict[tuple[str, int], list[Shard]] = {}
    for shard in shards:
        if 2 * len(shard) <= _most(shard, shard_rows, shard_bytes):
            tier = (len(shard).bit_length() - 1) // (FAN_OUT.bit_length() - 1)
            tiers.setdefault((shard.origin, tier), []).append(shard)
    for alike in tiers.values():
        if len(alike) >= FAN_OUT:
            rows = np.cumsum([len(shard) for shard in alike])
            return alike[: int(np.searchsorted(rows, _most(alike[0], shard_rows, shard_bytes), "right"))]
    return []


def groups(kept: Group, shard_rows: int, shard_bytes: int) -> Iterator[Group]:
    """Shards (and their rows that stay) of the same provenance that fit into one shard together."""
    group: Group = []
    count = 0
    for shard, rows in sorted(kept, key=lambda each: each[0].origin):
        full = count + len(rows) > _most(shard, shard_rows, shard_bytes)
        if group and (full or shard.origin != group[0][0].origin):
            yield group
            group, count = [], 0
        group.append((shard, rows))
        count += len(rows)
    if group:
        yield group


def rows_that_stay(shard: Shard, keep: set[bytes] | None, seen: set[bytes]) -> np.ndarray:
    """Numbers of the rows of digests in `keep` (None: of all), and not in `seen`, where they are noted."""
    rows = []
    for row, digest in enumerate(shard.digests):
        key = digest.tobytes()
        if key not in seen and (keep is None or key in keep):
            seen.add(key)
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def _most(shard: Shard, shard_rows: int, shard_bytes: int) -> int:
    """Rows such as its that one shard may have."""
    return min(shard_rows, shard_bytes // shard.row_bytes)
