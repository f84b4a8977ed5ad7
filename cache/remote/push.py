"""Copy the rows of a cache that object storage lacks, or a mounted folder.

A shard whose rows are all new goes as it is, one of which some are there already goes as a new shard of the others: a
row is stored there once, however often shards are merged here.
"""

import functools
from dataclasses import dataclass

import numpy as np

from cache.errors import log
from cache.files.plain_file import open_plain
from cache.remote.other_side import Objects, StorageError, open_objects
from cache.remote.remote_spec import heads, list_shards, require_other_place
from cache.remote.selection import Covered, Progress, Selection, Transfer, in_parallel
from cache.remote.shard_objects import check_bytes, object_name, stem_of
from cache.remote.upkeep import merge_small, replace_damaged
from cache.shard_file import DamagedShardError, Shard, encode_shard
from cache.signatures import FOLDER as SIGNATURES
from cache.signatures import signatures_folder
from cache.store import SHARD_SUFFIX, SPEC_FILE, FeatureStore, new_name
from cache.upkeep.spec_folders import stored_specs


@dataclass(frozen=True)
class _Copy:
    """A shard, and the numbers of its rows that the other side lacks."""

    shard: Shard
    rows: np.ndarray

    @property
    def whole(self) -> bool:
        return len(self.rows) == len(self.shard)

    @property
    def bytes(self) -> int:
        return self.shard.file_bytes if self.whole else len(self.rows) * self.shard.row_bytes


def push(
    cache_dir: str,
    address: str,
    *,
    backbone: str | None = None,
    fingerprint: str | None = None,
    compare: bool = True,
    check: bool = False,
    merge: bool = False,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> Transfer:
    """Copy the rows that object storage lacks from a cache to it, with the signatures of their pictures.

    Any number of pushes and pulls may run at once, and a push that ends early goes on where it was. Two pushes of the
    same new rows at once may store them twice; a pull takes them once.

    Parameters
    ----------
    cache_dir : str
        The cache.
    address : str
        An address such as "s3://bucket/features", or the path of a folder, such as one of a mounted disk.
    backbone, fingerprint : str, optional
        Copy the specs of this backbone, whose fingerprint begins so, alone. Signatures always go along.
    compare : bool
        Look by their keys which rows are there in shards of other names. Without it these are stored once more, of
        which a pull takes one; for rows that have just been computed.
    check : bool
        Also read every object there, and replace those that are damaged.
    merge : bool
        Also merge small objects there, and delete doubles. Without `check` and `merge` nothing is deleted there.
    dry_run : bool
        Change nothing, and say what would be copied.
    on_progress : callable, optional
        Called with ("push" or "check", objects done, all objects) of a spec.

    Returns
    -------
    Transfer
        What was copied. `damaged` are shards of the cache, and objects that count as missing.

    Raises
    ------
    UserError
        For an address without driver, without permission, or that does not answer after several tries.
    OSError
        Where a mounted folder cannot be written.

    Examples
    --------
    >>> from cache.remote.push import push
    >>> push(".features", "s3://bucket/features").rows  # doctest: +SKIP
    36
    """
    chosen = Selection(backbone, fingerprint)
    there = open_objects(address)
    require_other_place(cache_dir, there)
    done = Transfer()
    for parent, folder in ((SIGNATURES, signatures_folder(cache_dir)), ("", cache_dir)):
        for store in stored_specs(folder):
            if not chosen.takes(store.spec):
                continue
            name = "/".join(filter(None, (parent, store.spec.folder)))
            if check:
                replace_damaged(there, name, store.spec, done, dry_run, on_progress)
            _push_spec(store, name, there, done, compare, dry_run, on_progress)
            if merge and not dry_run:
                merge_small(there, name, store.spec, done)
    return done


def _push_spec(
    store: FeatureStore,
    folder: str,
    there: Objects,
    done: Transfer,
    compare: bool,
    dry_run: bool,
    progress: Progress | None,
) -> None:
    """Copy until nothing is lacking: shards may be merged, or found damaged, while others are copied."""
    while copies := _plan(store, folder, there, done, compare):
        if dry_run:
            done.add(folder, [len(copy.rows) for copy in copies], [copy.bytes for copy in copies])
            return
        if not any(entry.name == SPEC_FILE for entry in there.entries(folder)):
            there.write(f"{folder}/{SPEC_FILE}", store.spec_record())
        largest = max(copy.shard.file_bytes for copy in copies)
        results = in_parallel(functools.partial(_write, folder, there), copies, largest, progress, "push")
        written = [(copy, result) for copy, result in zip(copies, results, strict=True) if isinstance(result, tuple)]
        _confirm(there, folder, dict(result for _, result in written))
        done.add(folder, [len(copy.rows) for copy, _ in written], [size for _, (_, size) in written])
        for damage in results:
            if isinstance(damage, DamagedShardError):
                store.set_aside(damage)
                done.damaged.append(str(damage))
        if len(written) == len(copies):
            return


def _plan(store: FeatureStore, folder: str, there: Objects, done: Transfer, compare: bool) -> list[_Copy]:
    """What the other side lacks. The heads of its shards are read to `compare`, and only where a name is not there."""
    shards = store.refresh()
    mine = {stem_of(shard): shard for shard in reversed(shards)}
    theirs = list_shards(there, folder)
    same = {other.stem for other in theirs if other.stem in mine and other.size == mine[other.stem].file_bytes}
    lacking = [shard for shard in shards if stem_of(shard) not in same or mine[stem_of(shard)] is not shard]
    if not lacking:
        return []
    for other in theirs:
        if other.stem in mine and other.stem not in same:
            log.warning("%s/%s has not the size of its shard: it is copied anew", there.address, other.path)
    others = [other for other in theirs if compare and other.stem not in mine]
    found, damaged = heads(there, others, store.spec)
    for damage in damaged:
        done.note_damaged(there, damage)
    covered = Covered([*(mine[stem] for stem in same), *(head for _, head in found)])
    copies = []
    for shard in lacking:
        if len(rows := covered.lacks(shard.digests)):
            copies.append(_Copy(shard, rows))
            covered.add(shard)
    return copies


def _write(folder: str, there: Objects, copy: _Copy) -> tuple[str, int] | DamagedShardError | None:
    """Copy rows: (path of the object, its bytes), or what is wrong with the shard; None where it has gone meanwhile."""
    try:
        stem = stem_of(copy.shard)
        data = _bytes_of(copy.shard)
        if not copy.whole:
            shard = copy.shard
            rows = shard.read(copy.rows)
            data = bytes(encode_shard(rows, shard.digests[copy.rows], shard.spec, shard.provenance))
            stem = new_name().removesuffix(SHARD_SUFFIX)
    except FileNotFoundError:
        return None
    except DamagedShardError as damage:
        return damage
    path = f"{folder}/{object_name(stem, data)}"
    there.write(path, data)
    return path, len(data)


def _bytes_of(shard: Shard) -> bytes:
    """The bytes of a shard here, every row checked; read twice before they count as damaged, as any shard is."""
    with open_plain(shard.path) as file:
        data = file.readall()
    try:
        check_bytes(shard.path, data, shard.spec)
    except DamagedShardError:
        shard.verify()
        with open_plain(shard.path) as file:
            data = file.readall()
        check_bytes(shard.path, data, shard.spec)
    return data


def _confirm(there: Objects, folder: str, written: dict[str, int]) -> None:
    """Look that every object is there with its size. Where the listing is late, or differs, its last byte is read.

    Raises StorageError.
    """
    sizes = {shard.path: shard.size for shard in list_shards(there, folder)} if written else {}
    for path, size in written.items():
        if sizes.get(path) == size:
            continue
        try:
            whole = len(there.read(path, size - 1, size + 1)) == 1
        except FileNotFoundError:
            whole = False
        if not whole:
            raise StorageError(f"{there.address}/{path} is not there as it was stored: push again")
