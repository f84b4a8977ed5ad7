"""`cache ls`, `cache verify`, `cache gc`."""

import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.other_user import folder_for_all, read_only
from helpers.storage.cached_rows import OTHER_SPEC, PROVENANCE, SPEC, keys, rows
from helpers.storage.kill_points import killed_at

from cache.digest_table import DigestTable, Stamp
from cache.row_key import FeatureSpec
from cache.shard_file import Shard, open_shard
from cache.store import FeatureStore
from cache.upkeep.inventory import collect_garbage, listing, verify
from cache.upkeep.spec_folders import leftovers


def filled(folder: Path | str, *sizes: int, spec: FeatureSpec = SPEC) -> FeatureStore:
    store = FeatureStore(str(folder), spec)
    total, first = sum(sizes), 0
    for size in sizes:
        store.commit(rows(total)[first : first + size], keys(total)[first : first + size], PROVENANCE)
        first += size
    return store


def shards(store: FeatureStore) -> list[Path]:
    return sorted(Path(store.folder).glob("*.h5"))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[open_shard(str(path)).offset] ^= 1
    path.write_bytes(content)


def test_a_missing_cache_has_no_rows_and_is_not_created(tmp_path: Path) -> None:
    missing = str(tmp_path / "cache")
    nothing = {"rows": 0, "shards": 0, "bytes": 0}
    assert listing(missing) == nothing | {"specs": [], "signatures": nothing}
    assert verify(missing).damaged == []
    assert collect_garbage(missing, 100) == {"files": 0, "rows": 0, "shards": 0}
    assert os.listdir(tmp_path) == []


def test_the_listing_counts_rows_shards_and_bytes_of_every_spec(tmp_path: Path) -> None:
    one, other = filled(tmp_path, 3, 4), filled(tmp_path, 5, spec=OTHER_SPEC)
    found = listing(str(tmp_path))
    assert (found["rows"], found["shards"]) == (12, 3)
    assert found["bytes"] == sum(path.stat().st_size for path in [*shards(one), *shards(other)])
    assert [spec["spec"] for spec in found["specs"]] == [SPEC.to_json(), OTHER_SPEC.to_json()]
    assert [(spec["rows"], spec["row_shape"]) for spec in found["specs"]] == [(7, [8]), (5, [8])]


def test_the_listing_leaves_damage_for_verify_to_find(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4)
    spoiled = str(shards(store)[0])
    os.truncate(spoiled, 100)
    assert listing(str(tmp_path))["rows"] == 4
    assert os.path.exists(spoiled)
    assert [damage.path for damage in verify(str(tmp_path)).damaged] == [spoiled]


def test_verify_names_every_damaged_shard_and_sets_it_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = filled(tmp_path, 3, 4, 5), filled(tmp_path, 6, spec=OTHER_SPEC)
    spoiled = [str(shards(one)[0]), str(shards(one)[2]), str(shards(other)[0])]
    os.truncate(spoiled[0], 100)
    damage(Path(spoiled[1]))
    damage(Path(spoiled[2]))
    found = verify(str(tmp_path))
    assert sorted(damage.path for damage in found.damaged) == sorted(spoiled)
    assert (found.shards, found.rows) == (1, 4)
    assert all(path in caplog.text for path in spoiled)
    assert [path for path in spoiled if os.path.exists(path)] == []
    assert np.flatnonzero(one.contains(keys(12))).tolist() == [3, 4, 5, 6]
    again = verify(str(tmp_path))
    assert (again.shards, again.rows, again.damaged) == (1, 4, [])


def test_verify_finds_damage_in_a_cache_that_it_may_not_mend() -> None:
    with folder_for_all() as folder:
        store = filled(folder, 3, 4)
        damage(shards(store)[1])
        with read_only(folder):
            found = verify(folder)
        assert [damage.path for damage in found.damaged] == [str(shards(store)[1])]
        assert found.rows == 3


def test_verify_takes_no_offence_at_a_compaction_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, 3, 4, 5)
    check, merged = Shard.verify, []

    def compacted_before_it_is_read(shard: Shard) -> None:
        if not merged:
            merged.append(shard.path)
            store.compact(100)
        check(shard)

    monkeypatch.setattr(Shard, "verify", compacted_before_it_is_read)
    assert verify(str(tmp_path)).damaged == []
    assert len(shards(store)) == 1


def test_garbage_is_temporary_files_and_damaged_shards_and_nothing_else(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4)
    folder = Path(store.folder)
    kept = sorted(os.listdir(folder))
    (folder / "0123.h5.0123456789ab.tmp").write_bytes(b"half")
    (folder / "spec.json.0123456789ab.tmp").write_bytes(b"half")
    (folder / "0123.h5.damaged").write_bytes(b"damaged")
    (folder / "notes of mine.txt").write_bytes(b"notes")
    assert collect_garbage(str(tmp_path), 1)["files"] == 3
    assert sorted(os.listdir(folder)) == sorted([*kept, "notes of mine.txt"])
    assert (store.read(keys(7)) == rows(7)).all()


def test_small_shards_of_every_spec_are_merged(tmp_path: Path) -> None:
    one, other = filled(tmp_path, 3, 4, 5), filled(tmp_path, 6, 7, spec=OTHER_SPEC)
    assert collect_garbage(str(tmp_path), 100) == {"files": 0, "rows": 0, "shards": 3}
    assert (one.read(keys(12)) == rows(12)).all()
    assert (other.read(keys(13)) == rows(13)).all()


def test_garbage_collection_spares_the_file_that_a_writer_is_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector waits for the writer: it comes while the temporary file is there, before its rename."""
    filled(tmp_path, 3)
    rename, collected = os.replace, threading.Event()

    def collect() -> None:
        collect_garbage(str(tmp_path), 1)
        collected.set()

    collector = threading.Thread(target=collect)

    def slow_rename(source: str, target: str) -> None:
        if target.endswith(".h5") and not collector.ident:
            collector.start()
            assert not collected.wait(0.3)
        rename(source, target)

    monkeypatch.setattr(os, "replace", slow_rename)
    store = FeatureStore(str(tmp_path), SPEC)
    assert store.commit(rows(7)[3:], keys(7)[3:], PROVENANCE) == 4
    collector.join(600)
    assert collected.is_set()
    assert (store.read(keys(7)[3:]) == rows(7)[3:]).all()


def test_a_folder_that_is_no_spec_is_announced_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(tmp_path, 3)
    folder = os.path.join(tmp_path, "mine")
    os.rename(store.folder, folder)
    names = sorted(os.listdir(folder))
    with caplog.at_level(logging.WARNING, "bottleneck"):
        assert listing(str(tmp_path))["rows"] == 0
        assert collect_garbage(str(tmp_path), 100, set())["rows"] == 0
        assert verify(str(tmp_path)).damaged == []
    assert folder in caplog.text
    assert sorted(os.listdir(folder)) == names


def test_verify_says_how_many_rows_are_lost_where_that_can_be_known(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4, 5)
    double = FeatureStore(str(tmp_path / "other"), SPEC)
    double.commit(rows(12)[2:5], keys(12)[2:5], PROVENANCE)
    os.rename(shards(double)[0], os.path.join(store.folder, "zzz.h5"))
    first, second, third, _ = shards(store)
    damage(first)
    damage(second)
    os.truncate(third, 100)
    lost = {os.path.basename(damage.path): damage.rows_lost for damage in verify(str(tmp_path)).damaged}
    assert lost == {first.name: 2, second.name: 2, third.name: None}, "three rows were there twice"


@pytest.mark.parametrize("content", [None, b"", b"{", b"[" * 100_000, b"{}", b'{"spec": {}}', b"other"])
def test_shards_tell_their_spec_where_its_file_does_not(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path, 3, 4)
    path = Path(store.folder, "spec.json")
    right = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(right.replace(b'"decoder": 1', b'"decoder": 3') if content == b"other" else content)
    os.truncate(shards(store)[0], 100)
    assert listing(str(tmp_path))["rows"] == 4
    assert store.folder in caplog.text
    found = verify(str(tmp_path))
    assert (found.rows, len(found.damaged), found.mended) == (4, 1, [str(path)])
    assert path.read_bytes() == right
    again = verify(str(tmp_path))
    assert (again.damaged, again.mended) == ([], [])


def test_shards_that_nothing_tells_the_spec_of_are_found_damaged(tmp_path: Path) -> None:
    store, other = filled(tmp_path, 3, 4), filled(tmp_path, 5, spec=OTHER_SPEC)
    Path(store.folder, "spec.json").write_text("{}")
    for path in shards(store):
        os.truncate(path, 100)
    os.rename(shards(other)[0], os.path.join(store.folder, "zzz.h5"))
    spoiled = [str(path) for path in shards(store)]
    found = verify(str(tmp_path))
    assert [damage.path for damage in found.damaged] == spoiled
    assert "another spec" in found.damaged[-1].reason
    assert shards(store) == []
    assert store.commit(rows(3), keys(3), PROVENANCE) == 3
    assert verify(str(tmp_path)).damaged == []


def test_a_spec_file_that_cannot_be_mended_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    with folder_for_all() as folder:
        store = filled(folder, 3)
        Path(store.folder, "spec.json").write_text("{}")
        with read_only(folder):
            found = verify(folder)
        assert (found.rows, found.mended) == (3, [])
        assert "cannot be written" in caplog.text


def test_a_run_killed_before_its_first_byte_leaves_nothing_that_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FeatureStore(str(tmp_path), SPEC)
    Path(store.folder).mkdir()
    assert killed_at(0, True, lambda: store.commit(rows(3), keys(3), PROVENANCE))
    [temporary] = leftovers(store.folder)
    assert verify(str(tmp_path)).temporary == [temporary]
    assert collect_garbage(str(tmp_path), 2048)["files"] == 1
    assert leftovers(store.folder) == [] and verify(str(tmp_path)).temporary == []
    assert listing(str(tmp_path))["specs"] == []
    assert caplog.text == ""


def test_verify_names_what_killed_runs_and_earlier_damage_have_left(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, 4)
    damage(shards(store)[0])
    unfinished = Path(store.folder, "0123.h5.0123456789ab.tmp")
    unfinished.write_bytes(b"half")
    found = verify(str(tmp_path))
    assert (len(found.damaged), found.temporary, found.set_aside) == (1, [str(unfinished)], [])
    again = verify(str(tmp_path))
    assert (again.damaged, again.temporary) == ([], [str(unfinished)])
    assert again.set_aside == [found.damaged[0].path + ".damaged"]


@pytest.mark.parametrize("position", [0, 30, 4096])
def test_a_damaged_table_of_digests_is_deleted(tmp_path: Path, position: int) -> None:
    table = DigestTable(str(tmp_path))
    for number in range(100):
        (tmp_path / str(number)).write_bytes(b"picture")
    table.record([(str(tmp_path / str(number)), Stamp(7, 1, 1, number, 1), bytes(32)) for number in range(100)])
    assert verify(str(tmp_path)).mended == []
    content = bytearray(Path(table.path).read_bytes())
    content[position : position + 100] = b"\xff" * 100
    Path(table.path).write_bytes(content)
    assert verify(str(tmp_path)).mended == [table.path]
    assert verify(str(tmp_path)).mended == []
    assert len(table.of_file(str(tmp_path / "1"))) == 32
