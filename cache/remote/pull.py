"""Copy the rows that a cache lacks to it, from object storage or a mounted folder.

Every object is checked whole, its SHA-256 and each of its rows, before anything of it is put in place.
"""

import functools
import os
import threading
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from cache.errors import UserError
from cache.files.disk_space import free_bytes, readable
from cache.remote.other_side import Objects, StorageError, open_objects
from cache.remote.remote_spec import (
    RemoteShard,
    folders,
    heads,
    list_shards,
    require_other_place,
    spec_there,
)
from cache.remote.selection import Covered, Progress, Selection, Transfer, in_parallel
from cache.remote.shard_objects import read_whole, stem_of
from cache.shard_file import DamagedShardError
from cache.store import SHARD_SUFFIX, FeatureStore
from cache.upkeep.spec_folders import recorded_spec

ROUNDS = 5  # of planning, where objects go while they are copied


@dataclass(frozen=True)
class _Copy:
    """An object, and how many of its rows the cache lacks."""

    object: RemoteShard
    rows: int


def pull(
    cache_dir: str,
    address: str,
    *,
    backbone: str | None = None,
    fingerprint: str | tuple[str, ...] | None = None,
    keys: np.ndarray | None = None,
    most: int | None = None,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> Transfer:
    """Copy the rows that a cache lacks from object storage to it, with the signatures of their pictures.

    Any number of pushes, pulls and runs may be at work at once; a pull that ends early goes on where it was. Rows that
    are here already are not copied, whatever the shards are called that they lie in.

    Parameters
    ----------
    cache_dir : str
        The cache, which need not exist yet.
    address : str
        An address such as "s3://bucket/features", or the path of a folder, such as one of a mounted disk.
    backbone, fingerprint : str, optional
        Copy the specs of this backbone, whose fingerprint begins so (or as one of several does), alone. Signatures
        always go along.
    keys : (n, 32) uint8, optional
        Copy the objects that have rows of pictures with these digests alone; those go along that lie in them besides.
    most : int, optional
        Bytes of the disk that this pull may take; by default what is free.
    dry_run : bool
        Change nothing, and say what would be copied.
    on_progress : callable, optional
        Called with ("pull", objects done, all objects) of a spec.

    Returns
    -------
    Transfer
        What was copied. `left` rows were not, for `most`. `damaged` are objects that are not what was stored.

    Raises
    ------
    UserError
        For an address without driver, without permission, or that does not answer after several tries; for a disk
        with too little room, before anything is copied.
    OSError
        Where the cache cannot be written.

    Examples
    --------
    >>> from cache.remote.pull import pull
    >>> pull(".features", "s3://bucket/features", backbone="nano", most=20 * 10**9).rows  # doctest: +SKIP
    36
    """
    chosen = Selection(backbone, fingerprint)
    there = open_objects(address)
    require_other_place(cache_dir, there)
    found = folders(there)
    if not found:
        raise UserError(f"there are no features in {address}")
    done = Transfer()
    plans = []
    for folder in found:
        *parents, _ = folder.split("/")
        spec = recorded_spec(os.path.join(cache_dir, *folder.split("/"))) or spec_there(there, folder)
        if spec and chosen.takes(spec):
            store = FeatureStore(os.path.join(cache_dir, *parents), spec)
            plans.append((store, folder, _plan(store, folder, there, done, keys)))
    _require_room(cache_dir, most, sum(copy.object.size for *_, copies in plans for copy in copies))
    for store, folder, copies in plans:
        if dry_run:
            fitting, left = _fitting(copies, most, done)
            done.add(folder, [copy.rows for copy in fitting], [copy.object.size for copy in fitting])
            done.left += left
        else:
            _copy(store, folder, there, copies, keys, most, done, on_progress)
    return done


def _plan(
    store: FeatureStore,
    folder: str,
    there: Objects,
    done: Transfer,
    keys: np.ndarray | None,
    without: Collection[str] = (),
) -> list[_Copy]:
    """Objects that have what the cache lacks, those with most rows first: they may be merged from others there.

    `keys` (n, 32): of what is wanted. `without`: paths of objects that are none.
    """
    mine = store.refresh()
    here = {stem_of(shard) for shard in mine}
    others = [shard for shard in list_shards(there, folder) if shard.stem not in here and shard.path not in without]
    found, damaged = heads(there, others, store.spec)
    for damage in damaged:
        done.note_damaged(there, damage)
    found.sort(key=lambda each: len(each[1]), reverse=True)
    shape = next((each.row_shape for each in [*mine, *(head for _, head in found)]), ())
    for shard, head in found:
        if head.row_shape != shape:
            done.note_damaged(there, DamagedShardError(shard.path, f"rows of shape {head.row_shape}, others {shape}"))
    found = [each for each in found if each[1].row_shape == shape]
    covered = Covered(mine)
    if keys is not None:
        holders = Covered(head for _, head in found).holders(keys[covered.lacks(keys)])
        found = [each for each in found if each[1] in holders]
    copies = []
    for shard, head in found:
        if rows := len(covered.lacks(head.digests)):
            copies.append(_Copy(shard, rows))
            covered.add(head)
    return copies


def _require_room(cache_dir: str, most: int | None, planned: int) -> None:
    """Raise UserError where the disk has too little room for `planned` bytes, or `most` of them."""
    size = planned if most is None else min(planned, most)
    if size > (free := free_bytes(cache_dir)):
        raise UserError(
            f"too little disk: {readable(size)} are to be pulled, but {readable(free)} are free for "
            f"{os.path.abspath(cache_dir)}; choose another --cache-dir, or pull less with --backbone or --most"
        )


def _fitting(copies: list[_Copy], most: int | None, done: Transfer) -> tuple[list[_Copy], int]:
    """Those that fit into `most` bytes with what is done, and the rows of the others."""
    size = done.bytes
    fitting, left = [], 0
    for copy in copies:
        if most is None or size + copy.object.size <= most:
            fitting.append(copy)
            size += copy.object.size
        else:
            left += copy.rows
    return fitting, left


def _copy(
    store: FeatureStore,
    folder: str,
    there: Objects,
    planned: list[_Copy],
    keys: np.ndarray | None,
    most: int | None,
    done: Transfer,
    progress: Progress | None,
) -> None:
    """Copy objects, several at once. What is lacking then, of objects that are damaged or gone, may be in others.

    Raises StorageError where objects go again and again, or are listed long after they have gone.
    """
    damaged: set[str] = set()
    for _ in range(ROUNDS):
        copies, left = _fitting(planned, most, done)
        place = functools.partial(_place, store, there, threading.Lock())
        largest = max((copy.object.size for copy in copies), default=0)
        results = in_parallel(place, copies, largest, progress, "pull")
        found = [(rows, copy) for rows, copy in zip(results, copies, strict=True) if isinstance(rows, int)]
        done.add(folder, [rows for rows, _ in found], [copy.object.size for _, copy in found])
        for damage in results:
            if isinstance(damage, DamagedShardError):
                done.note_damaged(there, damage)
                damaged.add(damage.path)
        if len(found) == len(copies):
            done.left += left
            return
        planned = _plan(store, folder, there, done, keys, damaged)
    if planned:
        raise StorageError(f"{there.address}/{folder}: objects are listed that are not there: pull again later")


def _place(store: FeatureStore, there: Objects, alone: threading.Lock, copy: _Copy) -> int | DamagedShardError | None:
    """Read an object and put it in place: rows that were new, or what is wrong with it; None where it is gone.

    An object whose rows are all new becomes a shard as it is; of others the new rows are committed.
    """
    path = copy.object.path
    try:
        data, shard, rows = read_whole(there, path, copy.object.size, store.spec)
    except FileNotFoundError:
        return None
    except DamagedShardError as damage:
        return damage
    with alone, store.lock():
        known = store.refresh()
        if known and known[0].row_shape != shard.row_shape:
            return DamagedShardError(path, f"rows of shape {shard.row_shape}, those here have {known[0].row_shape}")
        new = Covered(known).lacks(shard.digests)
        if len(new) == len(shard):
            store.write_spec()
            store.write_image(copy.object.stem + SHARD_SUFFIX, data)
        elif len(new):
            store.commit(rows[new], shard.digests[new], shard.provenance)
    return len(new)
