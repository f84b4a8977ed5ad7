"""Graphs for OpenVINO: each network is converted once, its graph is kept in the cache and read without TensorFlow.

A kept graph only saves time. A damaged or useless one is deleted. One that cannot be written is used from memory.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cache.files.atomic import TEMPORARY_SUFFIX, make_folder, sync_file, write_atomically
from cache.files.lock import holding
from cache.files.plain_file import open_plain
from featurize.engines.silent_openvino import import_openvino, save_graph, silent_converter
from featurize.resolve import Resolved

log = logging.getLogger("bottleneck")

FOLDER = "graphs"  # in the cache
LOCK = ".graphs.lock"  # in the cache
FILES = ("network.xml", "network.bin")
DIGESTS = "digests.json"
GRAPH = r"[0-9a-f]{16}"
TEMPORARY = rf"(tmp\w+|{GRAPH}\.[0-9a-f]{{12}})\.tmp"


class ConversionError(Exception):
    """OpenVINO cannot compute a layer of the network."""


def kept_graph(checked: Resolved, cache_dir: str, build: Callable[[], Any]) -> Any:
    """The converted graph (openvino.Model) of a checked spec. `build` gives the network (keras.Model) to convert.

    A graph's key is all that it was made from, library versions included. A kept graph is used only if its files still
    have the digests that were recorded with it. If the disk is full or the cache is read-only, the graph is not kept
    and the log says so. Raises ConversionError for a network that OpenVINO cannot compute.
    """
    identity = _identity(checked)
    folder = os.path.join(cache_dir, FOLDER, _name(identity))
    if not _is_whole(folder, identity):
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a cache that cannot be written: `_keep` fails as well
                make_folder(os.path.dirname(folder))
                stack.enter_context(
                    holding(os.path.join(cache_dir, LOCK), "another run is converting a network: waiting for it")
                )
            if made_from(folder) != identity:  # else another process has converted it meanwhile
                tuned = "a fine-tuned " if checked.spec.tuned else ""
                log.info("converting %s%s for OpenVINO, once", tuned, checked.spec.backbone)
                model = _converted(build())
                try:
                    _keep(model, folder, identity)
                except OSError as error:
                    reason = error.strerror or error
                    log.warning("the converted graph is not kept, the next run converts again: %s: %s", reason, folder)
                    return model
    return import_openvino().Core().read_model(os.path.join(folder, FILES[0]))


def delete_damaged_graphs(cache_dir: str) -> list[str]:
    """Delete graphs whose files have changed; returns their folders. A run that needs one converts it again."""
    damaged = [folder for folder in _named(cache_dir, GRAPH) if made_from(folder) is None]
    for folder in damaged:
        _delete(folder)
    return damaged


def useless_graphs(cache_dir: str) -> list[str]:
    """The folders of graphs that other library versions made, and of unfinished graphs that killed runs left."""
    graphs, unfinished = _named(cache_dir, GRAPH), _named(cache_dir, TEMPORARY)
    return [folder for folder in graphs if not _is_of_use(folder)] + unfinished


def delete_useless_graphs(cache_dir: str) -> int:
    """Delete `useless_graphs`; returns how many. Without file locks, unfinished ones stay: a run may write them."""
    if not useless_graphs(cache_dir):
        return 0
    with holding(os.path.join(cache_dir, LOCK)) as alone:
        useless = [
            each for each in useless_graphs(cache_dir) if alone or not re.fullmatch(TEMPORARY, os.path.basename(each))
        ]
        for folder in useless:
            _delete(folder)
    return len(useless)


def _identity(checked: Resolved) -> str:
    spec = checked.spec
    fields = (spec.backbone, spec.weights, spec.layer, spec.pooling, spec.size, spec.preprocess)
    tuned = [spec.tuned] if spec.tuned else []
    return json.dumps([*fields, *tuned, *_versions()])


def _name(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _converted(network: Any) -> Any:
    frontend = import_openvino().frontend
    _, height, width, _ = network.input_shape
    try:
        with warnings.catch_warnings(), _same_logging(), silent_converter() as openvino:
            warnings.simplefilter("ignore", UserWarning)  # Keras, of an input that comes without its name
            return openvino.convert_model(network, input=[-1, height, width, 3])
    except (frontend.OpConversionFailure, frontend.OpValidationFailure, frontend.NotImplementedFailure) as error:
        raise ConversionError(" ".join(str(error).split())[:300]) from error  # a message of many lines


@contextlib.contextmanager
def _same_logging() -> Iterator[None]:
    """Restore the root logger. OpenVINO silences it during a conversion, and leaves it silent if that fails."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers


def _keep(model: Any, folder: str, identity: str) -> None:
    """Write the three files of a graph to `folder`: all of them or none."""
    make_folder(os.path.dirname(folder))
    fresh = f"{folder}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}"
    try:
        os.mkdir(fresh)  # a folder of `tempfile` would be readable by this user alone
        save_graph(model, os.path.join(fresh, FILES[0]))
        for name in FILES:
            sync_file(os.path.join(fresh, name))
        digests = {name: _digest(os.path.join(fresh, name)) for name in FILES}
        record = json.dumps({"made from": identity, "sha256": digests})
        write_atomically(os.path.join(fresh, DIGESTS), record.encode())
        _delete(folder)
        try:
            os.rename(fresh, folder)
        except OSError:
            if not _is_whole(folder, identity):  # else another process was faster, without locks: the graph is the same
                raise
        sync_file(os.path.dirname(folder))
    finally:
        _delete(fresh)


def _is_whole(folder: str, identity: str) -> bool:
    """Whether the graph in `folder` is whole and made from `identity`. The log names one that is not."""
    whole = made_from(folder) == identity
    if not whole and os.path.lexists(folder):
        log.warning("the converted graph in %s is damaged: converting again", folder)
    return whole


def made_from(folder: str) -> str | None:
    """What the graph in `folder` was made from, as JSON that ends with the versions; None if its files have changed."""
    try:
        with open_plain(os.path.join(folder, DIGESTS)) as file:
            record = json.loads(file.read(2**16))
        identity = str(record["made from"])
        whole = all(_digest(os.path.join(folder, name)) == record["sha256"][name] for name in FILES)
        if whole and os.path.basename(folder) == _name(identity):
            return identity
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # whatever the reason, there is no usable graph
    return None


def _delete(folder: str) -> None:
    """Delete a graph, or anything else of that name. A link is deleted, not what it leads to."""
    if os.path.isdir(folder) and not os.path.islink(folder):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(folder)


def _versions() -> list[str]:
    """The versions of the libraries that convert."""
    return [version(library) for library in ("openvino", "keras", "tensorflow")]


def _digest(path: str) -> str:
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_of_use(folder: str) -> bool:
    try:
        ours = json.dumps(_versions())[1:]  # the end of what a graph of these versions was made from
    except PackageNotFoundError:  # OpenVINO is not installed here: the graphs may be another user's
        return True
    return (made_from(folder) or "").endswith(ours)


def _named(cache_dir: str, pattern: str) -> list[str]:
    folder = os.path.join(cache_dir, FOLDER)
    if os.path.islink(folder) or not os.path.isdir(folder):  # a link may lead anywhere
        return []
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if re.fullmatch(pattern, name))
