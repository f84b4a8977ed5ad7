"""Capture times of real files, by every format; damaged and hostile files have none, and cost little."""

import io
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from helpers.files.heif_files import coded, container, heic
from helpers.files.hostile import cut, looping_tiff, small_bombs, strange
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

import featurize.pictures.capture_time
from featurize.decoding.heif_header import is_heif
from featurize.decoding.upright_rgb import HOSTILE
from featurize.pictures import sources
from featurize.pictures.capture_time import HEAD, MOST_READS, capture_time, capture_times, time_of_text

EXIF, ORIGINAL, DIGITIZED, DATE_TIME = 0x8769, 0x9003, 0x9004, 0x0132
TAKEN = datetime(2026, 5, 1, 10, 11, 12, 250000)


def exif(original: str | None = "2026:05:01 10:11:12", **others: str) -> Image.Exif:
    made = Image.Exif()
    made[DATE_TIME] = others.get("changed", "2026:06:01 00:00:00")
    inner = made.get_ifd(EXIF)
    inner |= {ORIGINAL: original, 0x9291: "25"} if original else {}
    inner |= {DIGITIZED: others["digitized"]} if "digitized" in others else {}
    return made


def saved(path: Path, tags: Image.Exif | None, **options: object) -> str:
    Image.effect_noise((64, 48), 90).convert("RGB").save(path, exif=tags or b"", **options)
    return str(path)


@pytest.fixture
def count_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each reading gives."""
    counted: list[int] = []

    class Counting:
        def __init__(self, file: io.FileIO) -> None:
            self.seek, self._file = file.seek, file

        def read(self, count: int) -> bytes:
            data = self._file.read(count)
            counted.append(len(data))
            return data

    @contextmanager
    def opened(path: str) -> Iterator[tuple[Counting, int]]:
        with sources.opened(path) as (file, size):
            yield Counting(file), size

    monkeypatch.setattr(featurize.pictures.capture_time, "opened", opened)
    return counted


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif"])
def test_the_time_is_that_of_the_exif_with_its_fraction(tmp_path: Path, suffix: str) -> None:
    assert capture_time(saved(tmp_path / f"a.{suffix}", exif())) == TAKEN
    assert capture_time(saved(tmp_path / f"b.{suffix}", None)) is None


def test_of_a_heic(tmp_path: Path) -> None:
    assert capture_time(str(_written(tmp_path / "a.heic", heic("turned")))) is None  # its EXIF has no time
    content = b"\0\0\0\6Exif\0\0" + exif().tobytes().removeprefix(b"Exif\0\0")
    file = container([coded(heic("upright")), (b"Exif", content, [])], [(b"cdsc", 2, [1])])
    assert capture_time(str(_written(tmp_path / "b.heic", file))) == TAKEN


@pytest.mark.parametrize("order", ["II", "MM"])
def test_of_a_tiff(tmp_path: Path, order: str) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=order.encode())
    tags[DATE_TIME] = "2026:05:01 10:11:12"
    picture = Image.new("I;16B" if order == "MM" else "RGB", (300, 300))
    picture.save(tmp_path / "a.tif", tiffinfo=tags)
    assert capture_time(str(tmp_path / "a.tif")) == TAKEN.replace(microsecond=0)


def test_other_times_stand_in_for_a_missing_one(tmp_path: Path) -> None:
    digitized = exif(None, digitized="2026:05:02 00:00:00")
    assert capture_time(saved(tmp_path / "a.jpg", digitized)) == datetime(2026, 5, 2)
    unset = exif("0000:00:00 00:00:00", digitized="    :  :     :  :  ")  # as cameras whose clock was never set
    assert capture_time(saved(tmp_path / "b.jpg", unset)) == datetime(2026, 6, 1)
    assert capture_time(saved(tmp_path / "c.jpg", exif(None, changed="?"))) is None


def test_behind_large_segments_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", exif())
    data = Path(path).read_bytes()
    filler = b"\xff\xe2" + struct.pack(">H", 65535) + bytes(65533)
    assert capture_time(str(_written(tmp_path / "b.jpg", data[:2] + 3 * filler + data[2:]))) == TAKEN


def test_many_come_in_their_order_and_what_is_no_file_has_none(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{n}.jpg", exif(f"2026:05:01 10:00:{n:02}")) for n in range(40)]
    os.mkfifo(fifo := str(tmp_path / "fifo.jpg"))  # is not waited for
    text = str(_written(tmp_path / "text.jpg", b"no picture"))
    found = capture_times([*paths, fifo, text, str(tmp_path), str(tmp_path / "gone.jpg"), "\0"])
    assert [time and time.second for time in found] == [*range(40), *[None] * 5]


def test_of_a_jpeg_the_head_is_read_alone(tmp_path: Path, count_bytes: list[int]) -> None:
    path = tmp_path / "large.jpg"
    Image.effect_noise((1500, 1500), 90).save(path, exif=exif(), quality=95)
    assert path.stat().st_size > 10 * HEAD
    assert capture_time(str(path)) == TAKEN and sum(count_bytes) == HEAD


def test_no_hostile_file_is_an_error_or_read_at_length(tmp_path: Path, count_bytes: list[int]) -> None:
    for name, data, _ in (*cut(), *strange(), *small_bombs(), ("loop.tif", looping_tiff(), None)):
        count_bytes.clear()
        capture_time(str(_written(tmp_path / "file", data)))
        assert sum(count_bytes) < 2**20 or is_heif(data), name


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "heic"])
def test_hostile_files_have_no_time_and_are_soon_left(tmp_path: Path, kind: str) -> None:
    parts = {
        "jpg": b"\xff\xd8" + b"\xff\xe2\0\2" * 10**6,
        "png": b"\x89PNG\r\n\x1a\n" + (b"\0\0\0\0tEXt" + bytes(4)) * 10**6,
        "webp": b"RIFF\0\0\0\0WEBP" + b"ABCD\0\0\0\0" * 10**6,
        "tif": b"II*\0" + struct.pack("<IH", 8, 65535) + struct.pack("<HHII", DATE_TIME, 2, 2**32 - 1, 4) * 65535,
        "heic": heic("turned").replace(b"Exif", b"EXif") + bytes(10),
    }
    assert capture_time(str(_written(tmp_path / f"a.{kind}", parts[kind]))) is None
    assert len(parts["jpg"]) > HEAD + 10 * MOST_READS


def test_files_that_are_cut_or_changed_anywhere_have_a_time_or_none(tmp_path: Path) -> None:
    for suffix in ("jpg", "png", "webp", "avif", "tif"):
        data = Path(saved(tmp_path / f"a.{suffix}", exif())).read_bytes()
        for place in range(0, min(len(data), 400), 5):
            for changed in (data[:place], data[:place] + b"\xff\xff\xff" + data[place + 3 :]):
                found = capture_time(str(_written(tmp_path / "b", changed)))
                assert found is None or isinstance(found, datetime)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026:05:01 10:11:12", datetime(2026, 5, 1, 10, 11, 12)),
        ("2026-05-01 10:11", datetime(2026, 5, 1, 10, 11)),
        (" 2026/5/1 9:05:07 ", datetime(2026, 5, 1, 9, 5, 7)),
        ("2026-05-01T10:11:12.25Z", TAKEN),
        ("2026-05-01T12:11:12,25+02:00", TAKEN),
        ("2026-05-01T05:41:12.25-0430", TAKEN),
        ("2026-05-01", None),  # a day alone puts all of its pictures at midnight
        ("01/05/2026 10:11", None),  # May, or January
        ("0001-01-01 00:00:00+23:00", None),
        ("2026-13-01 00:00:00", None),
        ("", None),
    ],
)
def test_times_in_text(text: str, time: datetime | None) -> None:
    assert time_of_text(text) == time


@given(
    st.text(max_size=30) | st.from_regex(r"\d{4}[-:/.]\d\d?[-:/.]\d\d?[T ]\d\d:\d\d(:\d\d(\.\d+)?)?([+-]\d\d:?\d\d)?")
)
def test_any_text_is_a_time_or_none(text: str) -> None:
    found = time_of_text(text)
    assert found is None or (isinstance(found, datetime) and found.tzinfo is None)


def test_the_times_of_real_photographs_are_those_that_pillow_reads(shared: Path) -> None:
    paths = [str(path) for path in sorted((shared / "images" / "hostile").rglob("*")) if path.is_file()]
    compared = 0
    for path, found in zip(paths, capture_times(paths), strict=True):
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
                tags = picture.getexif()
                inner = tags.get_ifd(EXIF)
        except HOSTILE:
            continue
        compared += 1
        text = inner.get(ORIGINAL) or inner.get(DIGITIZED) or tags.get(DATE_TIME)
        assert (found and found.replace(microsecond=0)) == (time_of_text(text) if isinstance(text, str) else None), path
    assert compared >= len(paths) // 4


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
