"""Many processes at one store: locks, writers, readers, compaction."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TESTS
from helpers.storage.cached_rows import PROVENANCE, SPEC, filled, keys, rows

import cache.store
from cache.row_key import FeatureSpec
from cache.shard_file import open_shard
from cache.store import FeatureStore


def test_the_lock_is_taken_again_by_its_holder_but_by_nobody_else(tmp_path: Path) -> None:
    store = filled(tmp_path, 2, 2)
    done: list[str] = []

    def commit() -> None:
        FeatureStore(str(tmp_path), SPEC).commit(rows(8)[6:], keys(8)[6:], PROVENANCE)
        done.append("commit")

    def compact() -> None:
        FeatureStore(str(tmp_path), SPEC).compact(100)
        done.append("compact")

    others = [threading.Thread(target=commit), threading.Thread(target=compact)]
    with store.lock():
        for other in others:
            other.start()
        assert store.commit(rows(6)[4:], keys(6)[4:], PROVENANCE) == 2
        assert FeatureStore(str(tmp_path), SPEC).compact(4) == (0, 1)
        for other in others:
            other.join(0.2)
        assert done == []
    for other in others:
        other.join(600)
    assert sorted(done) == ["commit", "compact"]
    assert (store.read(keys(8)) == rows(8)).all()


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from helpers.storage.cached_rows import PROVENANCE, SPEC, keys, rows
from cache.store import FeatureStore
store = FeatureStore(sys.argv[1], SPEC)
order = np.random.default_rng(int(sys.argv[3])).permutation(200)
print("ready", flush=True)
sys.stdin.readline()
for start in range(0, 200, 10):
    batch = order[start : start + 10]
    print(store.commit(rows(200)[batch], keys(200)[batch], PROVENANCE))
"""


@contextlib.contextmanager
def writers(folder: Path, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that commit the same 200 rows, each in its own order, from the moment all are ready."""
    here = str(TESTS)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder), here, str(seed)], **pipes)  # type: ignore[call-overload]
        for seed in range(count)
    ]
    try:
        for process in running:
            assert process.stdout.readline() == "ready\n"
        for process in running:
            process.stdin.write("\n")
            process.stdin.flush()
        yield running
    finally:
        for process in running:
            process.communicate(timeout=600)


def test_a_listing_that_misses_both_old_and_new_shards_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 3, 4)
    reader = FeatureStore(str(tmp_path), SPEC)
    listdir = os.listdir
    torn = [True]

    def compacted_while_listing(folder: str) -> list[str]:
        names = listdir(folder)
        if torn.pop() if torn else False:
            store.compact(100)
            return [name for name in names if not name.endswith(".h5")]
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", compacted_while_listing)
    assert reader.contains(keys(7)).all()


def test_a_shard_merged_while_the_folder_is_opened_is_looked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 3, 4)
    reader = FeatureStore(str(tmp_path), SPEC)
    opened: list[str] = []

    def compacted_before_opening(path: str, spec: FeatureSpec) -> object:
        if not opened:
            opened.append(path)
            store.compact(100)
        return open_shard(path, spec)

    monkeypatch.setattr(cache.store, "open_shard", compacted_before_opening)
    assert reader.contains(keys(7)).all()
    assert not list(Path(store.folder).glob("*.damaged"))
