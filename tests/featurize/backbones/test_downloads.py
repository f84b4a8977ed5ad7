"""Data sets that are downloaded: digests, connections that fail, archives that would do harm."""

import functools
import hashlib
import http.server
import io
import logging
import os
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import REPOSITORY

import examples.downloads
import examples.unpack
from cache.errors import UserError
from examples import alpaca, arctic_wildlife, cats_dogs, dog_breeds, flowers
from examples.downloads import Archive, fetch
from examples.unpack import unpack

Web = http.server.ThreadingHTTPServer
MOST = 10**6


class Handler(http.server.SimpleHTTPRequestHandler):
    """A folder, and what servers do wrong: stop early, never stop, fall silent, send to a file of this machine."""

    def do_GET(self) -> None:
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path in ("/short", "/endless", "/silent"):
            self.send_response(200)
            if self.path != "/endless":
                self.send_header("Content-Length", "900000")
            self.end_headers()
            self.wfile.write(b"x" * 1000)
            self.wfile.flush()
            while self.path == "/endless":
                self.wfile.write(b"x" * 2**20)
            if self.path == "/silent":
                self.server.released.wait(600)  # type: ignore[attr-defined]
        else:
            super().do_GET()

    def log_message(self, _format: str, *arguments: object) -> None:
        self.server.requests.append(arguments[0])  # type: ignore[attr-defined]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A web server on this machine, with `requests` so far."""
    (tmp_path / "served").mkdir()

    class Quiet(Web):
        def handle_error(self, *_: object) -> None:
            """Clients that hang up are what is tested."""

    server = Quiet(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "served")))
    server.requests, server.released = [], threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.fixture
def published(web: Web, surfaces: Path, tmp_path: Path) -> Archive:
    """Real photographs in a zip archive, inside a folder of its own as usual."""
    path = tmp_path / "served" / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/._photos", b"")
        for photograph in surfaces.rglob("*.png"):
            archive.write(photograph, Path("photos", photograph.relative_to(surfaces)))
    return Archive("photos", address_of(web, "photos.zip"), hashlib.sha256(path.read_bytes()).hexdigest(), 10**7)


def address_of(web: Web, name: str) -> str:
    return f"http://127.0.0.1:{web.server_port}/{name}"


def zipped(path: Path, members: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return str(path)


def tarred(path: Path, mode: str, *members: tuple[tarfile.TarInfo, bytes]) -> str:
    with tarfile.open(path, mode) as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


def refused(archive: str, folder: Path, only: str = "") -> str:
    with pytest.raises(UserError) as caught:
        unpack(archive, str(folder), only, most_bytes=MOST)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_photographs_are_downloaded_once(published: Archive, web: Web, surfaces: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    found = Path(fetch(published, folder))
    assert found == tmp_path / "data" / "photos" / "photos"  # inside the folder that the archive has
    expected = {path.relative_to(surfaces): path.read_bytes() for path in surfaces.rglob("*.png")}
    assert {path.relative_to(found): path.read_bytes() for path in found.rglob("*.png")} == expected
    assert os.listdir(folder) == ["photos"]
    assert fetch(published, folder) == str(found)
    assert len(web.requests) == 1  # type: ignore[attr-defined]


def test_a_download_that_takes_long_says_how_far_it_is(
    published: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(examples.downloads, "SAID_EVERY", 0)
    size = os.path.getsize(tmp_path / "served" / "photos.zip") / 1e6
    with caplog.at_level(logging.INFO, "bottleneck"):
        fetch(published, str(tmp_path / "data"))
    assert f"photos: {size:.0f} of {size:.0f} MB" in caplog.text


def test_a_wrong_digest_is_refused_and_nothing_is_kept(published: Archive, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"has the SHA-256 {published.sha256}, not 0000.*DATA"):
        fetch(replace(published, sha256="0" * 64), str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_without_a_published_digest_the_first_download_pins_it(
    published: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unpinned, folder = replace(published, sha256=None), tmp_path / "data"
    with caplog.at_level(logging.WARNING, "bottleneck"):
        found = Path(fetch(unpinned, str(folder)))
    assert str(published.sha256) in caplog.text
    assert (folder / "photos.sha256").read_text().strip() == published.sha256
    (folder / "photos").rename(folder / "set_aside")
    assert Path(fetch(unpinned, str(folder))) == found
    (folder / "photos").rename(folder / "set_aside_too")
    zipped(tmp_path / "served" / "photos.zip", {"other/a.jpg": b"another"})
    with pytest.raises(UserError, match=r"not [0-9a-f]{64} as .*photos\.sha256 has it"):
        fetch(unpinned, str(folder))
    (folder / "photos.sha256").write_text("anything")
    with pytest.raises(UserError, match="'anything', which is no SHA-256"):
        fetch(unpinned, str(folder))
    assert sorted(os.listdir(folder)) == ["photos.sha256", "set_aside", "set_aside_too"]


def test_what_is_no_archive_is_not_pinned(published: Archive, tmp_path: Path) -> None:
    (tmp_path / "served" / "photos.zip").write_bytes(b"<html>please log in</html>")
    with pytest.raises(UserError, match="is damaged or no zip or tar archive"):
        fetch(replace(published, sha256=None), str(tmp_path / "data"))
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("short", "ended after 1000 of 900000 bytes"),
        ("endless", "is larger than 1000000 bytes"),
        ("silent", r"could not be downloaded \(timed out\)"),
        ("redirect", r"could not be downloaded \(HTTP Error 302"),
        ("missing.zip", r"could not be downloaded \(HTTP Error 404: File not found\)"),
    ],
)
def test_a_failing_server_is_one_line_and_leaves_nothing(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.setattr(examples.downloads, "STALLED_AFTER", 0.5)
    with pytest.raises(UserError, match=message) as caught:
        fetch(Archive("photos", address_of(web, path), None, MOST), str(tmp_path / "data"))
    assert "\n" not in str(caught.value)
    assert "DATA" in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_no_server_at_all_is_one_line(web: Web, tmp_path: Path) -> None:
    address = address_of(web, "photos.zip")
    web.shutdown()
    web.server_close()
    with pytest.raises(UserError, match=r"Connection refused.*DATA"):
        fetch(Archive("photos", address, None, MOST), str(tmp_path / "data"))


def test_a_size_that_is_announced_is_refused_before_it_comes(published: Archive, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is larger than 1000 bytes"):
        fetch(replace(published, most_bytes=1000), str(tmp_path / "data"))


def test_an_interrupted_download_leaves_nothing(web: Web, tmp_path: Path) -> None:
    code = f"""
from bottleneck_features.commands.main import run
from examples.downloads import Archive, fetch
import click
address = {address_of(web, "silent")!r}
run(click.Command("fetch", callback=lambda: fetch(Archive("photos", address, None, 10**6), "data")), "fetch", [])
"""
    (tmp_path / "data").mkdir()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    while not os.listdir(tmp_path / "data"):
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    _, said = process.communicate(timeout=600)
    assert process.returncode == 143, said
    assert "interrupted by SIGTERM" in said
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_kind_of_tar_archive_is_unpacked(tmp_path: Path, mode: str) -> None:
    folder = tarfile.TarInfo("photos")
    folder.type = tarfile.DIRTYPE
    member = tarfile.TarInfo("photos/" + "long" * 60 + "/a.jpg")
    archive = tarred(tmp_path / "a.archive", mode, (folder, b""), (member, b"a" * 10**5))
    assert unpack(archive, str(tmp_path / "out"), "photos", most_bytes=MOST) == 1
    assert (tmp_path / "out" / ("long" * 60) / "a.jpg").read_bytes() == b"a" * 10**5


def test_only_the_wanted_folder_is_unpacked(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"all/photos/a.jpg": b"a", "all/photos2/b.jpg": b"b", "all/c.txt": b"c"})
    assert unpack(archive, str(tmp_path / "out"), "all/photos", most_bytes=MOST) == 1
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["a.jpg"]
    assert "no file below 'nowhere'" in refused(archive, tmp_path / "other", "nowhere")


LEADING_OUT = ["/tmp/a.jpg", "../a.jpg", "photos/../../a.jpg", "photos\\..\\a.jpg"]


@pytest.mark.parametrize("name", LEADING_OUT)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    archive = str(tmp_path / "a.archive")
    if kind == "zip":
        zipped(Path(archive), {"good.jpg": b"g", name: b"evil"})
    else:
        tarred(Path(archive), "w:gz", (tarfile.TarInfo(name), b"evil"))
    assert "which leads elsewhere" in refused(archive, tmp_path / "inside" / "out")
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()} - {"a.archive"}
    assert written <= {"good.jpg"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("photos")
    member.type, member.linkname = kind, "/etc"
    archive = tarred(tmp_path / "a.tar", "w", (member, b""), (tarfile.TarInfo("photos/passwd"), b"evil"))
    assert "a link or a device: only files" in refused(archive, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_link_in_a_zip_archive_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("photos")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc")
    assert "a link or a device: only files" in refused(str(tmp_path / "a.zip"), tmp_path / "out")


def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    twice = tarred(tmp_path / "a.tar", "w", (tarfile.TarInfo("a.jpg"), b"1"), (tarfile.TarInfo("a.jpg"), b"2"))
    assert "'a.jpg' twice" in refused(twice, tmp_path / "one")
    inside = tarred(tmp_path / "b.tar", "w", (tarfile.TarInfo("a.jpg"), b"1"), (tarfile.TarInfo("a.jpg/b.jpg"), b"2"))
    assert "'a.jpg' twice" in refused(inside, tmp_path / "two")


def packed_zeros(path: Path, kind: str, count: int) -> str:
    if kind == "zip":
        return zipped(path, {"bomb.jpg": b"\0" * count})
    return tarred(path, "w:gz", (tarfile.TarInfo("bomb.jpg"), b"\0" * count))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_more_than_it_may_hold_is_refused(tmp_path: Path, kind: str) -> None:
    archive = packed_zeros(tmp_path / "a.archive", kind, 20 * MOST)
    assert os.path.getsize(archive) < 30_000
    assert f"more than {MOST} bytes" in refused(archive, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) == 0


def test_what_a_header_says_of_the_size_is_not_believed(tmp_path: Path) -> None:
    archive = packed_zeros(tmp_path / "a.zip", "zip", 20 * MOST)
    data = Path(archive).read_bytes()
    said = (20 * MOST).to_bytes(4, "little")
    assert data.count(said) == 2  # before the member, and in the list at the end
    Path(archive).write_bytes(data.replace(said, (100).to_bytes(4, "little")))
    assert "is damaged" in refused(archive, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) <= 100


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {f"{number}.jpg": b"" for number in range(11)})
    with pytest.raises(UserError, match="or 10 files"):
        unpack(archive, str(tmp_path / "out"), most_bytes=MOST, most_files=10)


def test_a_header_of_any_length_does_not_fill_the_memory(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a.jpg")
    member.pax_headers = {"comment": "x" * (2 * examples.unpack.MOST_HEADER)}
    archive = tarred(tmp_path / "a.tar.gz", "w:gz", (member, b"a"))
    assert "a header of more than" in refused(archive, tmp_path / "out")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:60] + bytes([data[60] ^ 1]) + data[61:]


@pytest.mark.parametrize("damage", [cut, flipped, lambda _: b"", lambda _: b"<html>no such page</html>"])
@pytest.mark.parametrize("mode", ["zip", "w:gz", "w:bz2", "w:xz"])
def test_a_damaged_archive_is_one_line(tmp_path: Path, mode: str, damage: Callable[[bytes], bytes]) -> None:
    path, photograph = tmp_path / "a.archive", os.urandom(5000)
    if mode == "zip":
        zipped(path, {"a.jpg": photograph})
    else:
        tarred(path, mode, (tarfile.TarInfo("a.jpg"), photograph))
    path.write_bytes(damage(path.read_bytes()))
    assert "is damaged or no zip or tar archive" in refused(str(path), tmp_path / "out")


def test_every_example_has_a_digest_or_an_encrypted_connection() -> None:
    archives = [module.PHOTOGRAPHS for module in (alpaca, arctic_wildlife, cats_dogs, dog_breeds, flowers)]
    assert len({archive.name for archive in archives}) == 5
    for archive in archives:
        assert archive.sha256 or archive.address.startswith("https://"), archive.name
