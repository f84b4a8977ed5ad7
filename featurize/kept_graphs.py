"""Looking after the converted graphs in a cache. They only save time: what is damaged or of no use is deleted."""

import json
import os
import re
from importlib.metadata import PackageNotFoundError

from cache.lock import holding
from featurize.openvino_graph import FOLDER, LOCK, delete, made_from, versions

GRAPH = r"[0-9a-f]{16}"
TEMPORARY = r".+\.tmp"


def delete_damaged_graphs(cache_dir: str) -> list[str]:
    """The folders of graphs that were not as they had been written; each is deleted, and converted anew when needed."""
    damaged = [folder for folder in _named(cache_dir, GRAPH) if made_from(folder) is None]
    for folder in damaged:
        delete(folder)
    return damaged


def delete_useless_graphs(cache_dir: str) -> int:
    """How many folders were deleted: graphs made by other versions than those installed, and leftovers of killed runs.

    Where there are no locks the latter stay: a run may be writing them.
    """
    graphs, unfinished = _named(cache_dir, GRAPH), _named(cache_dir, TEMPORARY)
    if not graphs + unfinished:
        return 0
    with holding(os.path.join(cache_dir, LOCK)) as alone:
        useless = [folder for folder in graphs if not _is_of_use(folder)]
        if alone:
            useless += unfinished
        for folder in useless:
            delete(folder)
    return len(useless)


def _is_of_use(folder: str) -> bool:
    try:
        ours = json.dumps(versions())[1:]  # the end of what a graph of these versions was made from
    except PackageNotFoundError:  # nothing to compare with: somebody else's, who has OpenVINO
        return True
    return (made_from(folder) or "").endswith(ours)


def _named(cache_dir: str, pattern: str) -> list[str]:
    folder = os.path.join(cache_dir, FOLDER)
    if os.path.islink(folder) or not os.path.isdir(folder):  # a link may lead anywhere
        return []
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if re.fullmatch(pattern, name))
