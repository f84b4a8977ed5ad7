"""The table that spares reading unchanged files: it may be lost or damaged, but never tells of old content."""

import hashlib
import logging
import os
import random
import sqlite3
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.other_user import folder_for_all, read_only
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.digest_table import FILE_NAME, DigestTable, Stamp, take_stamp

CONTENT = b"what is in the file"
DIGEST = hashlib.sha256(CONTENT).digest()


def settled(path: str | Path) -> Stamp:
    """The stamp of a file whose last change lies so far back that a later one is bound to show."""
    while True:
        stamp = take_stamp(str(path))
        assert stamp
        if stamp.proves_same_content(stamp):
            return stamp
        time.sleep(0.01)


def write(path: Path, content: bytes = CONTENT) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    settled(path)
    return str(path)


@pytest.fixture
def table(tmp_path: Path) -> DigestTable:
    return DigestTable(str(tmp_path / "cache"))


def test_nothing_is_created_by_asking(table: DigestTable, tmp_path: Path) -> None:
    path = write(tmp_path / "file")
    assert table.unchanged([path]) == {}
    assert table.last_known(path) is None
    assert os.listdir(tmp_path) == ["file"]


def test_content_rewritten_right_after_it_was_hashed_is_noticed(table: DigestTable, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for number in range(60):
        path.write_bytes(b"%05d old" % number)
        before = os.stat(path)
        assert table.of_file(str(path)) == hashlib.sha256(b"%05d old" % number).digest()
        path.write_bytes(b"%05d new" % number)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert table.of_file(str(path)) == hashlib.sha256(b"%05d new" % number).digest()


def test_a_moved_file_is_unknown_under_both_names(table: DigestTable, tmp_path: Path) -> None:
    path, moved = write(tmp_path / "file"), str(tmp_path / "moved")
    table.of_file(path)
    os.rename(path, moved)
    assert table.unchanged([path, moved]) == {}
    assert table.last_known(path) == DIGEST


def test_the_same_file_is_known_by_a_relative_and_an_absolute_name(
    table: DigestTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "below" / "file")
    table.of_file(path)
    monkeypatch.chdir(tmp_path / "below")
    assert table.unchanged(["file", "../below/./file"]) == {"file": DIGEST, "../below/./file": DIGEST}


def test_a_content_is_found_in_a_file_that_was_read_at_once_after_it_was_written(
    table: DigestTable, tmp_path: Path
) -> None:
    """Too soon for the clock to prove it: it is hashed again where it counts, and found where somebody looks for it."""
    path, gone, changed, unasked = (write(tmp_path / name) for name in ("file", "gone", "changed", "unasked"))
    for one, digest in ((path, DIGEST), (gone, DIGEST), (changed, DIGEST), (unasked, bytes(32))):
        stamp = settled(one)
        table.record([(one, stamp._replace(taken=stamp.ctime), digest)])
    os.unlink(gone)
    Path(changed).write_bytes(b"another")
    assert table.unchanged([path]) == {}
    assert table.holding([DIGEST]) == {path: DIGEST}


def test_a_missing_file_is_an_error_of_the_system(table: DigestTable, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        table.of_file(str(tmp_path / "missing"))
    assert table.unchanged([str(tmp_path / "missing"), "nul\0inside"]) == {}


def test_more_paths_than_sqlite_takes_at_once(table: DigestTable, tmp_path: Path) -> None:
    paths = [str(tmp_path / str(number)) for number in range(2500)]
    for path in paths:
        Path(path).touch()
    settled(paths[-1])
    digests = {path: hashlib.sha256(path.encode()).digest() for path in paths}
    table.record((path, settled(path), digest) for path, digest in digests.items())
    assert table.unchanged(paths) == digests


def test_names_that_are_no_utf8_are_kept_apart(tmp_path: Path) -> None:
    cache = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 ?#%")
    table = DigestTable(cache)
    names = [b"a\xff", b"a\xfe", "é".encode(), b"a\nb", b"-dash", b"quote'\"", b"x" * 255]
    paths = [os.fsdecode(os.fsencode(tmp_path) + b"/" + name) for name in names]
    for number, path in enumerate(paths):
        Path(path).write_bytes(b"%d" % number)
    settled(paths[-1])
    found = {path: table.of_file(path) for path in paths}
    assert [found[path] for path in paths] == [hashlib.sha256(b"%d" % n).digest() for n in range(len(names))]
    assert table.unchanged(paths) == found
    assert FILE_NAME in os.listdir(cache)


def test_a_deleted_table_only_costs_hashing_again(table: DigestTable, tmp_path: Path) -> None:
    path = write(tmp_path / "file")
    table.of_file(path)
    os.unlink(table.path)
    assert table.unchanged([path]) == {}
    assert table.of_file(path) == DIGEST
    assert table.unchanged([path]) == {path: DIGEST}


@pytest.mark.parametrize("damage", [b"", b"not a database" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_table_is_announced_and_begun_anew(
    table: DigestTable, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "file")
    table.of_file(path)
    Path(table.path).write_bytes(damage)
    with caplog.at_level(logging.WARNING, "bottleneck"):
        assert table.of_file(path) == DIGEST
    assert not damage or table.path in caplog.text
    table.of_file(path)
    assert table.unchanged([path]) == {path: DIGEST}


def test_a_cut_table_never_gives_a_wrong_digest(table: DigestTable, tmp_path: Path) -> None:
    digests = {str(tmp_path / f"file{number}"): hashlib.sha256(b"%d" % number).digest() for number in range(200)}
    for path in digests:
        Path(path).touch()
    settled(path)
    table.record((path, settled(path), digest) for path, digest in digests.items())
    whole = Path(table.path).read_bytes()
    for length in random.Random(0).sample(range(len(whole)), 40):
        Path(table.path).write_bytes(whole[:length])
        assert table.unchanged(list(digests)).items() <= digests.items()


def test_a_flipped_bit_in_the_table_never_stops_the_work(table: DigestTable, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"file{number}") for number in range(20)]
    table.record([(path, settled(path), DIGEST) for path in paths])
    whole = Path(table.path).read_bytes()
    chosen = random.Random(0)
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[chosen.randrange(len(whole))] ^= 1 << chosen.randrange(8)
        Path(table.path).write_bytes(flipped)
        found = table.unchanged(paths)
        assert set(found) <= set(paths)
        assert all(len(digest) == 32 for digest in found.values())
        assert table.of_file(paths[0])


def test_a_table_with_other_values_than_ours_is_not_believed(table: DigestTable, tmp_path: Path) -> None:
    path = write(tmp_path / "file")
    table.of_file(path)
    for column, value in (("digest", b"short"), ("digest", None), ("taken", "soon"), ("taken", None), ("ctime", 1.5)):
        with sqlite3.connect(table.path) as connection:
            connection.execute(f"UPDATE files SET {column} = ?", (value,))
        connection.close()
        assert table.unchanged([path]) == {}
        assert table.last_known(path) is None
        assert table.of_file(path) == DIGEST


def test_a_read_only_table_is_used_and_not_written(caplog: pytest.LogCaptureFixture) -> None:
    with folder_for_all() as folder:
        known, unknown = write(Path(folder) / "known"), write(Path(folder) / "unknown", b"other")
        cache = os.path.join(folder, "cache")
        table = DigestTable(cache)
        table.of_file(known)
        before = Path(table.path).read_bytes()
        with read_only(cache), caplog.at_level(logging.WARNING, "bottleneck"):
            assert table.unchanged([known, unknown]) == {known: DIGEST}
            assert caplog.text == ""
            assert table.of_file(unknown) == hashlib.sha256(b"other").digest()
            assert table.path in caplog.text
        assert Path(table.path).read_bytes() == before
        assert os.listdir(cache) == [FILE_NAME]


def test_a_read_only_folder_without_a_table_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with folder_for_all() as folder:
        path = write(Path(folder) / "file")
        table = DigestTable(os.path.join(folder, "cache"))
        with read_only(folder), caplog.at_level(logging.WARNING, "bottleneck"):
            assert table.unchanged([path]) == {}
            assert table.of_file(path) == DIGEST
        assert table.path in caplog.text
        assert os.listdir(folder) == ["file"]


def test_many_threads_record_at_once(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"file{number}") for number in range(40)]

    def record(mine: list[str]) -> None:
        table = DigestTable(str(tmp_path / "cache"))
        for path in mine:
            table.of_file(path)

    threads = [threading.Thread(target=record, args=(paths[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert DigestTable(str(tmp_path / "cache")).unchanged(paths) == dict.fromkeys(paths, DIGEST)


@given(inode=st.integers(0, 2**64 - 1), mtime=st.integers(-(2**70), 2**70))
@settings(max_examples=30)
def test_inodes_and_years_beyond_63_bits_are_kept(
    tmp_path_factory: pytest.TempPathFactory, inode: int, mtime: int
) -> None:
    folder = tmp_path_factory.mktemp("strange")
    path = str(folder / "file")
    status = SimpleNamespace(st_size=3, st_mtime_ns=mtime, st_ctime_ns=1_000_000_007, st_ino=inode)
    stat = os.stat
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "stat", lambda name, **options: status if name == path else stat(name, **options))
        table = DigestTable(str(folder))
        table.record([(path, settled(path), DIGEST)])
        assert table.unchanged([path]) == {path: DIGEST}


def test_a_change_on_a_clock_of_whole_seconds_needs_a_longer_wait() -> None:
    second = 1_700_000_000 * 10**9
    fine, coarse = Stamp(1, 2, second + 1, 3, second), Stamp(1, 2, second, 3, second)
    assert fine._replace(taken=second + 30_000_000).proves_same_content(fine)
    assert not coarse._replace(taken=second + 30_000_000).proves_same_content(coarse)
    assert not coarse._replace(taken=second + 1_900_000_000).proves_same_content(coarse)
    assert coarse._replace(taken=second + 2_100_000_000).proves_same_content(coarse)


def test_a_file_changed_in_the_future_of_this_clock_is_always_read() -> None:
    stamp = Stamp(1, 2, 2_000_000_001, 3, 1_000_000_000)
    assert not stamp.proves_same_content(stamp)
