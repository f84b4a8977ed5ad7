"""Objects of storage: what tells them apart, and that requests are few."""

import pickle
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from helpers.storage.object_storage import Storage

from cache.digest_table import DigestTable, take_stamp
from cache.errors import UserError
from cache.remote.objects import ObjectPath, is_object, list_objects, stamp_of, with_stamps

TAKEN = 10**18


def test_a_version_tells_contents_apart() -> None:
    one, same, other = (stamp_of({"size": 5, "ETag": tag}, TAKEN + 10) for tag in ("a", "a", "b"))
    assert one and same and other
    assert one.proves_same_content(same)
    assert not one.proves_same_content(other)
    assert not one.proves_same_content(stamp_of({"size": 6, "ETag": "a"}, TAKEN) or other)


def test_a_time_of_change_proves_nothing_of_the_seconds_after_it() -> None:
    changed = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
    facts = {"size": 5, "Last-Modified": "Fri, 01 May 2026 12:00:00 GMT"}
    after = int(changed.timestamp() * 1e9)
    at_once, later = stamp_of(facts, after + 10**9), stamp_of(facts, after + 10**10)
    assert at_once and later
    assert not at_once.proves_same_content(later)
    assert later.proves_same_content(later)
    assert stamp_of({"size": 5, "LastModified": changed}, after) == (5, after, after, 0, after)


def test_what_a_store_says_too_little_of_has_no_stamp() -> None:
    assert stamp_of({"size": 5}, TAKEN) is None
    assert stamp_of({"ETag": "a", "size": None}, TAKEN) is None


def test_paths_of_objects_travel() -> None:
    path = ObjectPath.of("s3://b/a.jpg", {"size": 5, "ETag": "a"}, TAKEN)
    copy = pickle.loads(pickle.dumps(path))  # noqa: S301  # our own
    assert (copy, copy.size, copy.stamp) == ("s3://b/a.jpg", 5, path.stamp)
    assert {path: 1}["s3://b/a.jpg"] == 1


def test_a_listing_says_what_is_known_of_each_object(storage: Storage, surfaces: Path, tmp_path: Path) -> None:
    url = storage.upload(surfaces, "photos")
    storage.upload(surfaces, "photos and more")
    storage.server.reset()
    found = dict(list_objects(f"{url}/"))
    assert storage.server.counts()["HEAD"] == 0
    assert sorted(found) == sorted(path.relative_to(surfaces).as_posix() for path in surfaces.rglob("*.png"))
    path = found["grass/grass.1.png"]
    assert (path, isinstance(path, ObjectPath) and path.size) == (
        f"{url}/grass/grass.1.png",
        (surfaces / "grass/grass.1.png").stat().st_size,
    )
    stamp = take_stamp(str(path).replace("", ""))  # the same address as plain text is asked for
    assert stamp
    table = DigestTable(str(tmp_path))
    table.record([(path, stamp, bytes(32))])
    assert table.unchanged([path]) == {path: bytes(32)}
    storage.files.pipe_file(path, b"another")
    assert table.unchanged([*dict(list_objects(url)).values()]) == {}
    assert table.below(url) == {bytes(32)}
    assert table.below(f"{url[:-1]}") == set()
    assert table.gone() == []
    assert table.holding([bytes(32)]) == {}  # nobody has asked for the network


def test_more_objects_than_a_page_has(storage: Storage) -> None:
    names = {f"{number:04}.jpg" for number in range(1050)}
    storage.files.pipe({f"{storage.url}/many/{name}": b"x" for name in names})
    storage.server.reset()
    assert {name for name, _ in list_objects(f"{storage.url}/many")} == names
    assert storage.server.counts()["LIST"] == 2


def test_plain_addresses_are_looked_up_once_each(storage: Storage, surfaces: Path) -> None:
    url = storage.upload(surfaces, "photos")
    addresses = [f"{url}/brick/brick.{number}.png" for number in range(12)] * 2
    storage.server.reset()
    found = with_stamps([*addresses, "local.jpg", b"bytes", f"{url}/none.png"])
    assert storage.server.counts()["HEAD"] <= 14
    assert [type(path) for path in found[:24]] == [ObjectPath] * 24
    assert found[24:26] == ["local.jpg", b"bytes"]
    assert (found[26].size, found[26].stamp) == (None, None)
    assert is_object(addresses[0])
    assert not is_object(f"{url}/none.png")


def test_what_cannot_be_listed_is_one_line(storage: Storage) -> None:
    with pytest.raises(UserError, match=r"no such folder: 's3://no-such-bucket-at-all/photos'"):
        list(list_objects("s3://no-such-bucket-at-all/photos"))
    storage.files.pipe_file(f"{storage.url}/a.jpg", b"x")
    with pytest.raises(UserError, match="is an object, not a folder"):
        list(list_objects(f"{storage.url}/a.jpg"))


def test_objects_in_memory_have_stamps_too() -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file("/stamped/a.jpg", b"one")
    ((name, before),) = list_objects("memory://stamped")
    files.pipe_file("/stamped/a.jpg", b"two")
    ((_, after),) = list_objects("memory://stamped")
    assert name == "a.jpg"
    assert isinstance(before, ObjectPath) and isinstance(after, ObjectPath)
    assert before.stamp and after.stamp and before.stamp[:4] != after.stamp[:4]
