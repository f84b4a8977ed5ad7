"""Looking after a cache: what is in it, whether it is whole, and what may go."""

import os
from dataclasses import dataclass, field
from typing import Any

from cache.digest_table import DigestTable
from cache.errors import log
from cache.files.atomic import TEMPORARY_SUFFIX
from cache.files.lock import holding
from cache.shard_file import DamagedShardError
from cache.signatures import signatures_folder
from cache.store import COMMIT, SPEC_FILE, FeatureStore, set_aside
from cache.upkeep.spec_folders import (
    leftovers,
    recorded_spec,
    shards_without_spec,
    spec_folders,
    spec_of_shards,
    stored_specs,
)


def listing(cache_dir: str) -> dict[str, Any]:
    """rows, shards and bytes of the cache and of each spec in it, and of its signatures; all 0 where there is no cache.

    Changes nothing: a damaged shard is not counted, and stays for `verify` to find.
    """
    specs, signatures = (
        [_listed(store) for store in stored_specs(folder)] for folder in (cache_dir, signatures_folder(cache_dir))
    )
    return _totals(specs) | {"specs": specs, "signatures": _totals(signatures)}


def _listed(store: FeatureStore) -> dict[str, Any]:
    shards, _ = store.examine()
    return {
        "folder": store.folder,
        "rows": sum(map(len, shards)),
        "shards": len(shards),
        "bytes": sum(shard.file_bytes for shard in shards),
        "row_shape": list(shards[0].row_shape) if shards else None,
        "spec": store.spec.to_json(),
    }


def _totals(specs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(spec[name] for spec in specs) for name in ("rows", "shards", "bytes")}


@dataclass
class Verification:
    """What `verify` found.

    shards, rows: what is whole. damaged: what is lost, a shard each. mended: files that were damaged or missing and
    held nothing that is not known otherwise. temporary, set_aside: what killed runs and earlier damage have left.
    """

    shards: int = 0
    rows: int = 0
    damaged: list[DamagedShardError] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    temporary: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)


def verify(cache_dir: str) -> Verification:
    """Read every row of every shard and check it; damaged shards are set aside, so their rows are computed again.

    A `spec.json` that is damaged or missing is written anew, from the shards beside it, and a damaged table of digests
    deleted, unless the cache may only be read. Signatures only save time, too: they count among `mended` alone.
    """
    found = _verify_specs(cache_dir)
    signatures = _verify_specs(signatures_folder(cache_dir))
    found.mended += [*signatures.mended, *(damage.path for damage in signatures.damaged)]
    found.temporary += signatures.temporary
    found.set_aside += signatures.set_aside
    table = DigestTable(cache_dir)
    if not table.check():
        found.mended.append(table.path)
    return found


def _verify_specs(cache_dir: str) -> Verification:
    """`verify`, for the folders of specs in `cache_dir`."""
    found = Verification()
    for folder in spec_folders(cache_dir):
        for path in leftovers(folder):
            (found.temporary if path.endswith(TEMPORARY_SUFFIX) else found.set_aside).append(path)
        recorded = recorded_spec(folder)
        spec = recorded or spec_of_shards(folder)
        if spec is None:
            found.damaged += (damaged := shards_without_spec(folder))
            for damage in damaged:
                set_aside(damage)
            continue
        store = FeatureStore(cache_dir, spec)
        shards, damaged = store.check()
        found.shards += len(shards)
        found.rows += sum(map(len, shards))
        found.damaged += damaged
        if recorded:
            continue
        try:
            store.write_spec()
            found.mended.append(os.path.join(folder, SPEC_FILE))
        except OSError as error:
            log.warning("%s of %s cannot be written: %s", SPEC_FILE, store.folder, error.strerror)
    return found


def rows_to_drop(cache_dir: str, keep: set[bytes]) -> list[tuple[str, int, int]]:
    """(folder, rows whose digests are not in `keep`, all its rows) of each spec that has such rows; changes nothing."""
    found = []
    for store in stored_specs(cache_dir):
        keys = [digest.tobytes() for shard in store.examine()[0] for digest in shard.digests]
        if dropped := sum(key not in keep for key in keys):
            found.append((store.folder, dropped, len(keys)))
    return found


def collect_garbage(cache_dir: str, shard_rows: int, keep: set[bytes] | None = None) -> dict[str, int]:
    """Delete leftovers of killed runs and damaged shards, merge small shards; returns what went.

    With `keep`, rows of all other digests are dropped, and their signatures, which are not counted. Where there are no
    locks temporary files stay: a run may be writing them.
    """
    gone = {"files": sum(map(_delete_leftovers, _all_folders(cache_dir))), "rows": 0, "shards": 0}
    for store in stored_specs(signatures_folder(cache_dir)):
        store.compact(shard_rows, keep)
    for store in stored_specs(cache_dir):
        rows, shards = store.compact(shard_rows, keep)
        gone["rows"] += rows
        gone["shards"] += shards
    return gone


def leftovers_of(cache_dir: str) -> list[str]:
    """Leftovers of killed runs and damaged shards: what `collect_garbage` would delete now."""
    return [path for folder in _all_folders(cache_dir) for path in leftovers(folder)]


def _all_folders(cache_dir: str) -> list[str]:
    return [*spec_folders(cache_dir), *spec_folders(signatures_folder(cache_dir))]


def _delete_leftovers(folder: str) -> int:
    """How many files went."""
    if not leftovers(folder):
        return 0
    count = 0
    with holding(os.path.join(folder, f"{COMMIT}.lock")) as alone:
        for path in leftovers(folder):
            if path.endswith(TEMPORARY_SUFFIX) and not alone:
                log.warning("%s stays: without locks nobody knows whether a run is writing it", path)
                continue
            os.unlink(path)
            count += 1
    return count
