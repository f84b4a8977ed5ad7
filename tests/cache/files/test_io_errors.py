"""A disk or a server that fails for a moment: read again, never take a good shard for a damaged one."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers.storage.cached_rows import PROVENANCE, SPEC, damage, filled, keys, rows, shards

from cache.shard_file import DamagedShardError, UnreadableShardError
from cache.store import FeatureStore
from cache.upkeep.inventory import collect_garbage, verify

READING = """
import json, sys
sys.path[:0] = sys.argv[1:3]
from helpers.storage.cached_rows import SPEC, keys, rows
from cache.shard_file import DamagedShardError
from cache.store import FeatureStore

store = FeatureStore(sys.argv[3], SPEC)
there = store.contains(keys(7))
try:
    right = bool((store.read(keys(7)[there]) == rows(7)[there]).all())
except DamagedShardError as damage:
    store.set_aside(damage)
    right, there = True, store.contains(keys(7))
print(json.dumps([right, there.tolist()]))
"""


@pytest.mark.parametrize("when", ["1", "1+"])
@pytest.mark.parametrize("call", ["openat:error=ESTALE", "read:error=EIO", "preadv,preadv2:error=EIO"])
def test_an_error_at_any_call_of_a_reader_leaves_the_shard_where_it_is(tmp_path: Path, call: str, when: str) -> None:
    if not shutil.which("strace") or subprocess.run(["strace", "true"], check=False, capture_output=True).returncode:
        pytest.skip("strace is not to be had, or may not trace here")
    store = filled(tmp_path, 3, 4)
    shard = shards(store)[0]
    failing = ["-P", shard, "-e", f"trace={call.split(':', maxsplit=1)[0]}", "-e", f"inject={call}:when={when}"]
    words = [sys.executable, "-c", READING, str(REPOSITORY), str(REPOSITORY / "tests"), str(tmp_path)]
    done = subprocess.run(
        ["strace", "-f", "-o", os.devnull, *failing, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, [when == "1"] * 3 + [True] * 4]
    assert ("passed over for now" in done.stderr and shard in done.stderr) == (when == "1+")
    assert len(shards(store)) == 2 and not list(tmp_path.rglob("*.damaged"))
    assert (FeatureStore(str(tmp_path), SPEC).read(keys(7)) == rows(7)).all()


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Paths of shards whose rows the system fails to read."""
    paths: set[str] = set()
    read = os.preadv

    def preadv(file: int, *rest: Any) -> int:
        if os.readlink(f"/proc/self/fd/{file}") in paths:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(file, *rest)

    monkeypatch.setattr(os, "preadv", preadv)
    return paths


def test_rows_that_cannot_be_read_are_stored_again_and_merged_when_the_disk_is_well(
    tmp_path: Path, failing_disk: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path, 3, 4)
    failing_disk.add(path := shards(store)[0])
    with pytest.raises(UnreadableShardError, match="Input/output error") as raised:
        store.read(keys(7))
    store.set_aside(raised.value)
    assert path in caplog.text and store.contains(keys(7)).tolist() == [False] * 3 + [True] * 4
    assert store.commit(rows(7), keys(7), PROVENANCE) == 3
    assert (store.read(keys(7)) == rows(7)).all() and os.path.exists(path)
    failing_disk.clear()
    assert collect_garbage(str(tmp_path), 100) == {"files": 0, "rows": 3, "shards": 2}
    assert (store.read(keys(7)) == rows(7)).all()


def test_verify_and_gc_leave_it_where_it_is(tmp_path: Path, failing_disk: set[str]) -> None:
    store = filled(tmp_path, 3, 4, 5)
    failing_disk.add(path := shards(store)[1])
    found = verify(str(tmp_path))
    assert [(damage.path, damage.rows_lost) for damage in found.damaged] == [(path, 4)] and found.rows == 8
    assert collect_garbage(str(tmp_path), 100)["files"] == 0
    assert collect_garbage(str(tmp_path), 100, set())["rows"] == 8, "what cannot be read is not dropped"
    failing_disk.clear()
    assert (FeatureStore(str(tmp_path), SPEC).read(keys(12)[3:7]) == rows(12)[3:7]).all()


def test_a_checksum_that_is_wrong_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path, 3, 4)
    store.refresh()
    read, wrong = os.preadv, [1]

    def preadv(file: int, buffers: list[Any], *rest: Any) -> int:
        count = read(file, buffers, *rest)
        if wrong:
            buffers[0].cast("B")[0] ^= wrong.pop()
        return count

    monkeypatch.setattr(os, "preadv", preadv)
    with caplog.at_level(logging.INFO, "bottleneck"):
        assert (store.read(keys(7)) == rows(7)).all()
    assert caplog.text.count("read again") == 1
    wrong += [1, 2]
    with pytest.raises(UnreadableShardError, match="checksum"):
        store.read(keys(7)[:3])


def test_a_checksum_that_is_wrong_twice_alike_is_damage(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4)
    damage(shards(store)[0])
    with pytest.raises(DamagedShardError, match="checksum") as raised:
        store.read(keys(7))
    assert not isinstance(raised.value, UnreadableShardError)
    store.set_aside(raised.value)
    assert np.flatnonzero(store.contains(keys(7))).tolist() == [3, 4, 5, 6] and len(shards(store)) == 1
