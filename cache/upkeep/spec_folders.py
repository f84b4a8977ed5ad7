"""Which folders of a cache hold rows, and of which spec: their `spec.json` says so, and so does every shard."""

import contextlib
import json
import os
import re
from collections.abc import Iterator

from cache.errors import log
from cache.files.atomic import TEMPORARY_SUFFIX
from cache.files.plain_file import open_plain
from cache.row_key import FeatureSpec
from cache.shard_file import DamagedShardError, open_shard
from cache.store import DAMAGED_SUFFIX, SHARD_SUFFIX, SPEC_FILE, FeatureStore

MOST_BYTES = 2**16  # of a spec.json


def stored_specs(cache_dir: str) -> Iterator[FeatureStore]:
    """The stores below `cache_dir`, by name of folder; a folder without a readable spec is announced."""
    for folder in spec_folders(cache_dir):
        spec = recorded_spec(folder)
        if spec is None and (spec := spec_of_shards(folder)):
            log.warning("%s has no %s of its own: its shards tell; `cache verify` writes it", folder, SPEC_FILE)
        if spec:
            yield FeatureStore(cache_dir, spec)
        elif shard_paths(folder) or os.path.lexists(os.path.join(folder, SPEC_FILE)):
            log.warning("passed over %s: neither its %s nor a shard in it is that of this folder", folder, SPEC_FILE)


def spec_folders(cache_dir: str) -> list[str]:
    """The folders below `cache_dir` that are, or claim to be, those of specs, in order.

    A link is announced and left out: it may lead anywhere, and upkeep renames and deletes files.
    """
    try:
        entries = sorted(os.scandir(cache_dir), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    paths = [entry.path for entry in entries if os.path.isdir(entry)]
    claims = [path for path in paths if is_spec_folder(path)]
    links = [path for path in claims if os.path.islink(path)]
    for path in links:
        log.warning("passed over %s: it is a link to another folder", path)
    return [path for path in claims if path not in links]


def is_spec_folder(path: str) -> bool:
    """Whether a path in a cache is, or claims to be, the folder of a spec, by its name or by what is in it."""
    return _has_name_of_spec(path) or os.path.lexists(os.path.join(path, SPEC_FILE))


def _has_name_of_spec(folder: str) -> bool:
    return bool(re.search(r"-[0-9a-f]{12}$", folder))


def recorded_spec(folder: str) -> FeatureSpec | None:
    """The spec that the folder's `spec.json` names; None where there is none, or not the one of this folder."""
    with (
        contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError),
        open_plain(os.path.join(folder, SPEC_FILE)) as file,
    ):
        record = json.loads(file.read(MOST_BYTES))
        spec = FeatureSpec.from_json(record["spec"])
        if spec.folder == os.path.basename(folder) and record["fingerprint"] == spec.fingerprint:
            return spec
    return None


def spec_of_shards(folder: str) -> FeatureSpec | None:
    """The spec that a shard in the folder names, if it is the one of this folder."""
    for path in shard_paths(folder):
        with contextlib.suppress(OSError, DamagedShardError):
            spec = open_shard(path).spec
            if spec.folder == os.path.basename(folder):
                return spec
    return None


def shards_without_spec(folder: str) -> list[DamagedShardError]:
    """The shards of a folder without a readable spec, as damage; none in a folder with a name of another kind."""
    damaged = []
    for path in shard_paths(folder) if _has_name_of_spec(folder) else []:
        try:
            damaged.append(DamagedShardError(path, f"belongs to another spec ({open_shard(path).spec.folder})"))
        except DamagedShardError as error:
            damaged.append(error)
    return damaged


def leftovers(folder: str) -> list[str]:
    """Temporary files of killed processes, and damaged shards that were set aside.

    Who writes temporary files holds the folder's lock, so under that lock they may be deleted. Folders are left out,
    and everything in a folder that is not named like one of a spec.
    """
    with contextlib.suppress(FileNotFoundError):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name) if _has_name_of_spec(folder) else []
        ours = [entry for entry in entries if entry.name.endswith((TEMPORARY_SUFFIX, DAMAGED_SUFFIX))]
        return [entry.path for entry in ours if not entry.is_dir(follow_symlinks=False)]
    return []


def shard_paths(folder: str) -> list[str]:
    """Everything in the folder that is named as shards are."""
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(SHARD_SUFFIX))
