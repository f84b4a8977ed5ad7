"""Looking after what is stored on the other side: damaged objects go, small ones are merged, doubles go.

There are no locks there, and several may do this at once. An object is deleted only where every row of it is in objects
that stand before it in one fixed order (more rows first, then by name) and that are whole: written by this call, or
read and checked by it. So the first object with a row, in that order, is deleted by nobody.
"""

import functools

import numpy as np

from cache.merging import rows_that_stay, small_shards
from cache.remote.other_side import Objects
from cache.remote.remote_spec import RemoteShard, heads, list_shards
from cache.remote.selection import Covered, Progress, Transfer, in_parallel
from cache.remote.shard_objects import MOST_BYTES, check_bytes, has_digest, object_name, read_whole
from cache.row_key import FeatureSpec
from cache.shard_file import DamagedShardError, Shard, encode_shard
from cache.store import MERGED_BYTES, SHARD_ROWS, SHARD_SUFFIX, new_name


def replace_damaged(
    objects: Objects, folder: str, spec: FeatureSpec, done: Transfer, dry_run: bool, progress: Progress | None
) -> None:
    """Read every object of a folder whole and check it; delete what is damaged, so that a push copies its rows anew.

    With `dry_run` only say so. An object counts as damaged when two reads find it so. One that has the SHA-256 of its
    name stays: it is what somebody stored, perhaps with a later version.
    """
    shards = list_shards(objects, folder)
    check = functools.partial(_checked_twice, objects, spec)
    results = in_parallel(check, shards, max((shard.size for shard in shards), default=0), progress, "check")
    for shard, damage in zip(shards, results, strict=True):
        if damage:
            done.note_damaged(objects, damage)
            if not dry_run and not has_digest(shard.path, objects.read(shard.path, 0, min(shard.size, MOST_BYTES))):
                objects.delete(shard.path)


def _checked_twice(objects: Objects, spec: FeatureSpec, shard: RemoteShard) -> DamagedShardError | None:
    found = _read(objects, spec, shard)
    if isinstance(found, DamagedShardError):
        found = _read(objects, spec, shard)
    return found if isinstance(found, DamagedShardError) else None


def _read(
    objects: Objects, spec: FeatureSpec, shard: RemoteShard
) -> tuple[Shard, np.ndarray] | DamagedShardError | None:
    """A whole object with its rows, or what is wrong with it; None where it is gone."""
    try:
        return read_whole(objects, shard.path, shard.size, spec)[1:]
    except FileNotFoundError:
        return None
    except DamagedShardError as damage:
        return damage


def merge_small(objects: Objects, folder: str, spec: FeatureSpec, done: Transfer) -> None:
    """Delete doubles, and merge small objects as a commit merges small shards; `done` counts how many fewer there are.

    A row is read and written again at most 4 times, however small the pushes are. A pull that has listed what is
    then deleted lists again.
    """
    listed, damaged = heads(objects, list_shards(objects, folder), spec)
    for damage in damaged:
        done.note_damaged(objects, damage)
    found = {head: shard for shard, head in listed}
    whole: set[Shard] = set()  # written by this call, or read and checked
    while True:
        _delete_doubles(objects, spec, found, whole, done)
        small = small_shards(sorted(found, key=lambda head: head.path), SHARD_ROWS, MERGED_BYTES)
        if not small:
            return
        parts = in_parallel(lambda head: _read(objects, spec, found[head]), small, MERGED_BYTES)
        for head, each in zip(small, parts, strict=True):
            if not isinstance(each, tuple):
                del found[head]
            if isinstance(each, DamagedShardError):
                done.note_damaged(objects, each)
        if any(head not in found for head in small):
            continue
        shard, head = _merged(objects, folder, [each for each in parts if isinstance(each, tuple)])
        found[head] = shard
        whole.add(head)
        done.fewer -= 1


def _merged(objects: Objects, folder: str, parts: list[tuple[Shard, np.ndarray]]) -> tuple[RemoteShard, Shard]:
    """Write one object of the rows of several, each once."""
    seen: set[bytes] = set()
    chosen = [(shard, rows, rows_that_stay(shard, None, seen)) for shard, rows in parts]
    last = chosen[-1][0]
    data = bytes(
        encode_shard(
            np.concatenate([rows[stay] for _, rows, stay in chosen]),
            np.concatenate([shard.digests[stay] for shard, _, stay in chosen]),
            last.spec,
            last.provenance,
        )
    )
    stem = new_name().removesuffix(SHARD_SUFFIX)
    shard = RemoteShard(f"{folder}/{object_name(stem, data)}", stem, len(data))
    objects.write(shard.path, data)
    return shard, check_bytes(shard.path, data, last.spec)[0]


def _delete_doubles(
    objects: Objects, spec: FeatureSpec, found: dict[Shard, RemoteShard], whole: set[Shard], done: Transfer
) -> None:
    """Delete the objects of which every row is in whole ones that stand before them, and take them out of `found`."""
    covered = Covered([])
    for head in sorted(found, key=lambda head: (-len(head), head.path)):
        if len(covered.lacks(head.digests)):
            covered.add(head)
            continue
        for holder in covered.holders(head.digests) - whole:
            if isinstance(_read(objects, spec, found[holder]), tuple):
                whole.add(holder)
        if covered.holders(head.digests) <= whole:
            objects.delete(found.pop(head).path)
            done.fewer += 1
