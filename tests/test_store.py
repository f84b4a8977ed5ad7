"""The store: what was committed is read back, once, by everybody, whatever happens beside it."""

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_rows import OTHER_SPEC, PROVENANCE, SPEC, folder_for_all, keys, read_only, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import cache.store
from cache.shard import DamagedShardError, encode_shard, open_shard
from cache.spec import FeatureSpec
from cache.store import FeatureStore, stored_specs

POOL = keys(40)  # few keys, so that random batches overlap


def shards(store: FeatureStore) -> list[str]:
    return sorted(str(path) for path in Path(store.folder).glob("*.h5"))


def damage(path: str) -> None:
    """Flip one bit in the first row of a shard."""
    with open(path, "r+b") as file:
        file.seek(open_shard(path).offset)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(str(tmp_path), SPEC)


def filled(folder: str | Path, *sizes: int, spec: FeatureSpec = SPEC) -> FeatureStore:
    """A store with shards of `sizes` rows; all of its rows together are rows(n), keys(n)."""
    store = FeatureStore(str(folder), spec)
    first = 0
    for size in sizes:
        batch = slice(first, first + size)
        store.commit(rows(sum(sizes))[batch], keys(sum(sizes))[batch], PROVENANCE)
        first += size
    return store


# ---- one process ----


def test_nothing_is_created_by_asking(store: FeatureStore, tmp_path: Path) -> None:
    assert not store.contains(POOL).any()
    assert store.contains(POOL[:0]).shape == (0,)
    assert len(store.read(POOL[:0])) == 0
    with pytest.raises(KeyError, match=r"40 of 40 rows are not in .*mobilenet_v2"):
        store.read(POOL)
    assert store.refresh() == []
    assert os.listdir(tmp_path) == []


def test_committed_rows_are_found_by_every_store_of_the_spec_and_no_other(tmp_path: Path) -> None:
    earlier = FeatureStore(str(tmp_path), SPEC)
    earlier.contains(POOL)
    assert filled(tmp_path, 3, 4).contains(keys(7)).all()
    for store in (earlier, FeatureStore(str(tmp_path), SPEC)):
        assert (store.read(keys(7)) == rows(7)).all()
    assert not FeatureStore(str(tmp_path), OTHER_SPEC).contains(keys(7)).any()


@pytest.mark.parametrize("name", asdict(SPEC))
def test_one_changed_field_of_the_spec_misses_every_row(tmp_path: Path, name: str) -> None:
    filled(tmp_path, 3)
    value = getattr(SPEC, name)
    changed = replace(SPEC, **{name: value + 1 if name == "decoder" else (224, 225) if name == "size" else "other"})
    assert not FeatureStore(str(tmp_path), changed).contains(keys(3)).any()


batches = st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=12), min_size=1, max_size=5)


@given(batches=batches, shape=arrays.array_shapes(max_dims=3, max_side=4), data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_first_row_under_a_key_stays_and_is_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[int]],
    shape: tuple[int, ...],
    data: st.DataObject,
) -> None:
    store = FeatureStore(str(tmp_path_factory.mktemp("store")), SPEC)
    model: dict[int, bytes] = {}
    for seed, batch in enumerate(batches):
        features = np.random.default_rng(seed).integers(0, 2**32, (len(batch), *shape), np.uint32).view("<f4")
        before = len(model)
        for number, row in zip(batch, features, strict=True):
            model.setdefault(number, row.tobytes())
        assert store.commit(features, POOL[batch], PROVENANCE) == len(model) - before
    assert sum(map(len, store.refresh())) == len(model)
    assert [number for number in range(40) if store.contains(POOL)[number]] == sorted(model)
    wanted = data.draw(st.lists(st.sampled_from(sorted(model)), max_size=50))
    for reader in (store, FeatureStore(str(Path(store.folder).parent), SPEC)):
        found = reader.read(POOL[wanted])
        assert len(found) == len(wanted)
        assert [row.tobytes() for row in found] == [model[number] for number in wanted]


def test_keys_that_differ_in_one_byte_are_kept_apart(store: FeatureStore) -> None:
    alike = np.zeros((66, 32), np.uint8)
    for byte in range(32):
        alike[byte, byte] = 1
        alike[32 + byte, byte] = 128
    alike[65] = 255
    store.commit(rows(66)[::2], alike[::2], PROVENANCE)
    assert store.contains(alike).tolist() == [True, False] * 33
    store.commit(rows(66)[1::2], alike[1::2], PROVENANCE)
    assert (store.read(alike) == rows(66)).all()


def test_rows_that_are_all_stored_already_make_no_shard(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    assert store.commit(rows(5, seed=1), keys(5), PROVENANCE) == 0
    assert len(shards(store)) == 1
    assert (store.read(keys(5)) == rows(5)).all()


def test_keys_and_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    new = keys(9)[5:]
    for features, digests in (
        (rows(3), new),
        (rows(5), new),
        (rows(4), new[:, :31]),
        (rows(4), new.astype(np.int64)),
        (rows(4), new.ravel()),
        (rows(4, 7), new),
        (rows(4, 8).reshape(4, 2, 4), new),
    ):
        with pytest.raises(ValueError, match=r"keys of shape|rows of shape"):
            store.commit(features, digests, PROVENANCE)
    assert len(shards(store)) == 1


def test_shards_carry_spec_and_provenance_and_the_folder_its_spec(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    shard = open_shard(shards(store)[0])
    assert (shard.spec, shard.provenance) == (SPEC, PROVENANCE)
    record = json.loads(Path(store.folder, "spec.json").read_text())
    assert record == {"fingerprint": SPEC.fingerprint, "spec": SPEC.to_json()}


def test_a_damaged_spec_file_is_mended_by_the_next_commit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(tmp_path, 2)
    for content in (b"", b"{", b"[]", b"[" * 100_000, b'{"spec": {}}'):
        Path(store.folder, "spec.json").write_bytes(content)
        caplog.clear()
        assert list(stored_specs(str(tmp_path))) == []
        assert store.folder in caplog.text
    store.commit(rows(3)[2:], keys(3)[2:], PROVENANCE)
    assert [found.spec for found in stored_specs(str(tmp_path))] == [SPEC]


def test_a_copied_folder_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(tmp_path, 2)
    copy = Path(f"{store.folder} (copy)")
    copy.mkdir()
    (copy / "spec.json").write_bytes(Path(store.folder, "spec.json").read_bytes())
    (tmp_path / "a folder of something else").mkdir()
    (tmp_path / "file").touch()
    assert [found.folder for found in stored_specs(str(tmp_path))] == [store.folder]
    assert str(copy) in caplog.text
    assert list(stored_specs(str(tmp_path / "missing"))) == []
    assert list(stored_specs(str(tmp_path / "file"))) == []


def test_a_cache_whose_name_is_no_utf8(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n")
    store = filled(folder, 2, 3)
    store.compact(100)
    assert (FeatureStore(folder, SPEC).read(keys(5)) == rows(5)).all()


# ---- damage ----


def test_a_damaged_shard_is_set_aside_and_its_rows_count_as_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path, 3, 4)
    path = shards(store)[0]
    damage(path)
    with pytest.raises(DamagedShardError, match="checksum") as raised:
        store.read(keys(7))
    assert raised.value.path == path
    assert (store.read(keys(7)[3:]) == rows(7)[3:]).all()
    store.set_aside(raised.value)
    assert path in caplog.text
    assert store.contains(keys(7)).tolist() == [False] * 3 + [True] * 4
    assert os.path.exists(path + ".damaged")
    assert store.commit(rows(7), keys(7), PROVENANCE) == 3
    assert (store.read(keys(7)) == rows(7)).all()


def test_a_shard_with_a_damaged_header_is_set_aside_when_the_folder_is_opened(tmp_path: Path) -> None:
    filled(tmp_path, 3, 4)
    store = FeatureStore(str(tmp_path), SPEC)
    path = shards(store)[1]
    os.truncate(path, 100)
    stranger = os.path.join(store.folder, "stranger.h5")
    os.mkfifo(stranger)
    assert store.contains(keys(7)).tolist() == [True] * 3 + [False] * 4
    assert sorted(os.listdir(store.folder))[-3:] == [
        os.path.basename(path) + ".damaged",
        "spec.json",
        "stranger.h5.damaged",
    ]


def test_a_shard_of_another_spec_in_the_folder_is_set_aside(tmp_path: Path) -> None:
    store, other = filled(tmp_path, 3), filled(tmp_path, 4, spec=OTHER_SPEC)
    os.rename(shards(other)[0], os.path.join(store.folder, "moved.h5"))
    assert store.contains(keys(3)).all()
    assert not store.contains(keys(4)[3:]).any()
    assert os.path.exists(os.path.join(store.folder, "moved.h5.damaged"))


def test_rows_of_two_widths_are_never_mixed(tmp_path: Path) -> None:
    store = filled(tmp_path, 3)
    stranger = FeatureStore(str(tmp_path / "other"), SPEC)
    stranger.commit(rows(1, 1), keys(4)[3:], PROVENANCE)
    os.rename(shards(stranger)[0], os.path.join(store.folder, "narrow.h5"))
    with pytest.raises(DamagedShardError, match="shape"):
        store.read(keys(4))


def test_a_damaged_shard_that_cannot_be_renamed_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    with folder_for_all() as folder:
        filled(folder, 3, 4)
        store = FeatureStore(folder, SPEC)
        path = shards(store)[0]
        damage(path)
        with read_only(folder):
            with pytest.raises(DamagedShardError) as raised:
                store.read(keys(7))
            store.set_aside(raised.value)
            assert path in caplog.text
            caplog.clear()
            assert store.contains(keys(7)).tolist() == [False] * 3 + [True] * 4
            with pytest.raises(KeyError):
                store.read(keys(7))
            assert (store.read(keys(7)[3:]) == rows(7)[3:]).all()
            assert caplog.text == ""
            with pytest.raises(PermissionError):
                store.commit(rows(7), keys(7), PROVENANCE)
        assert os.path.exists(path)


def test_a_read_only_cache_serves_its_rows_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with folder_for_all() as folder:
        names = os.listdir(filled(folder, 3, 4).folder)
        store = FeatureStore(folder, SPEC)
        with read_only(folder), caplog.at_level(logging.INFO):
            assert store.contains(keys(7)).all()
            assert (store.read(keys(7)) == rows(7)).all()
        assert caplog.text == ""
        assert os.listdir(store.folder) == names


def test_two_that_set_the_same_shard_aside_do_not_disturb_each_other(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    one, other = FeatureStore(str(tmp_path), SPEC), FeatureStore(str(tmp_path), SPEC)
    damage(shards(one)[0])
    found = []
    for store in (one, other):
        with pytest.raises(DamagedShardError) as raised:
            store.read(keys(3))
        found.append(raised.value)
    one.set_aside(found[0])
    other.set_aside(found[1])
    assert other.commit(rows(3), keys(3), PROVENANCE) == 3
    assert (one.read(keys(3)) == rows(3)).all()


def test_a_lack_of_file_descriptors_costs_no_shard(tmp_path: Path) -> None:
    filled(tmp_path, 3, 4)
    store = FeatureStore(str(tmp_path), SPEC)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))  # enough to list the folder
    taken = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Too many open files"):
            store.contains(keys(7))
    finally:
        os.close(taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (store.read(keys(7)) == rows(7)).all()
    assert len(shards(store)) == 2


FULL_DISK = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from cached_rows import PROVENANCE, SPEC, keys, rows
from cache.store import FeatureStore
store = FeatureStore(sys.argv[1], SPEC)
store.commit(rows(100, 500)[:50], keys(100)[:50], PROVENANCE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    store.commit(rows(100, 500), keys(100), PROVENANCE)
except OSError as error:
    assert (store.read(keys(100)[:50]) == rows(100, 500)[:50]).all()
    sys.exit(f"{error.errno} {error.filename}")
"""


@pytest.mark.parametrize("limit", [0, 1000, 60_000])
def test_a_full_disk_is_an_error_naming_the_path_and_loses_nothing(tmp_path: Path, limit: int) -> None:
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", FULL_DISK, tmp_path, here, str(limit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    store = FeatureStore(str(tmp_path), SPEC)
    number, path = result.stderr.strip().split(maxsplit=1)
    assert (result.returncode, number) == (1, "27")
    assert path.startswith(store.folder)
    assert store.leftovers() == []
    assert (store.read(keys(100)[:50]) == rows(100, 500)[:50]).all()
    assert store.commit(rows(100, 500), keys(100), PROVENANCE) == 50
    assert (store.read(keys(100)) == rows(100, 500)).all()


def test_a_shard_that_reads_back_wrong_is_an_error_and_no_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 3)

    def miswritten(*arguments: Any) -> memoryview:
        content = bytearray(encode_shard(*arguments))
        content[-1] ^= 1
        return memoryview(content)

    names = sorted(os.listdir(store.folder))
    monkeypatch.setattr(cache.store, "encode_shard", miswritten)
    with pytest.raises(OSError, match=rf"Input/output error: '{store.folder}"):
        store.commit(rows(7), keys(7), PROVENANCE)
    assert sorted(os.listdir(store.folder)) == names
    assert (store.read(keys(3)) == rows(7)[:3]).all()


# ---- compaction ----


def test_small_shards_are_merged_and_full_ones_left_alone(tmp_path: Path) -> None:
    store = filled(tmp_path, 10, 2, 3, 1, 10, 4)
    full = shards(store)[0]
    assert store.compact(10) == (0, 2)
    assert sorted(map(len, store.refresh())) == [4, 6, 10, 10]
    assert full in shards(store)
    assert (store.read(keys(30)) == rows(30)).all()
    assert store.compact(10) == (0, 1)
    names = shards(store)
    assert store.compact(10) == (0, 0)
    assert shards(store) == names


def test_a_reader_from_before_a_compaction_reads_on(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4, 5)
    reader = FeatureStore(str(tmp_path), SPEC)
    assert reader.contains(keys(12)).all()
    store.compact(100)
    assert len(shards(store)) == 1
    assert (reader.read(keys(12)) == rows(12)).all()


def test_only_the_rows_to_keep_stay(tmp_path: Path) -> None:
    store = filled(tmp_path, 5, 5, 5, 5)
    kept = [0, 2, 16, 17, 19]
    assert store.compact(5, {keys(20)[number].tobytes() for number in kept}) == (15, 3)
    assert np.flatnonzero(store.contains(keys(20))).tolist() == kept
    assert (store.read(keys(20)[kept]) == rows(20)[kept]).all()
    assert store.compact(5, set()) == (5, 1)
    assert shards(store) == []


def test_shards_of_other_versions_are_not_merged_but_those_of_other_days_are(store: FeatureStore) -> None:
    for number, (version, day) in enumerate([("2.20", 1), ("2.21", 2), ("2.20", 3), ("2.21", 4), ("2.21", 5)]):
        batch = slice(2 * number, 2 * number + 2)
        store.commit(rows(10)[batch], keys(10)[batch], {"tensorflow": version, "written": f"day {day}"})
    assert store.compact(100) == (0, 3)
    found = sorted(
        (shard.provenance["tensorflow"], shard.provenance["written"], len(shard)) for shard in store.refresh()
    )
    assert found == [("2.20", "day 3", 4), ("2.21", "day 5", 6)]
    assert (store.read(keys(10)) == rows(10)).all()


def test_large_rows_are_merged_only_as_far_as_memory_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, 4, 4, 4, 4)
    monkeypatch.setattr(cache.store, "SHARD_BYTES", 9 * 8 * 4)
    store.compact(1000)
    assert [len(shard) for shard in store.refresh()] == [8, 8]


def test_a_compaction_killed_before_it_removed_the_old_shards_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 3, 4)

    def killed(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            store.compact(100)
    assert len(shards(store)) == 3
    later = FeatureStore(str(tmp_path), SPEC)
    assert (later.read(keys(7)) == rows(7)).all()
    assert later.commit(rows(7), keys(7), PROVENANCE) == 0
    assert later.compact(100) == (7, 2)
    assert sum(map(len, later.refresh())) == 7
    assert (later.read(keys(7)) == rows(7)).all()


def test_a_good_row_is_not_dropped_as_the_double_of_a_damaged_one(tmp_path: Path) -> None:
    store = filled(tmp_path, 20)
    double = FeatureStore(str(tmp_path / "other"), SPEC)
    double.commit(rows(20)[:6], keys(20)[:6], PROVENANCE)
    os.rename(shards(double)[0], os.path.join(store.folder, "zzz.h5"))
    damage(shards(store)[0])
    store.compact(20)
    assert (store.read(keys(20)[:6]) == rows(20)[:6]).all()
    assert not store.contains(keys(20)[6:]).any()


def test_a_damaged_shard_does_not_stop_the_compaction_of_the_others(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4, 5)
    damage(shards(store)[1])
    assert store.compact(100) == (0, 1)
    assert [len(shard) for shard in store.refresh()] == [8]
    assert np.flatnonzero(~store.contains(keys(12))).tolist() == [3, 4, 5, 6]


# ---- many at once ----


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
        other.join(30)
    assert sorted(done) == ["commit", "compact"]
    assert (store.read(keys(8)) == rows(8)).all()


HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from cached_rows import SPEC
from cache.store import FeatureStore
with FeatureStore(sys.argv[1], SPEC).lock():
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_killed_process_blocks_nobody(store: FeatureStore, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, tmp_path, os.path.dirname(__file__)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
    assert holder.returncode == -signal.SIGKILL
    assert store.commit(rows(2), keys(2), PROVENANCE) == 2


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from cached_rows import PROVENANCE, SPEC, keys, rows
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
    here = os.path.dirname(__file__)
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
            process.communicate(timeout=60)


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
