"""Refuse, before any work, outputs that would destroy an input, another output or the cache."""

import os
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from cache.arguments import at_home
from cache.digest_table import FILE_NAME
from cache.errors import UserError
from cache.upkeep.spec_folders import is_spec_folder
from featurize.engines.converted import FOLDER, LOCK
from featurize.model_files.find_files import models_in
from featurize.pictures.find_images import SUFFIXES
from featurize.remembered_weights import FILE_NAME as WEIGHTS_FILE

Named = tuple[str, str]  # an option such as "--json", and the path that it names


def named(name: str, *paths: Any) -> list[Named]:
    """Pair each path with its option. None and anything that is no path, such as a table in memory, is left out."""
    return [(name, os.fspath(path)) for path in paths if isinstance(path, str | os.PathLike) and path != ""]


def inputs_of(options: Mapping[str, Any]) -> list[Named]:
    """The files that a request reads: its table of labels, weights and backbones. Joined ones ("a+b") are several."""
    found = named("--labels", options.get("labels"))
    for option in ("weights", "backbone"):
        for _, text in named(option, options.get(option)):
            pieces = {text, *text.split("+")}
            found += [(f"--{option}", piece) for piece in sorted(pieces) if os.path.isfile(at_home(piece))]
            found += [(f"--{option}", path) for piece in sorted(pieces) for path in models_in(at_home(piece))]
    return [(name, at_home(path)) for name, path in found]


def check_outputs(
    outputs: Iterable[Named], inputs: Iterable[Named] = (), *, data: Any = None, cache_dir: Any = None
) -> None:
    """Refuse an output that would replace an input, another output or a file of the cache, or be a picture in `data`.

    Two spellings of a path are one file: through a link, as a hard link, or in another case if the file system ignores
    case. Paths of the same option may be equal. `data` is a folder of pictures. Raises UserError that names both paths.
    """
    outputs, inputs = list(outputs), list(inputs)
    for number, (name, path) in enumerate(outputs):
        others = [(other, taken) for other, taken in outputs[:number] if other != name]
        read = [(other, taken) for other, taken in inputs if other != name]
        for other, taken in [*read, *others]:
            if _is_same(path, taken):
                raise UserError(f"{name} {path} would overwrite {other} {taken}: name another file")
        for other, taken in others:
            if is_below(path, taken) or is_below(taken, path):
                raise UserError(f"{name} {path} and {other} {taken}: a file is no folder: name another file")
        if cache_dir is not None and _is_of_cache(path, os.fspath(cache_dir)):
            raise UserError(f"{name} {path} is a place of the cache {cache_dir}: name another file")
        if data is not None and os.path.splitext(path)[1].lower() in SUFFIXES and is_below(path, os.fspath(data)):
            raise UserError(f"{name} {path} would be taken for a picture of the data {data}: write it elsewhere")


def _is_same(one: str, other: str) -> bool:
    """Whether two paths are, or will be, one file."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one is not there yet
        return not _spellings(one).isdisjoint(_spellings(other))


def _spellings(path: str) -> set[str]:
    """The path with all links resolved, and with only its folder's links resolved.

    The second one counts because writing replaces a link, not its target. Case and Unicode form are made uniform: some
    file systems ignore them.
    """
    folder, name = os.path.split(os.path.abspath(path))
    places = (os.path.realpath(path), os.path.join(os.path.realpath(folder), name))
    return {unicodedata.normalize("NFC", place).casefold() for place in places}


def is_below(path: str, folder: str) -> bool:
    """Whether the file `path` lies below `folder`; neither need exist."""
    return _below(path, folder).split(os.sep)[0] != os.pardir


def _below(path: str, folder: str) -> str:
    """The folder of `path`, relative to `folder`: "." for the same one; it begins with ".." outside of `folder`."""
    return os.path.relpath(os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.realpath(folder))


def _is_of_cache(path: str, cache_dir: str) -> bool:
    """Whether a path is the cache, a folder that contains it, or a file that the cache holds or may create."""
    if _is_same(path, cache_dir) or is_below(cache_dir, path):
        return True
    if not is_below(path, cache_dir):
        return False
    first = os.path.normpath(os.path.join(_below(path, cache_dir), os.path.basename(path))).split(os.sep)[0]
    return (
        first.startswith(FILE_NAME)
        or first in (FOLDER, LOCK, WEIGHTS_FILE)
        or is_spec_folder(os.path.join(cache_dir, first))
    )
