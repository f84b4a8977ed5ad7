"""The real command in a process of its own, on a cache that holds the converted graph: it starts within a second."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from conftest import REPOSITORY

from cache.upkeep.spec_folders import stored_specs


def start(*words: object, under: Sequence[str] = ()) -> subprocess.Popen[str]:
    """`python -m pipeline` with `words`, under another program where one is named."""
    command = [*under, sys.executable, "-m", "pipeline", *map(str, words)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, **pipes)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of a command that was started."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def features(photos: Path, cache: Path, *words: object, under: Sequence[str] = ()) -> subprocess.Popen[str]:
    """`features` with the backbone nano; its report goes beside the cache, under a name of the caller's choice."""
    return start("features", "--data", photos, "--cache-dir", cache, "--backbone", "nano", *words, under=under)


def features_report(photos: Path, cache: Path, *words: object) -> dict[str, Any]:
    """The report of `features`, which has to succeed."""
    path = cache.with_suffix(".json")
    status, _, err = finish(features(photos, cache, "--json", path, *words))
    assert status == 0, err
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def empty_cache(warm_cache: Path, cache: Path) -> Path:
    """A cache without rows, at `cache`, that has the converted graph of `warm_cache`."""
    shutil.copytree(warm_cache / "graphs", cache / "graphs")
    return cache


def stored(cache: Path) -> dict[bytes, bytes]:
    """Key -> row, bit by bit, of everything in the cache, each of which must be there once."""
    found: dict[bytes, bytes] = {}
    for store in stored_specs(str(cache)):
        for shard in store.refresh():
            for key, row in zip(shard.digests, shard.read(np.arange(len(shard))), strict=True):
                assert key.tobytes() not in found, f"a row of {shard.path} is stored twice"
                found[key.tobytes()] = row.tobytes()
    return found
