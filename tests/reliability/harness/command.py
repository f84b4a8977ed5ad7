"""The real command on real photographs, in a cache that has its network: no run imports TensorFlow."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache.shard_file import open_shard


class Command:
    """`python -m pipeline` on the `pictures` different photographs in `data`."""

    def __init__(self, data: Path, prepared: Path, pictures: int, shard_rows: int = 8):
        self.data = data
        self.prepared = prepared
        self.pictures = pictures
        self.shard_rows = shard_rows

    def words(self, *words: Any) -> list[str]:
        """A command line."""
        return [sys.executable, "-m", "pipeline", *map(str, words)]

    def features(self, cache: Path, *words: Any) -> list[str]:
        """The command line that computes the features of all photographs."""
        fixed = ("--data", self.data, "--backbone", "nano", "--cache-dir", cache, "--shard-rows", self.shard_rows)
        return self.words("features", *fixed, *words)

    def cache(self, folder: Path) -> Path:
        """A cache without rows in `folder`, with the converted network."""
        return Path(shutil.copytree(self.prepared, folder))

    def run(self, words: Sequence[str], status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end, which has to be `status`."""
        done = subprocess.run(words, capture_output=True, text=True, errors="surrogateescape", check=False)
        assert done.returncode == status, done
        return done

    def report(self, cache: Path) -> dict[str, Any]:
        """The report of a run that nobody disturbs."""
        path = cache.with_name(f"{cache.name}.json")
        self.run(self.features(cache, "--json", path))
        report: dict[str, Any] = json.loads(path.read_text())
        return report

    def rows(self, cache: Path) -> int:
        """How many different rows the cache holds, each shard opened and every row checked, nothing changed."""
        digests = []
        for path in cache.glob("*/*.h5"):
            shard = open_shard(str(path))
            shard.verify()
            digests.append(shard.digests)
        return len(np.unique(np.concatenate(digests), axis=0)) if digests else 0
