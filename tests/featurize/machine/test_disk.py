"""Room on the disk: announced, and refused in one line where there is too little."""

import logging
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from cache.errors import UserError
from cache.files.disk_space import readable
from featurize.machine.disk import require_room

Usage = namedtuple("Usage", "total used free")


def test_the_size_is_announced_before_anything_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "not" / "yet"
    with caplog.at_level(logging.INFO, "bottleneck"):
        require_room(str(folder), 1000, (1280,), 4)
        require_room(str(folder), 1000, (14, 14, 96), 2)
    assert caplog.messages == [
        f"to compute: 1000 rows of 1280 numbers, about 5.15 MB in {folder}",
        f"to compute: 1000 rows of 14 x 14 x 96 numbers, about 37.7 MB in {folder}",
    ]
    assert not folder.exists()


def test_too_little_room_is_one_line_with_both_sizes_and_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 3e9) if folder == str(tmp_path) else None)
    with pytest.raises(UserError) as caught:
        require_room(str(tmp_path / "not" / "yet"), 1_000_000, (1280,), 4)
    for shown in ("5.15 GB", "3 GB are free", str(tmp_path), "--cache-dir"):
        assert shown in str(caught.value)
    assert "\n" not in str(caught.value)
    require_room(str(tmp_path / "not" / "yet"), 1000, (1280,), 4)


def test_a_relative_folder_is_on_the_present_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 10**9 if folder == str(tmp_path) else 0))
    require_room(".features/spec", 10, (10,), 4)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (999_499, "999 KB"),
        (999_600, "1 MB"),
        (2.5e15, "2.5e+03 TB"),
    ],
)
def test_sizes_are_readable(count: float, text: str) -> None:
    assert readable(count) == text
