"""Looking after the converted graphs of a cache: they only save time, so what is damaged or of no use is deleted."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

from cache.atomic import TEMPORARY_SUFFIX
from cache.lock import holding
from featurize.openvino_graph import FOLDER, LOCK, made_from, versions


def delete_damaged_graphs(cache_dir: str) -> list[str]:
    """The folders of graphs that were not as they had been written."""
    return [folder for folder in _folders(cache_dir, GRAPH) if made_from(folder) is None and _delete(folder)]


def delete_useless_graphs(cache_dir: str) -> int:
    """How many folders went: graphs made with other versions than those installed, and leftovers of killed runs.

    Where there are no locks the latter stay: a run may be writing them.
    """
    folders = [folder for folder in _folders(cache_dir, GRAPH) if not _of_these_versions(folder)]
    if _folders(cache_dir, TEMPORARY):
        with holding(os.path.join(cache_dir, FOLDER, LOCK)) as alone:
            folders += _folders(cache_dir, TEMPORARY) if alone else []
            return sum(map(_delete, folders))
    return sum(map(_delete, folders))
