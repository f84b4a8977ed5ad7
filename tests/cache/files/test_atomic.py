"""Atomic files: whole or not at all, durable, and nothing left behind."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cache.files.atomic import make_folder, replacing, require_writable, write_atomically


def test_writes_into_folders_that_do_not_exist_yet(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(str(path), b"content")
    assert path.read_bytes() == b"content"
    assert os.listdir(path.parent) == ["file"]


def test_folders_that_were_made_and_are_empty_go_with_what_failed(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b" / "file")
    require_writable(path)
    assert os.listdir(tmp_path) == []

    def fails(_: str) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        write_atomically(path, b"content", check=fails)
    assert os.listdir(tmp_path) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError):
        write_atomically(path, b"content", check=fails)
    assert os.listdir(tmp_path) == ["a"] and os.listdir(tmp_path / "a") == []


def test_replaces_an_older_file_and_takes_any_buffer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a longer content than the new one")
    write_atomically(str(path), memoryview(b"new"))
    assert path.read_bytes() == b"new"
    write_atomically(str(path), b"")
    assert path.read_bytes() == b""


def test_a_relative_name_without_a_folder_is_written_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_the_check_sees_the_whole_content_before_the_file_appears(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = []

    def check(temporary: str) -> None:
        seen.append((Path(temporary).read_bytes(), path.exists(), os.path.dirname(temporary)))

    write_atomically(str(path), b"content", check)
    assert seen == [(b"content", False, str(tmp_path))]


@pytest.mark.parametrize("failure", [ValueError("bad"), KeyboardInterrupt(), RuntimeError("worse")])
def test_a_failing_check_leaves_the_old_file_and_no_temporary(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def check(_: str) -> None:
        raise failure

    with pytest.raises(type(failure)) as raised:
        write_atomically(str(path), b"new", check)
    assert raised.value is failure
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_a_file_is_an_error_naming_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = str(tmp_path / "file" / "below")
    with pytest.raises(OSError, match=re.escape(path)):
        write_atomically(path, b"content")


def test_a_name_taken_by_a_folder_is_an_error_naming_the_path(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.mkdir()
    with pytest.raises(OSError, match=re.escape(str(path))):
        write_atomically(str(path), b"content")
    assert os.listdir(tmp_path) == ["name"]


def test_file_is_synced_then_renamed_then_its_folder_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "file")
    events = []
    fsync, rename = os.fsync, os.replace

    def noting_fsync(file: int) -> None:
        name = os.readlink(f"/proc/self/fd/{file}")
        events.append(("fsync", "folder" if name == str(tmp_path) else "file"))
        fsync(file)

    def noting_rename(source: str, target: str) -> None:
        events.append(("rename", os.path.basename(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_rename)
    write_atomically(path, b"content")
    assert events == [("fsync", "file"), ("rename", "file"), ("fsync", "folder")]


FULL_DISK = """
import resource, sys
from cache.files.atomic import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(sys.argv[1], bytes(200_000))
except OSError as error:
    sys.exit(f"{error.errno} {error}")
"""


def test_a_full_disk_is_an_error_naming_the_path_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    result = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == f"27 [Errno 27] File too large: '{path}'\n"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_without_errno_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^from somewhere else$"), replacing(str(tmp_path / "file")):
        raise OSError("from somewhere else")
    assert os.listdir(tmp_path) == []


def test_many_writers_of_one_file_leave_the_content_of_one(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    contents = [bytes([number]) * 50_000 for number in range(8)]
    threads = [threading.Thread(target=write_atomically, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Path(path).read_bytes() in contents
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_made_by_somebody_else_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir

    def slower_than_another(path: str) -> None:
        mkdir(path)
        mkdir(path)

    monkeypatch.setattr(os, "mkdir", slower_than_another)
    make_folder(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
