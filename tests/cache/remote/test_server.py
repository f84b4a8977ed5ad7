"""The server that the tests of object storage go by counts requests, and fails as often as it is told."""

from pathlib import Path

from helpers.storage.object_storage import Storage


def test_counts_requests_and_bytes(storage: Storage, surfaces: Path) -> None:
    address = storage.upload(surfaces, "photos")
    assert storage.server.counts()["PUT"] == 36
    storage.server.reset()
    names = storage.files.find(address)
    assert len(names) == 36
    data = storage.files.cat_file(names[0])
    counts = storage.server.counts()
    assert data == (surfaces / "brick" / "brick.0.png").read_bytes()
    assert (counts["LIST"], counts["GET"], counts["bytes"]) == (1, 1, len(data))


def test_fails_as_often_as_it_is_told(storage: Storage, surfaces: Path) -> None:
    address = storage.upload(surfaces, "photos")
    storage.server.reset(failing=0.2)
    assert len(storage.files.cat(storage.files.find(address))) == 36  # drivers try again
    counts = storage.server.counts()
    assert counts["FAILED"] > 0
    assert counts["GET"] >= 36
