"""Digests of many images: right, in order, and read only where nothing is known of the file."""

import hashlib
import os
import time
from pathlib import Path

import pytest

import featurize.extract.outcome
from cache.digest_table import DigestTable
from featurize.extract.outcome import Digests, Outcome, Progress
from featurize.pictures.sources import Source


class Counted:
    """A progress function that knows what was reported."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.calls.append((stage, done, total))

    @property
    def read(self) -> int:
        """How many sources were not known from the table."""
        return len(self.calls)


@pytest.fixture
def table(tmp_path: Path) -> DigestTable:
    return DigestTable(str(tmp_path / "cache"))


def paths_in(folder: Path) -> list[Source]:
    return sorted(str(path) for path in folder.glob("*/*.png"))


def digest_sources(sources: list[Source], table: DigestTable, progress: Progress) -> tuple[Digests, dict[int, str]]:
    """The digests of `sources`, and position -> reason of those that cannot be read."""
    outcome = Outcome(sources)
    outcome.take_digests(table, progress)
    return outcome.digests, outcome.reasons


def after_a_tick() -> None:
    """Wait until a file written before is older than the file system's clock can err."""
    time.sleep(0.05)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_digests_are_sha_256_of_the_bytes_in_the_order_given(surfaces: Path, table: DigestTable) -> None:
    paths = paths_in(surfaces)
    sources: list[Source] = [paths[3], b"some bytes", paths[0], paths[3], paths[1]]
    digests, reasons = digest_sources(sources, table, Counted())
    contents = [source if isinstance(source, bytes) else Path(source).read_bytes() for source in sources]
    assert list(digests) == [digest(data) for data in contents] and not reasons


def test_an_unchanged_file_is_read_once(photos: Path, table: DigestTable) -> None:
    after_a_tick()
    first, second = Counted(), Counted()
    before = digest_sources(paths_in(photos), table, first)
    assert list(digest_sources(paths_in(photos), table, second)[0]) == list(before[0])
    assert (first.read, second.read) == (36, 0)
    assert first.calls[-1] == ("reading", 36, 36)


def test_a_changed_a_touched_and_a_moved_file_are_read_again_and_no_other(photos: Path, table: DigestTable) -> None:
    after_a_tick()
    digest_sources(paths_in(photos), table, Counted())
    changed, touched, moved = (Path(str(path)) for path in paths_in(photos)[:3])
    status = changed.stat()
    changed.write_bytes(b"x" * status.st_size)
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))  # as size and time were before
    os.utime(touched)
    moved.rename(moved.with_name("zzz.png"))
    again = Counted()
    digests, _ = digest_sources(paths_in(photos), table, again)
    assert again.read == 3
    assert list(digests) == [digest(Path(str(path)).read_bytes()) for path in paths_in(photos)]


def test_what_cannot_be_read_has_a_reason_and_the_rest_a_digest(
    surfaces: Path, tmp_path: Path, table: DigestTable
) -> None:
    fifo = tmp_path / "pipe.png"
    os.mkfifo(fifo)
    sources: list[Source] = [str(tmp_path / "gone.png"), *paths_in(surfaces)[:2], str(fifo), str(tmp_path), "nul\0.png"]
    digests, reasons = digest_sources(sources, table, Counted())
    assert [found is None for found in digests] == [True, False, False, True, True, True]
    assert sorted(reasons) == [0, 3, 4, 5]
    assert all(reason and "\n" not in reason for reason in reasons.values())


def test_an_interrupted_run_remembers_what_it_has_read(
    photos: Path, table: DigestTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featurize.extract.outcome, "RECORD_EVERY", 10)
    after_a_tick()

    def interrupt(_stage: str, done: int, _total: int) -> None:
        if done == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digest_sources(paths_in(photos), table, interrupt)
    again = Counted()
    digest_sources(paths_in(photos), table, again)
    assert again.read == 36 - 20


def test_nothing_to_do_needs_no_table(tmp_path: Path) -> None:
    assert len(digest_sources([], DigestTable(str(tmp_path / "none")), Counted())[0]) == 0
    assert not (tmp_path / "none").exists()
