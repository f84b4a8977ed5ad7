"""Thumbnails are made once, are bounded, and go with `cache gc`; whatever is wrong with them, they are made again."""

import os
import sqlite3
from pathlib import Path

import pytest

from cache.digest_table import DigestTable, take_stamp
from cache.row_key import content_digest
from featurize.pictures import kept_thumbnails
from featurize.pictures.kept_thumbnails import CHUNK, FILE_NAME, keep, kept, thumbnails_of


@pytest.fixture
def pictures(surfaces: Path) -> tuple[list[bytes], list[str]]:
    """Digests and paths of five photographs."""
    paths = sorted(str(path) for path in surfaces.rglob("*.png"))[:5]
    return [content_digest(Path(path).read_bytes()) for path in paths], paths


def test_a_picture_is_made_once(pictures: tuple[list[bytes], list[str]], tmp_path: Path) -> None:
    digests, paths = pictures
    first = thumbnails_of(str(tmp_path), digests, paths)
    gone = ["/nowhere.png"] * len(paths)
    assert all(first) and thumbnails_of(str(tmp_path), digests, gone) == first
    assert thumbnails_of(str(tmp_path / "another"), digests, gone) == [b""] * len(paths)


def test_a_file_that_is_another_one_by_now_has_none(pictures: tuple[list[bytes], list[str]], tmp_path: Path) -> None:
    digests, paths = pictures
    assert thumbnails_of(str(tmp_path), digests[:2], [paths[1], paths[1]])[0] == b""
    assert [*kept(str(tmp_path), digests)] == [digests[1]]


def test_the_oldest_go_where_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_thumbnails, "MOST", CHUNK + 100)
    digests = [number.to_bytes(32, "big") for number in range(CHUNK + 150)]
    for start in range(0, len(digests), 50):
        keep(str(tmp_path), dict.fromkeys(digests[start : start + 50], b"picture"))
    assert [*kept(str(tmp_path), digests)] == digests[50:]


def test_collecting_garbage_deletes_those_of_files_that_are_gone(
    run, pictures: tuple[list[bytes], list[str]], tmp_path: Path
) -> None:
    digests, paths = pictures
    cache = tmp_path / "cache"
    copies = [tmp_path / os.path.basename(path) for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        copy.write_bytes(Path(path).read_bytes())
    thumbnails_of(str(cache), digests, paths)
    table = DigestTable(str(cache))
    table.record(
        [(str(copy), stamp, d) for copy, d in zip(copies, digests, strict=True) if (stamp := take_stamp(str(copy)))]
    )
    for copy in copies[:2]:
        copy.unlink()
    status, _, _ = run("cache", "gc", "--cache-dir", cache, "--dry-run")
    assert status == 0 and len(kept(str(cache), digests)) == 5
    status, said, _ = run("cache", "gc", "--cache-dir", cache)
    assert status == 0 and "2 thumbnails" in said and [*kept(str(cache), digests)] == digests[2:]


@pytest.mark.parametrize("damage", ["torn", "text", "empty", "table"])
def test_damaged_ones_are_made_again(pictures: tuple[list[bytes], list[str]], tmp_path: Path, damage: str) -> None:
    digests, paths = pictures
    first = thumbnails_of(str(tmp_path), digests, paths)
    file = tmp_path / FILE_NAME
    if damage == "table":
        file.unlink()
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE others (a)")
    else:
        file.write_bytes({"torn": file.read_bytes()[:5000], "text": b"no table " * 999, "empty": b""}[damage])
    assert thumbnails_of(str(tmp_path), digests, paths) == first
    assert thumbnails_of(str(tmp_path), digests, ["/nowhere.png"] * 5) in (first, [b""] * 5)
    thumbnails_of(str(tmp_path), digests, paths)
    assert thumbnails_of(str(tmp_path), digests, ["/nowhere.png"] * 5) == first


def test_a_link_leads_to_no_table_of_somebody_else(pictures: tuple[list[bytes], list[str]], tmp_path: Path) -> None:
    digests, paths = pictures
    other = tmp_path / "others.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE thumbnails (digest BLOB PRIMARY KEY, made INTEGER, picture BLOB)")
    before = other.read_bytes()
    (cache := tmp_path / "cache").mkdir()
    (cache / FILE_NAME).symlink_to(other)
    assert (
        all(thumbnails_of(str(cache), digests, paths))
        and other.read_bytes() == before
        and (cache / FILE_NAME).is_symlink()
    )
