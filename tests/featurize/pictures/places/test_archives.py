"""Pictures in ZIP and TAR archives: found and read as in a folder, and nothing that an archive claims does harm."""

import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SPEC

import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.pictures.find_images import ImageError, find_images
from featurize.pictures.places.archives import read_member
from featurize.pictures.sources import LARGEST_FILE, expand, opened, read

Pack = Callable[[Path, dict[str, bytes]], str]  # (folder, name -> bytes) -> the archive


def zipped(folder: Path, members: dict[str, bytes]) -> str:
    with zipfile.ZipFile(folder / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return str(folder / "photos.zip")


def tarred(folder: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(folder / "photos.tar", "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(folder / "photos.tar")


both = pytest.mark.parametrize("pack", [zipped, tarred])


def reasons(archive: str) -> dict[str, str]:
    prefix = len(archive) + 1
    return {failure.path[prefix:]: failure.reason for failure in find_images(archive).failures}


@both
def test_lists_what_a_folder_would_list(pack: Pack, tmp_path: Path) -> None:
    names = ["b/2.JPG", "a/1.png", "a/notes.txt", ".hidden/3.jpg", "a/.4.jpg", "__MACOSX/a/1.png", "5.jpg/6.jpg", "7"]
    folder = tmp_path / "unpacked"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    archive = pack(tmp_path, dict.fromkeys(names, b"x"))
    ours, theirs = find_images(archive), find_images(str(folder))
    assert [path.removeprefix(archive) for path in ours.images] == [
        path.removeprefix(str(folder)) for path in theirs.images
    ]
    assert ours.passed_over == theirs.passed_over
    assert reasons(archive) == {"5.jpg": "folder with an image's name"}


@both
def test_reads_members(pack: Pack, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    archive = pack(tmp_path, {"a/1.jpg": data, "a/2.jpg": b"", "a/3.jpg": b"3"})
    assert [read(path) for path in expand(archive)] == [data, b"", b"3"]
    with opened(f"{archive}/a/1.jpg") as (file, size):
        file.seek(99_990)
        assert (size, file.read(100)) == (100_000, data[-10:])
    assert expand(f"{archive}/a") == [f"{archive}/a/{number}.jpg" for number in (1, 2, 3)]
    assert read(expand([f"{archive}/a/3.jpg"])[0]) == b"3"  # type: ignore[arg-type]


@both
def test_names_that_lead_elsewhere_are_failures(pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    names = ["../secret.jpg", "/etc/secret.jpg", "a/../../secret.jpg", "a//b.jpg", "C:/x.jpg", "..\\x.jpg"]
    archive = pack(tmp_path, dict.fromkeys([*names, "good.jpg"], b"x"))
    assert [os.path.basename(path) for path in find_images(archive).images] == ["good.jpg"]
    found = {failure.reason for failure in find_images(archive).failures}
    assert found == {"its name leads outside", "its name is an absolute path", "its name is no path"}
    with pytest.raises(ImageError, match=r"leads outside|no such member|cannot be read"):
        read(f"{archive}/../secret.jpg")


@both
def test_two_members_of_one_name_are_a_failure(pack: Pack, tmp_path: Path) -> None:
    archive = pack(tmp_path, {"1.jpg": b"one", "2.jpg": b"two"})
    if archive.endswith(".zip"):
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(archive, "a") as more:
            more.writestr("1.jpg", b"another")
    else:
        with tarfile.open(archive, "a") as more:
            more.addfile(tarfile.TarInfo("1.jpg"), io.BytesIO())
    assert reasons(archive) == {"1.jpg": "several members have this name: which one is meant is not known"}
    assert [os.path.basename(path) for path in find_images(archive).images] == ["2.jpg"]


def test_links_and_devices_of_a_tar_are_failures(tmp_path: Path) -> None:
    archive = tarred(tmp_path, {"good.jpg": b"x"})
    with tarfile.open(archive, "a") as more:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"{kind.decode()}.jpg")
            member.type, member.linkname = kind, "/etc/passwd"
            more.addfile(member)
    link, other = "a link, which is not followed", "no plain file of an archive"
    assert reasons(archive) == {"1.jpg": link, "2.jpg": link, "3.jpg": other, "6.jpg": other}
    for failure in find_images(archive).failures:
        with pytest.raises(ImageError):
            read(failure.path)


def test_links_and_encrypted_members_of_a_zip_are_failures(tmp_path: Path) -> None:
    archive = zipped(tmp_path, {"good.jpg": b"x", "locked.jpg": b"x"})
    with zipfile.ZipFile(archive, "a") as more:
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        more.writestr(link, "/etc/passwd")
    data = bytearray(Path(archive).read_bytes())
    at = data.index(b"locked.jpg", data.index(b"PK\x01\x02"))  # in the list of members
    struct.pack_into("<H", data, at - 46 + 8, 1)
    Path(archive).write_bytes(data)
    assert reasons(archive) == {
        "link.jpg": "a link, which is not followed",
        "locked.jpg": "encrypted: unpack the archive with its password first",
    }


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    archive = zipped(tmp_path, {"bomb.jpg": bytes(1000)})
    data = bytearray(Path(archive).read_bytes())
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, LARGEST_FILE + 1)
    Path(archive).write_bytes(data)
    with pytest.raises(ImageError, match=f"member of {LARGEST_FILE + 1} bytes, more than 512 MiB"):
        read(f"{archive}/bomb.jpg")


@pytest.mark.parametrize("stated", [10, 5000])
def test_no_more_is_decompressed_than_is_stated(tmp_path: Path, stated: int) -> None:
    archive = zipped(tmp_path, {"a.jpg": bytes(1000)})
    data = bytearray(Path(archive).read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, stated)
    Path(archive).write_bytes(data)
    with pytest.raises(ImageError, match=r"archive"):
        read_member(archive, "a.jpg")


@both
def test_a_truncated_archive_keeps_what_is_whole(pack: Pack, tmp_path: Path) -> None:
    archive = pack(tmp_path, {f"{number}.jpg": os.urandom(2000) for number in range(5)})
    data = Path(archive).read_bytes()
    Path(archive).write_bytes(data[:6000])
    if archive.endswith(".zip"):
        with pytest.raises(UserError, match=r"photos\.zip' cannot be read as a ZIP archive"):
            find_images(archive)
    else:
        listing = find_images(archive)
        assert len(listing.images) >= 2
        assert "damaged archive" in listing.failures[-1].reason


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar"])
def test_what_is_no_archive_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive at all" * 100)
    with pytest.raises(UserError, match="cannot be read as a") as refused:
        find_images(str(tmp_path / name))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".7z"])
def test_archives_that_cannot_be_read_in_parts_are_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"photos{suffix}").write_bytes(b"x")
    with pytest.raises(UserError, match=r"compressed as a whole.*unpack it"):
        find_images(str(tmp_path / f"photos{suffix}"))


def test_a_folder_may_be_called_like_an_archive(surfaces: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(surfaces, tmp_path / "photos.zip")
    assert len(find_images(str(folder)).images) == 36


@both
def test_other_bytes_in_the_archive_are_other_pictures(pack: Pack, tmp_path: Path) -> None:
    table = DigestTable(str(tmp_path / "cache"))
    archive = pack(tmp_path, {"1.jpg": b"one"})
    path = f"{archive}/1.jpg"
    from featurize.extract.outcome import Outcome

    first = Outcome([path])
    first.take_digests(table)
    pack(tmp_path, {"1.jpg": b"two"})
    second = Outcome([path])
    second.take_digests(table)
    assert first.digests[0] != second.digests[0]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_train_report_and_predict_from_an_archive(
    kind: str, surfaces: Path, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(shutil.copytree(warm_cache, tmp_path / "cache"))
    archive = shutil.make_archive(str(tmp_path / "photos"), kind, surfaces.parent, surfaces.name)  # a folder in it
    monkeypatch.chdir(tmp_path)
    trained = pipeline.train(archive, cache_dir=cache, **SPEC)
    assert (trained["images"], trained["computed"], trained["classes"]) == (36, 0, ["brick", "grass", "gravel"])
    inside = f"{archive}/{surfaces.name}"
    picture = f"{inside}/grass/grass.3.png"
    assert pipeline.predict(picture, "models/logreg.joblib").tolist() == ["grass"]
    assert len(pipeline.predict(f"{inside}/brick", "models/logreg.joblib")) == 12
    assert len(pipeline.report(archive, "models/logreg.joblib", "report.html").pictures) == 36
    assert pipeline.features(archive, cache_dir=cache, **SPEC)["computed"] == 0


def test_a_table_of_labels_may_lie_in_the_archive(
    surfaces: Path, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(shutil.copytree(warm_cache, tmp_path / "cache"))
    folder = shutil.copytree(surfaces, tmp_path / "photos")
    rows = [f"{path.relative_to(folder).as_posix()},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]))
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    monkeypatch.chdir(tmp_path)
    trained = pipeline.train(labels=f"{archive}/labels.csv", cache_dir=cache, **SPEC)
    assert (trained["images"], trained["computed"]) == (36, 0)
