"""The folder of one spec on the other side: its objects, and the keys of their rows."""

import contextlib
import json
import os
from dataclasses import dataclass

from cache.errors import UserError, log
from cache.remote.other_side import MountedFolder, Objects
from cache.remote.selection import FOLDER_NAME, in_parallel
from cache.remote.shard_objects import HEAD_BYTES, read_head, shard_stem
from cache.row_key import FeatureSpec
from cache.shard_file import DamagedShardError, Shard
from cache.signatures import FOLDER as SIGNATURES
from cache.store import SPEC_FILE
from cache.upkeep.spec_folders import MOST_BYTES as MOST_SPEC_BYTES


@dataclass(frozen=True)
class RemoteShard:
    """An object that is named as shards are. `stem` is what its name here begins with, see `shard_stem`."""

    path: str
    stem: str
    size: int


def require_other_place(cache_dir: str, objects: Objects) -> None:
    """Raise UserError where the other side is the cache itself, or lies within it."""
    if isinstance(objects, MountedFolder):
        here, there = (os.path.realpath(path) for path in (cache_dir, objects.address))
        if there == here or there.startswith(os.path.join(here, "")):
            raise UserError(
                f"{objects.address} is the cache {cache_dir} itself, or lies within it: name another folder"
            )


def list_shards(objects: Objects, folder: str) -> list[RemoteShard]:
    """The shards of a folder, in the order of their names; other objects are left out."""
    return [
        RemoteShard(f"{folder}/{name}", stem, size)
        for name, size in objects.entries(folder)
        if size is not None and (stem := shard_stem(name))
    ]


def folders(objects: Objects) -> list[str]:
    """The folders of specs there, those of signatures first: whoever finds a row then finds its signature."""
    found = []
    for parent in (SIGNATURES, ""):
        for name, size in objects.entries(parent):
            if size is None and FOLDER_NAME.fullmatch(name):
                found.append(f"{parent}/{name}" if parent else name)
    return found


def spec_there(objects: Objects, folder: str) -> FeatureSpec | None:
    """The spec that a folder's `spec.json` names, or else a shard of it; None where it is not that of this folder."""
    name = folder.rpartition("/")[2]
    with contextlib.suppress(FileNotFoundError):
        record = objects.read(f"{folder}/{SPEC_FILE}", 0, MOST_SPEC_BYTES)
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            spec = FeatureSpec.from_json(json.loads(record)["spec"])
            if spec.folder == name:
                return spec
    for shard in list_shards(objects, folder):
        with contextlib.suppress(FileNotFoundError, DamagedShardError):
            spec = read_head(objects, shard.path, shard.size, None).spec
            if spec.folder == name:
                return spec
    log.warning(
        "passed over %s/%s: neither its %s nor a shard in it is that of this folder", objects.address, folder, SPEC_FILE
    )
    return None


def heads(
    objects: Objects, shards: list[RemoteShard], spec: FeatureSpec
) -> tuple[list[tuple[RemoteShard, Shard]], list[DamagedShardError]]:
    """The shards with what they hold but the rows, and those that are damaged; objects that are gone are left out."""

    def head(shard: RemoteShard) -> Shard | DamagedShardError | None:
        try:
            return read_head(objects, shard.path, shard.size, spec)
        except FileNotFoundError:
            return None
        except DamagedShardError as damage:
            return damage

    found = [*zip(shards, in_parallel(head, shards, HEAD_BYTES), strict=True)]
    return (
        [(shard, each) for shard, each in found if isinstance(each, Shard)],
        [each for _, each in found if isinstance(each, DamagedShardError)],
    )
