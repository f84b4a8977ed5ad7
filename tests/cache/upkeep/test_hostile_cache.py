"""A cache made by an enemy: nothing outside it is read, changed or deleted, and nothing waits for ever."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from helpers.files.hostile_shards import HOSTILE
from helpers.storage.cached_rows import PROVENANCE, SPEC, filled, keys, rows, shards

from cache.digest_table import DigestTable, take_stamp
from cache.shard_file import DamagedShardError, open_shard
from cache.store import FeatureStore
from cache.upkeep.inventory import collect_garbage, listing, verify
from featurize.engines.converted import FOLDER, delete_damaged_graphs, delete_useless_graphs, made_from

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Somebody's own files: a good shard, a text, a pipe whose reader waits for ever."""
    folder = tmp_path / "outside"
    folder.mkdir()
    os.rename(shards(filled(tmp_path / "made", 5))[0], folder / "good.h5")
    (folder / "text.h5").write_text("my text")
    (folder / "mine.tmp").write_text("my text")
    os.mkfifo(folder / "pipe")
    return folder


def folder_with_files(path: str, _: Path) -> None:
    os.mkdir(path)
    Path(path, "mine.txt").write_text("my text")


TRAPS: dict[str, Callable[[str, Path], None]] = {
    "pipe": lambda path, _: os.mkfifo(path),
    "folder": folder_with_files,
    "endless device": lambda path, _: os.symlink("/dev/zero", path),
    "dangling link": lambda path, outside: os.symlink(outside / "missing", path),
    "link to itself": lambda path, _: os.symlink(path, path),
    "link to a pipe": lambda path, outside: os.symlink(outside / "pipe", path),
    "link to a text": lambda path, outside: os.symlink(outside / "text.h5", path),
    "link to a good shard": lambda path, outside: os.symlink(outside / "good.h5", path),
    "link to a folder": lambda path, outside: os.symlink(outside, path),
}


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_named_as_a_shard_and_is_none_is_set_aside(tmp_path: Path, outside: Path, trap: str) -> None:
    store = filled(tmp_path / "cache", 3)
    path = os.path.join(store.folder, "0000.h5")
    TRAPS[trap](path, outside)
    before = contents(outside)
    with pytest.raises(DamagedShardError, match="not a regular file"):
        open_shard(path)
    assert listing(str(tmp_path / "cache"))["rows"] == 3
    assert [damage.path for damage in verify(str(tmp_path / "cache")).damaged] == [path]
    assert os.path.lexists(path + ".damaged")
    collect_garbage(str(tmp_path / "cache"), 100)
    assert os.path.lexists(path + ".damaged") == (trap == "folder"), "what a folder holds is not ours to delete"
    assert contents(outside) == before
    assert (store.read(keys(3)) == rows(3)).all()


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_shard_is_set_aside_and_the_others_are_served(tmp_path: Path, outside: Path, kind: str) -> None:
    store = filled(tmp_path / "cache", 3)
    before = contents(outside)
    with h5py.File(os.path.join(store.folder, "0000.h5"), "w", libver="latest") as file:
        HOSTILE[kind](file, str(outside / "pipe"))
    assert len(verify(str(tmp_path / "cache")).damaged) == 1
    collect_garbage(str(tmp_path / "cache"), 100)
    assert len(os.listdir(store.folder)) == 3
    assert contents(outside) == before
    assert (store.read(keys(3)) == rows(3)).all()


@pytest.mark.parametrize("trap", [name for name in TRAPS if name != "folder"])
@pytest.mark.parametrize("name", ["spec.json", "digests.sqlite", "graphs"])
def test_traps_in_the_place_of_other_files(tmp_path: Path, outside: Path, name: str, trap: str) -> None:
    cache_dir = str(tmp_path / "cache")
    store = filled(cache_dir, 3)
    path = os.path.join(store.folder if name == "spec.json" else cache_dir, name)
    Path(path).unlink(missing_ok=True)
    TRAPS[trap](path, outside)
    before = contents(outside)
    picture = str(outside / "text.h5")
    table = DigestTable(cache_dir)
    if name == "digests.sqlite":
        stamp = take_stamp(picture)
        assert stamp
        table.record([(picture, stamp, bytes(32))])
        assert table.unchanged([picture]) == {}
    assert listing(cache_dir)["rows"] == 3
    assert verify(cache_dir).damaged == []
    assert delete_damaged_graphs(cache_dir) == [] and delete_useless_graphs(cache_dir) == 0
    assert collect_garbage(cache_dir, 100) == {"files": 0, "rows": 0, "shards": 0}
    assert contents(outside) == before
    assert (FeatureStore(cache_dir, SPEC).read(keys(3)) == rows(3)).all()


def test_a_link_to_somebodys_own_database_is_not_written_through(tmp_path: Path) -> None:
    own = tmp_path / "own.sqlite"
    with sqlite3.connect(own) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
    connection.close()
    before = own.read_bytes()
    (tmp_path / "cache").mkdir()
    os.symlink(own, tmp_path / "cache" / "digests.sqlite")
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"picture")
    assert len(DigestTable(str(tmp_path / "cache")).of_file(str(picture))) == 32
    assert own.read_bytes() == before


def test_the_folder_of_a_spec_that_leads_elsewhere_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path / "somebody", 3, 4)
    Path(store.folder, "0000.h5").write_text("no shard")
    Path(store.folder, "0000.tmp").write_text("his")
    before = contents(tmp_path / "somebody")
    (tmp_path / "cache").mkdir()
    os.symlink(store.folder, tmp_path / "cache" / SPEC.folder)
    assert verify(str(tmp_path / "cache")).damaged == []
    collect_garbage(str(tmp_path / "cache"), 100)
    assert contents(tmp_path / "somebody") == before
    assert "it is a link" in caplog.text


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", ["digests.json", "network.xml", "network.bin", ""])
def test_traps_in_the_place_of_a_graph(tmp_path: Path, outside: Path, name: str, trap: str) -> None:
    folder = tmp_path / "cache" / FOLDER / ("0" * 16)
    folder.parent.mkdir(parents=True)
    if name:
        folder.mkdir()
        (folder / "digests.json").write_text('{"made from": "it", "sha256": {"network.xml": "0", "network.bin": "0"}}')
        (folder / name).unlink(missing_ok=True)
    TRAPS[trap](str(folder / name).rstrip("/"), outside)
    before = contents(outside)
    assert made_from(str(folder)) is None
    assert delete_damaged_graphs(str(tmp_path / "cache")) == [str(folder)]
    assert not os.path.lexists(folder)
    assert contents(outside) == before


def test_a_shard_of_a_stranger_is_no_reason_to_refuse_ones_own(tmp_path: Path) -> None:
    """Right in all that it says of itself, but for the width of its rows."""
    store = filled(tmp_path, 3)
    stranger = FeatureStore(str(tmp_path / "other"), SPEC)
    stranger.commit(rows(1, 1), keys(4)[3:], PROVENANCE)
    os.rename(shards(stranger)[0], os.path.join(store.folder, "zzz.h5"))
    assert collect_garbage(str(tmp_path), 100) == {"files": 0, "rows": 0, "shards": 0}
    assert (store.read(keys(3)) == rows(3)).all()
