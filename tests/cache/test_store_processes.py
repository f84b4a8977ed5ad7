"""Many processes at one store: locks, writers, readers, compaction."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import TESTS
from helpers.cached_rows import PROVENANCE, SPEC, filled, keys, rows

import cache.store
from cache.shard import DamagedShardError, open_shard
from cache.spec import FeatureSpec
from cache.store import FeatureStore

POOL = keys(40)  # few keys, so that random batches overlap


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


HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from helpers.cached_rows import SPEC
from cache.store import FeatureStore
with FeatureStore(sys.argv[1], SPEC).lock():
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_killed_process_blocks_nobody(store: FeatureStore, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, tmp_path, str(TESTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
    assert holder.returncode == -signal.SIGKILL
    assert store.commit(rows(2), keys(2), PROVENANCE) == 2


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from helpers.cached_rows import PROVENANCE, SPEC, keys, rows
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


def test_two_processes_that_commit_the_same_rows_store_each_once(tmp_path: Path) -> None:
    with writers(tmp_path, 2) as running:
        counts = [sum(int(line) for line in process.stdout.readlines()) for process in running if process.stdout]
    store = FeatureStore(str(tmp_path), SPEC)
    assert sum(counts) == 200
    assert sum(map(len, store.refresh())) == 200
    assert (store.read(keys(200)) == rows(200)).all()


def test_readers_see_no_error_while_others_commit_and_compact(tmp_path: Path) -> None:
    """Each row that was seen once is found from then on, and right."""
    stop = threading.Event()
    errors: list[str] = []
    reads = [0, 0, 0]

    def read(number: int) -> None:
        store = FeatureStore(str(tmp_path), SPEC)
        seen = np.zeros(200, bool)
        while not stop.is_set():
            if number == 0:
                store = FeatureStore(str(tmp_path), SPEC)
            there = store.contains(keys(200))
            if (seen & ~there).any():
                errors.append(f"{(seen & ~there).sum()} rows vanished")
            seen |= there
            try:
                right = (store.read(keys(200)[seen]) == rows(200)[seen]).all() if seen.any() else True
            except (OSError, KeyError, DamagedShardError) as error:
                errors.append(repr(error))
            else:
                if not right:
                    errors.append("wrong numbers")
            reads[number] += 1

    def compact() -> None:
        store = FeatureStore(str(tmp_path), SPEC)
        while not stop.is_set():
            store.compact(60)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    threads.append(threading.Thread(target=compact))
    for thread in threads:
        thread.start()
    with writers(tmp_path, 2):
        pass
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert min(reads) > 3
    store = FeatureStore(str(tmp_path), SPEC)
    assert sum(map(len, store.refresh())) == 200
    assert not list(Path(store.folder).glob("*.damaged"))


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
