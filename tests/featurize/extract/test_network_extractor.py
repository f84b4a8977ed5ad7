"""Images in, rows out: each content once through the network, whatever goes wrong on the way."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED, REPOSITORY, SPEC
from helpers.extractors import alike, at, extractor_in, infinite_model, interrupt
from PIL import Image

import featurize.extract.pending_rows
from cache.errors import UserError
from cache.row_key import content_digest
from featurize.extract.network_extractor import NetworkExtractor
from featurize.pictures.sources import Source

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def new(tmp_path: Path) -> NetworkExtractor:
    """An extractor whose cache is empty."""
    return extractor_in(tmp_path / "new")


@pytest.fixture
def warm(warm_cache: Path, tmp_path: Path) -> NetworkExtractor:
    """An extractor whose cache holds the rows of `surfaces`."""
    return extractor_in(shutil.copytree(warm_cache, tmp_path / "warm"))


@pytest.fixture(scope="session")
def paths(surfaces: Path) -> list[str]:
    """36 photographs, all different."""
    return sorted(str(path) for path in surfaces.glob("*/*.png"))


@pytest.fixture(scope="session")
def expected(warm_cache: Path, paths: list[str]) -> np.ndarray:
    """The rows of `paths`: (36, 1280)."""
    return extractor_in(warm_cache).features(paths)[1]


@pytest.fixture(scope="session")
def infinite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model whose features of a white picture are not finite."""
    return infinite_model(tmp_path_factory.mktemp("own"))


def shard_sizes(extractor: NetworkExtractor) -> list[int]:
    return [len(shard) for shard in extractor.store.refresh()]


def stored(extractor: NetworkExtractor) -> int:
    return sum(shard_sizes(extractor))


def spoil(path: str) -> None:
    Path(path).write_bytes(b"no picture any more")


# ---- what is computed, and what counts as what


def test_rows_are_stored_and_come_back_in_the_order_asked_for(
    new: NetworkExtractor, paths: list[str], expected: np.ndarray
) -> None:
    outcome, rows = new.features(paths[:5])
    assert (outcome.computed, outcome.forward_passes, outcome.failures) == (5, 5, [])
    again, backwards = new.features(paths[4::-1])
    assert (again.computed, again.forward_passes) == (0, 0)
    assert np.array_equal(backwards, rows[::-1]) and alike(rows, expected[:5])


def test_copies_are_computed_once_and_count_as_cached(new: NetworkExtractor, paths: list[str], tmp_path: Path) -> None:
    copy = str(shutil.copy(paths[0], tmp_path / "copy.png"))
    sources: list[Source] = [paths[0], paths[1], copy, Path(paths[1]).read_bytes(), paths[0]]
    outcome, rows = new.features(sources)
    assert (outcome.computed, outcome.forward_passes, stored(new)) == (2, 2, 2)
    assert outcome.succeeded == [0, 1, 2, 3, 4]
    assert np.array_equal(rows, rows[[0, 1, 0, 1, 0]]) and not np.array_equal(rows[0], rows[1])


def test_nothing_asked_for_is_nothing_done(new: NetworkExtractor) -> None:
    outcome, rows = new.features([])
    assert (outcome.computed, outcome.forward_passes, len(rows)) == (0, 0, 0)
    assert len(new.without_cache([])[1]) == 0 and not os.path.exists(new.cache_dir)


@pytest.mark.parametrize("count", [1, 31, 32, 33])
def test_every_picture_is_one_forward_pass_however_many_come_at_once(
    tmp_path: Path, paths: list[str], expected: np.ndarray, count: int
) -> None:
    outcome, rows = extractor_in(tmp_path).features(paths[:count])
    assert outcome.forward_passes == outcome.computed == count
    assert alike(rows, expected[:count])


def test_without_the_cache_nothing_is_looked_up_or_stored(
    warm: NetworkExtractor, paths: list[str], expected: np.ndarray
) -> None:
    before = stored(warm)
    sources = [paths[0], "gone.png", paths[1], Path(paths[1]).read_bytes()]
    outcome, rows = warm.without_cache(sources)
    assert outcome.forward_passes == 3 and stored(warm) == before
    assert outcome.succeeded == [0, 2, 3] and [failure.path for failure in outcome.failures] == ["gone.png"]
    assert alike(rows, expected[[0, 1, 1]])


def test_one_network_serves_every_cache(tmp_path: Path, paths: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "bottleneck"):
        for name in ("one", "two"):
            assert extractor_in(tmp_path / name, size=64, weights="random").run(paths[:2]).forward_passes == 2
    assert caplog.text.count("random weights") == 1  # said when it is built


# ---- images that fail


def test_every_failure_has_its_reason_and_the_others_their_row(
    warm: NetworkExtractor, paths: list[str], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(Path(paths[0]).read_bytes()[:500])
    copy = str(shutil.copy(cut, tmp_path / "copy of cut.png"))
    sources: list[Source] = ["gone.png", paths[0], str(cut), b"no picture", copy, paths[1]]
    outcome, rows = warm.features(sources)
    assert outcome.succeeded == [1, 5] and len(rows) == 2
    assert [failure.path for failure in outcome.failures] == ["gone.png", str(cut), "image 4", copy]
    assert all(failure.reason and "\n" not in failure.reason for failure in outcome.failures)
    assert (outcome.computed, outcome.forward_passes) == (0, 0)


def test_a_picture_whose_features_are_not_finite_is_a_failure(tmp_path: Path, paths: list[str], infinite: str) -> None:
    white = str(tmp_path / "white.png")
    Image.new("RGB", (64, 64), "white").save(white)
    copy = str(shutil.copy(white, tmp_path / "copy.png"))
    extractor = extractor_in(tmp_path / "c", backbone=infinite, size=None, weights=None)
    outcome, rows = extractor.features([paths[0], white, paths[1], copy])
    assert [failure.path for failure in outcome.failures] == [white, copy]
    assert "not finite" in outcome.failures[0].reason
    assert outcome.computed == stored(extractor) == 2 and np.isfinite(rows).all()
    assert extractor.without_cache([white])[0].failures[0].reason == outcome.failures[0].reason


def test_known_pictures_and_bad_ones_need_no_tensorflow(warm: NetworkExtractor, surfaces: Path, tmp_path: Path) -> None:
    bad = [tmp_path / f"bad{number}.png" for number in range(40)]
    for number, path in enumerate(bad):
        path.write_bytes(b"no picture %d" % number)
    code = """
import json, sys, pipeline
cache, paths, spec = json.loads(sys.argv[1])
outcome = pipeline.open_extractor(cache, **spec).run(paths)
assert len(outcome.failures) == 40 and len(outcome.succeeded) == 36, outcome
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""
    everything = [str(path) for path in [*surfaces.glob("*/*.png"), *bad]]
    arguments = json.dumps([warm.cache_dir, everything, SPEC])
    subprocess.run([sys.executable, "-c", code, arguments], cwd=REPOSITORY, check=True)


def test_progress_ends_at_the_total_even_where_the_last_pictures_are_bad(
    new: NetworkExtractor, paths: list[str], tmp_path: Path
) -> None:
    bad = tmp_path / "zzz.png"
    bad.write_bytes(b"no picture")
    calls: list[tuple[str, int, int]] = []
    new.run([*paths[:5], str(bad)], lambda *call: calls.append(call))
    done = [done for stage, done, _ in calls if stage == "features"]
    assert done == sorted(done) and calls[-1] == ("features", 6, 6)
    assert [call for call in calls if call[0] == "reading"][-1] == ("reading", 6, 6)


# ---- files that change while the run goes on


def test_a_file_that_changes_after_it_was_hashed_is_stored_as_what_was_decoded(
    new: NetworkExtractor, photos: Path, expected: np.ndarray
) -> None:
    sources = sorted(str(path) for path in photos.glob("*/*.png"))[:4]
    before = Path(sources[1]).read_bytes()
    change = at("reading", 4, lambda: shutil.copy(BUNDLED / "coffee.png", sources[1]))
    outcome, rows = new.features(sources, change)
    assert outcome.digests[1] == content_digest((BUNDLED / "coffee.png").read_bytes())
    assert np.array_equal(rows[1], new.features([str(BUNDLED / "coffee.png")])[1][0])
    assert alike(rows[[0, 2, 3]], expected[[0, 2, 3]])
    known = new.run([before])
    assert known.computed == 1  # the old content was never decoded, so it has no row


@pytest.mark.parametrize("fate", [os.unlink, spoil, lambda path: shutil.copy(BUNDLED / "coffee.png", path)])
def test_what_happens_to_one_file_does_not_happen_to_its_copies(
    new: NetworkExtractor, photos: Path, expected: np.ndarray, fate: Callable[[str], Any]
) -> None:
    sources = sorted(str(path) for path in photos.glob("*/*.png"))[:3]
    sources += [str(shutil.copy(sources[0], photos / "copy.png"))]
    outcome = new.run(sources, at("reading", 4, lambda: fate(sources[0])))
    assert outcome.succeeded[-3:] == [1, 2, 3]
    assert alike(new.store.read(outcome.keys)[-3:], expected[[1, 2, 0]])
    assert outcome.computed == len(outcome.succeeded) == stored(new)
    failed = [failure.path for failure in outcome.failures]
    assert failed == ([] if 0 in outcome.succeeded else sources[:1])


# ---- runs that end early


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_whatever_ends_a_run_what_is_computed_is_committed(
    new: NetworkExtractor, paths: list[str], error: type[BaseException]
) -> None:
    def end() -> None:
        raise error

    with pytest.raises(error) as raised:
        new.run(paths, at("features", 1, end))
    kept = stored(new)
    assert 0 < kept == new.forward_passes < 36
    notes = [f"{kept} new rows are kept, the next run goes on from there"] if error is KeyboardInterrupt else []
    assert getattr(raised.value, "__notes__", []) == notes
    again = new.run(paths)
    assert (again.computed, again.forward_passes, stored(new)) == (36 - kept, 36 - kept, 36)


def test_ctrl_c_while_reading_costs_nothing_but_the_reading(new: NetworkExtractor, paths: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        new.run(paths[:5], at("reading", 3, interrupt))
    assert stored(new) == 0 and new.run(paths[:5]).computed == 5


def test_too_little_disk_is_refused_before_any_forward_pass(
    new: NetworkExtractor, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 36 * (4 * 1280 + 32)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _folder: Usage(10**12, 10**12, needed))
        with pytest.raises(UserError) as caught:
            new.run(paths)
    message = str(caught.value)
    assert "too little disk" in message and "36 rows" in message and "185 KB are free" in message
    assert "\n" not in message and new.forward_passes == 0 and stored(new) == 0
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _folder: Usage(10**12, 0, 1.1 * needed))
        assert new.run(paths).computed == 36


def test_known_pictures_need_no_room(warm: NetworkExtractor, paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(0, 0, 0))
    assert warm.run(paths).computed == 0


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(paths: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        extractor_in(tmp_path / "file" / "cache").run(paths[:1])


# ---- shards


@pytest.mark.parametrize("shard_rows", [1, 2, 5, 12, 100])
def test_a_shard_has_no_more_rows_than_asked_for_and_half_of_them_at_least(
    tmp_path: Path, paths: list[str], shard_rows: int
) -> None:
    extractor = extractor_in(tmp_path, shard_rows)
    extractor.run(paths)
    *sizes, last = shard_sizes(extractor)
    assert sum(sizes) + last == 36 and last <= shard_rows
    assert all(shard_rows / 2 <= size <= shard_rows for size in sizes)


def test_a_shard_of_long_rows_is_cut_at_128_mib(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert featurize.extract.pending_rows.SHARD_BYTES == 128 * 1024**2
    extractor = extractor_in(tmp_path, pooling="flatten")
    monkeypatch.setattr(featurize.extract.pending_rows, "SHARD_BYTES", 4 * extractor.engine.dimension * 10 + 100)
    assert extractor.engine.dimension == 6 * 6 * 1280
    extractor.run(paths)
    assert all(5 <= size <= 10 for size in shard_sizes(extractor)[:-1]) and stored(extractor) == 36
    monkeypatch.setattr(featurize.extract.pending_rows, "SHARD_BYTES", 1)
    assert extractor.run([str(BUNDLED / "coffee.png")]).computed == 1


@pytest.mark.parametrize("shard_rows", [0, -1])
def test_a_shard_needs_a_row(tmp_path: Path, shard_rows: int) -> None:
    with pytest.raises(UserError, match=f"shard rows {shard_rows}"):
        extractor_in(tmp_path, shard_rows)


def test_a_damaged_shard_is_computed_again_and_the_others_are_not(
    tmp_path: Path, paths: list[str], expected: np.ndarray
) -> None:
    extractor = extractor_in(tmp_path, shard_rows=10)
    extractor.run(paths)
    damaged = extractor.store.refresh()[1]
    lost = len(damaged)
    data = bytearray(Path(damaged.path).read_bytes())
    data[damaged.offset + 5000] ^= 4
    Path(damaged.path).write_bytes(data)
    outcome, rows = extractor.features(paths)
    assert outcome.computed == outcome.forward_passes == lost < 36 and stored(extractor) == 36
    assert alike(rows, expected)


def test_rows_that_somebody_deletes_between_looking_and_reading_are_computed_again(
    new: NetworkExtractor, paths: list[str], expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = new.store.read

    def after_a_deletion(digests: np.ndarray) -> np.ndarray:
        monkeypatch.setattr(new.store, "read", read)
        for shard in new.store.refresh():
            os.unlink(shard.path)
        return read(digests)

    monkeypatch.setattr(new.store, "read", after_a_deletion)
    outcome, rows = new.features(paths[:5])
    assert (outcome.computed, outcome.forward_passes) == (5, 10) and alike(rows, expected[:5])


# ---- two at once
