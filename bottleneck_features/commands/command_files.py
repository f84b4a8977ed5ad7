"""Files that a command is given: existing paths, outputs that are checked before any work."""

import glob
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cache.digest_table import DigestTable
from cache.errors import UserError, log
from cache.files.atomic import require_writable
from cache.files.path_kinds import is_elsewhere
from classify.data.surfaces import FOLDER
from featurize.outputs import Named, check_outputs, inputs_of
from featurize.pictures.sources import on_disk
from featurize.replaceable import require_kind
from pipeline import DEFAULT_CACHE


def existing_paths(words: list[str]) -> list[str]:
    """Each of `words` as the paths it means: itself if it exists, else a pattern, else several paths in one string.

    Raises UserError naming the first word that is none of these.
    """
    return [path for word in words for path in _meant(word)]


def _meant(word: str) -> list[str]:
    if os.path.lexists(path := on_disk(word)) or is_elsewhere(path):
        return [path]
    if matches := sorted(glob.glob(word, recursive=True), key=os.fsencode):
        return matches
    try:
        parts = shlex.split(word)
    except ValueError:
        parts = [word]
    if len(parts) > 1:
        return existing_paths(parts)
    raise UserError(f"images {word!r}: no such file or folder, and no file matches it as a pattern")


def require_outputs(
    outputs: Sequence[Named], options: Mapping[str, Any], reads: Sequence[Named] = (), writes: Sequence[Named] = ()
) -> None:
    """Refuse `outputs` that cannot be written, or that would overwrite what the command reads or writes besides.

    `options`: those of the command; the files that they name are read, as are `reads`. Raises `OSError`, and
    UserError as `check_outputs` and `require_kind`.
    """
    for _, path in outputs:
        require_writable(path)
    data = options.get("data")
    if not data:
        data = os.path.dirname(options["labels"]) or "." if options.get("labels") else FOLDER
    cache_dir = options.get("cache_dir") or DEFAULT_CACHE
    check_outputs([*writes, *outputs], [*inputs_of(options), *reads], data=data, cache_dir=cache_dir)
    for name, path in outputs:
        if name == "--json":
            require_kind(name, path, "JSON report")


def digests_of_folder(folder: str, table: DigestTable) -> set[bytes]:
    """SHA-256 of all pictures below `folder`: their rows are the ones that `cache gc --data` keeps.

    For a picture that cannot be read, the digests that `table` has recorded, which is announced. Raises UserError for a
    folder without pictures, which may be a disk that is not mounted, and for an unreadable file without record.
    """
    from featurize.extract.outcome import Outcome
    from featurize.pictures.find_images import find_images

    listing = find_images(folder)
    if not listing.images:
        raise UserError(f"there is no picture in {folder}: nothing is dropped. Is the disk mounted?")
    outcome = Outcome(listing.images)
    outcome.take_digests(table)
    found = {digest for digest in outcome.digests if digest}
    unknown = []
    for failure in [*outcome.failures, *listing.failures]:
        if recorded := table.below(failure.path):
            found |= recorded
            log.warning("%s: %s; what it held before stays in the cache", failure.path, failure.reason)
        else:
            unknown.append(failure)
    if unknown:
        raise UserError(
            f"{unknown[0].path}: {unknown[0].reason}. Nobody knows which rows are of such files "
            f"({len(unknown)} in all): nothing is dropped; make them readable, or take them out of the folder"
        )
    return found
