"""Several views of each picture: one decode, a row and a forward pass for each, and nothing twice."""

import os
import shutil
from collections import Counter, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED
from helpers.extractors import alike, at, extractor_in, interrupt
from helpers.other_user import folder_for_all, read_only, require_readable_code

import featurize.extract.network_extractor
import featurize.machine.memory
import pipeline
from cache.errors import UserError
from cache.row_key import content_digest
from classify.data.beyond_memory import features_for
from featurize.extract.extractor import Extractor
from featurize.extract.pending_rows import PendingRows
from featurize.pictures.sources import Source

Usage = namedtuple("Usage", "total used free")


def of_views(cache: Path | str, views: int, **options: Any) -> Extractor:
    return extractor_in(cache, views=views, **options)


def stored(extractor: Extractor) -> list[int]:
    """How many rows each view has."""
    return [sum(map(len, store.refresh())) for store in extractor.stores]


@pytest.fixture(scope="session")
def paths(surfaces: Path) -> list[str]:
    """36 photographs, all different."""
    return sorted(str(path) for path in surfaces.glob("*/*.png"))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often each picture is decoded."""
    counted: Counter[bytes] = Counter()
    decode_inputs = featurize.extract.network_extractor.decode_inputs

    def counting(data: bytes, *arguments: Any) -> np.ndarray:
        counted[data] += 1
        return decode_inputs(data, *arguments)

    monkeypatch.setattr(featurize.extract.network_extractor, "decode_inputs", counting)
    return counted


def test_each_picture_is_decoded_once_and_each_view_computed_once(
    tmp_path: Path, paths: list[str], decoded: Counter[bytes]
) -> None:
    extractor = of_views(tmp_path, 4)
    outcome, rows = extractor.features(paths[:9])
    assert rows.shape == (9, 4, 1280) and stored(extractor) == [9, 9, 9, 9]
    assert (outcome.computed, outcome.forward_passes, extractor.forward_passes) == (9, 36, 36)
    assert list(decoded.values()) == [1] * 9
    again, same = of_views(tmp_path, 4).features(paths[:9])
    assert (again.computed, again.forward_passes) == (0, 0) and np.array_equal(rows, same)
    assert list(decoded.values()) == [1] * 9


def test_more_views_cost_the_new_ones_and_fewer_cost_none(
    tmp_path: Path, paths: list[str], decoded: Counter[bytes]
) -> None:
    passes = [of_views(tmp_path, views).run(paths[:6]).forward_passes for views in (1, 3, 3, 5, 2)]
    assert passes == [6, 12, 0, 12, 0]
    assert list(decoded.values()) == [3] * 6  # once for each run that lacked something
    another = of_views(tmp_path, 3, recipe="tutorial-breeds")
    assert another.run(paths[:6]).forward_passes == 12  # the pictures themselves are the same rows


@pytest.mark.parametrize("recipe", ["mirror-crops", "rotation_range=40 horizontal_flip=True"])
def test_together_or_one_by_one_the_rows_are_the_same(tmp_path: Path, paths: list[str], recipe: str) -> None:
    together = of_views(tmp_path / "together", 4, recipe=recipe).features(paths[:5])[1]
    for views in (1, 2, 3, 4):
        rows = of_views(tmp_path / "one by one", views, recipe=recipe).features(paths[:5])[1]
        assert alike(rows, together[:, 0] if views == 1 else together[:, :views])
    without = of_views(tmp_path / "none", 4, recipe=recipe).without_cache(paths[:5])
    assert alike(without[1], together) and (without[0].forward_passes, without[0].computed) == (20, 5)
    assert not (tmp_path / "none").exists()
    assert len(np.unique(together.reshape(20, -1), axis=0)) == 20  # each shows something else


def test_however_a_recipe_is_worded_its_rows_are_the_same_ones(tmp_path: Path, paths: list[str]) -> None:
    first = of_views(tmp_path, 2, recipe="horizontal_flip=True rotation_range=40.0 zoom_range=0.2")
    second = of_views(tmp_path, 2, recipe="zoom_range=[0.8,1.2] rotation_range=40 horizontal_flip=True shear_range=0")
    assert first.run(paths[:2]).forward_passes == 4 and second.run(paths[:2]).forward_passes == 0


def test_failures_fail_once_and_copies_are_computed_once(tmp_path: Path, paths: list[str]) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(Path(paths[0]).read_bytes()[:500])
    copy = str(shutil.copy(paths[1], tmp_path / "copy.png"))
    sources: list[Source] = [paths[0], "gone.png", paths[1], str(cut), copy, b"no picture"]
    extractor = of_views(tmp_path / "cache", 3)
    outcome, rows = extractor.features(sources)
    assert outcome.succeeded == [0, 2, 4] and rows.shape == (3, 3, 1280) and np.array_equal(rows[1], rows[2])
    assert [failure.path for failure in outcome.failures] == ["gone.png", str(cut), "image 6"]
    assert (outcome.computed, outcome.forward_passes, stored(extractor)) == (2, 6, [2, 2, 2])


def test_a_view_that_is_gone_is_computed_alone(tmp_path: Path, paths: list[str], decoded: Counter[bytes]) -> None:
    extractor = of_views(tmp_path, 4)
    before = extractor.features(paths[:6])[1]
    shutil.rmtree(extractor.stores[2].folder)
    outcome, rows = of_views(tmp_path, 4).features(paths[:6])
    assert (outcome.computed, outcome.forward_passes) == (6, 6) and alike(rows, before)
    assert list(decoded.values()) == [2] * 6


def test_a_damaged_shard_of_one_view_is_computed_again(tmp_path: Path, paths: list[str]) -> None:
    extractor = of_views(tmp_path, 3)
    before = extractor.features(paths[:6])[1]
    (damaged,) = extractor.stores[1].refresh()
    data = bytearray(Path(damaged.path).read_bytes())
    data[damaged.offset + 5000] ^= 4
    Path(damaged.path).write_bytes(data)
    outcome, rows = extractor.features(paths[:6])
    assert (outcome.computed, outcome.forward_passes) == (6, 6) and alike(rows, before)
    assert os.path.exists(damaged.path + ".damaged")


@pytest.mark.parametrize("known", [1, 2])
def test_a_file_that_changes_after_it_was_hashed_has_all_views_of_what_was_decoded(
    tmp_path: Path, photos: Path, known: int
) -> None:
    sources: list[Source] = sorted(str(path) for path in photos.glob("*/*.png"))[:3]
    sources.append(str(shutil.copy(str(sources[0]), photos / "copy.png")))
    of_views(tmp_path / "cache", known).run(sources)  # so that the first decode is of some views only
    os.unlink(tmp_path / "cache" / "digests.sqlite")  # so that files are read, however old they are
    changed = (BUNDLED / "coffee.png").read_bytes()
    extractor = of_views(tmp_path / "cache", 4)
    outcome, rows = extractor.features(sources, at("reading", 4, lambda: Path(str(sources[0])).write_bytes(changed)))
    assert outcome.digests[0] == content_digest(changed) and outcome.succeeded == [0, 1, 2, 3]
    fresh = of_views(tmp_path / "other", 4).features(sources)[1]
    assert alike(rows, fresh)
    assert stored(extractor) == [4, 4, 4, 4]  # of the copy, which has not changed, as well
    assert extractor.run(sources).forward_passes == 0


@pytest.mark.parametrize("shard_rows", [1, 6, 100])
def test_an_interrupted_run_keeps_what_is_computed(tmp_path: Path, paths: list[str], shard_rows: int) -> None:
    extractor = of_views(tmp_path, 3, shard_rows=shard_rows)
    with pytest.raises(KeyboardInterrupt) as raised:
        extractor.run(paths, at("features", 2, interrupt))
    kept = stored(extractor)
    assert 0 < sum(kept) == extractor.forward_passes < 108 and len(set(kept)) == 1
    assert raised.value.__notes__ == [f"{sum(kept)} new rows are kept, the next run goes on from there"]
    assert of_views(tmp_path, 3).run(paths).forward_passes == 108 - sum(kept)


@pytest.mark.parametrize("shard_rows", [2, 12, 48])
def test_no_more_rows_are_at_risk_than_a_shard_has(
    tmp_path: Path, paths: list[str], shard_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = of_views(tmp_path, 4, shard_rows=shard_rows)
    commit, at_risk = PendingRows.commit, []

    def watched(*arguments: Any) -> None:
        at_risk.append(extractor.forward_passes - sum(stored(extractor)))
        commit(*arguments)

    monkeypatch.setattr(PendingRows, "commit", watched)
    extractor.run(paths)
    assert max(at_risk) <= max(shard_rows, 4)  # a picture's four are of one moment
    assert stored(extractor) == [36] * 4


def test_the_disk_has_to_have_room_for_all_views(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = of_views(tmp_path, 4)
    extractor.stores[0].folder  # noqa: B018 - nothing is made before there is room
    needed = 4 * 5 * (4 * 1280 + 32)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _folder: Usage(10**12, 10**12, needed))
        with pytest.raises(UserError, match="too little disk: 20 rows of 1280 numbers"):
            extractor.run(paths[:5])
    assert extractor.forward_passes == 0
    assert extractor.run(paths[:5]).forward_passes == 20


def test_isolated_decoders_give_the_same_rows(tmp_path: Path, paths: list[str]) -> None:
    options: dict[str, Any] = {"views": 4, "recipe": "tutorial-breeds"}
    here = extractor_in(tmp_path / "here", **options).features(paths[:4])[1]
    outcome, there = extractor_in(tmp_path / "there", isolate=True, **options).features([*paths[:4], b"none"])
    assert np.array_equal(here, there) and outcome.forward_passes == 16 and len(outcome.failures) == 1


def test_a_way_of_resizing_without_views_refuses_them(tmp_path: Path, paths: list[str]) -> None:
    assert of_views(tmp_path, 2, resize="nearest").run(paths[:2]).forward_passes == 4
    assert of_views(tmp_path, 1, resize="bilinear").run(paths[:2]).forward_passes == 2
    with pytest.raises(UserError, match="resize bilinear knows no views: take antialias or nearest"):
        of_views(tmp_path, 2, resize="bilinear")


def test_where_views_do_not_fit_into_memory_fewer_are_named(
    tmp_path: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = of_views(tmp_path, 4)
    one = 36 * 1280 * 4
    assert features_for("logreg", extractor, paths)[1].shape == (36, 4, 1280)
    for head, free in (("sgd", 14 * one), (None, 10 * one)):  # which would stream one view
        monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda free=free: free)
        with pytest.raises(UserError, match=r"36 images in 4 views take 737 KB.*take no more than [23] with --views"):
            features_for(head, extractor, paths)
    assert features_for("sgd", of_views(tmp_path, 1), paths)[1].shape == (36, 1280)


def test_a_cache_that_cannot_be_written_serves_views(surfaces: Path) -> None:
    require_readable_code()
    with folder_for_all() as name:
        cache, sources = str(Path(name, "cache")), sorted(map(str, surfaces.glob("*/*.png")))
        rows = of_views(cache, 3).features(sources[:4])[1]
        new = Path(name, "new.png")
        new.write_bytes((BUNDLED / "coffee.png").read_bytes())
        data = [Path(path).read_bytes() for path in sources[:4]]
        for folder in [cache, *(str(path) for path in Path(cache).rglob("*") if path.is_dir())]:
            os.chmod(folder, 0o755)
        with read_only(name):
            extractor = pipeline.open_extractor(cache, backbone="nano", views=3)
            outcome, served = extractor.features(data)
            assert outcome.forward_passes == 0 and np.array_equal(served, rows)
            outcome, more = extractor.features([*data, str(new)])
            assert outcome.forward_passes == 3 and more.shape == (5, 3, 1280) and np.array_equal(more[:4], rows)
            with pytest.raises(UserError, match="4 of 4 images lack rows"):
                pipeline.open_extractor(cache, backbone="nano", views=4).run(data)
        assert of_views(cache, 3).run([str(new)]).forward_passes == 3  # they were not kept
