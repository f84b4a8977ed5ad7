"""Maps in their own shape: cached, looked up, exported and recomputed like rows; halved in float16."""

import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import SPEC
from PIL import Image

import featurize.extract.pending_rows
import featurize.machine.memory
import pipeline
from cache.errors import UserError
from cache.stored_rows import StoredRows
from classify.data.beyond_memory import features_for
from featurize.backbones.network import build_network
from featurize.backbones.weights import Weights
from featurize.extract.extractor import SAME_COSINE, Extractor
from featurize.reopen import check_options, reopen

LAYER = "down8"
SHAPE = 12, 12, 96  # of that layer of nano
MAPS = SPEC | {"layer": LAYER, "pooling": "none"}


@pytest.fixture(scope="module")
def paths(surfaces: Path) -> list[str]:
    return sorted(str(path) for path in surfaces.glob("*/*.png"))


@pytest.fixture(scope="module")
def cache(paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the maps of the photographs in float32 and in float16."""
    folder = tmp_path_factory.mktemp("maps")
    for stored in ("float32", "float16"):
        pipeline.open_extractor(str(folder), **MAPS, stored=stored).run(paths)
    return folder


def extractor_in(cache: Path, **options: Any) -> Extractor:
    return pipeline.open_extractor(str(cache), **(MAPS | options))


def test_maps_keep_their_shape_and_are_computed_once(cache: Path, paths: list[str]) -> None:
    outcome, maps = extractor_in(cache).features(paths)
    assert maps.shape == (36, *SHAPE) and maps.dtype == np.float32
    assert (outcome.forward_passes, outcome.computed) == (0, 0)


@pytest.mark.parametrize(("pooling", "pool"), [("avg", np.mean), ("max", np.max)])
def test_what_is_pooled_afterwards_is_what_is_pooled_in_the_network(
    cache: Path, paths: list[str], tmp_path: Path, pooling: str, pool: "np.ufunc"
) -> None:
    maps = extractor_in(cache).features(paths)[1]
    rows = extractor_in(tmp_path, pooling=pooling).features(paths)[1]
    assert np.allclose(pool(maps, axis=(1, 2)), rows, rtol=1e-4, atol=1e-5)
    flat = extractor_in(tmp_path, pooling="flatten").features(paths)[1]
    assert np.allclose(maps.reshape(36, -1), flat, rtol=1e-4, atol=1e-5)


def test_the_last_maps_of_a_convnext_are_normalised_as_flattened_ones_are(paths: list[str]) -> None:
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize((32, 32)), np.float32) for path in paths[:2]])
    maps, flat = (
        build_network("convnext_tiny", Weights("random", ""), (32, 32), None, pooling, "convnext")(pixels).numpy()
        for pooling in ("none", "flatten")
    )
    assert maps.shape == (2, 1, 1, 768) and np.allclose(maps.reshape(2, -1), flat, atol=1e-5)


def test_float16_takes_half_the_disk_and_keeps_three_digits(cache: Path, paths: list[str]) -> None:
    full, half = extractor_in(cache), extractor_in(cache, stored="float16")
    assert full.store.folder != half.store.folder
    expected, maps = full.features(paths)[1], half.features(paths)[1]
    assert maps.dtype == np.float16 and np.allclose(maps, expected, rtol=1e-3, atol=1e-3)
    sizes = [sum(path.stat().st_size for path in Path(each.store.folder).glob("*.h5")) for each in (full, half)]
    assert 1.9 < sizes[0] / sizes[1] < 2


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], str]:
    """A saved network whose map is the picture times a factor."""
    from featurize.engines.keras_import import import_keras

    keras = import_keras()

    def save(factor: float) -> str:
        images = keras.Input((8, 8, 3))
        scale = keras.layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(factor))
        path = str(tmp_path_factory.mktemp("scaled") / "own.keras")
        keras.Model(images, scale(images)).save(path)
        return path

    return save


@pytest.mark.parametrize("pooling", ["none", "avg"])
@pytest.mark.parametrize(
    ("factor", "reason"), [(1000, r"reach \d.*beyond 65504: .*float32"), (1e-8, "too small: .*float32"), (200, None)]
)
def test_what_float16_cannot_hold_is_a_failure_that_says_so(
    factor: float, reason: str | None, pooling: str, scaled: Callable[[float], str], paths: list[str], tmp_path: Path
) -> None:
    black = str(tmp_path / "black.png")
    Image.new("RGB", (8, 8)).save(black)
    own: dict[str, Any] = {"backbone": scaled(factor), "pooling": pooling, "size": None, "layer": None}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "overflow")  # numpy's
        outcome, rows = extractor_in(tmp_path / "c", stored="float16", **own).features([paths[0], black])
    assert rows.dtype == np.float16 and np.isfinite(rows).all() and not rows[-1].any()  # of zeros nothing is lost
    if reason is None:
        assert not outcome.failures
        return
    (failure,) = outcome.failures
    assert failure.path == paths[0] and re.search(reason, failure.reason) and "not finite" not in failure.reason
    assert not extractor_in(tmp_path / "c", **own).features([paths[0], black])[0].failures


@pytest.mark.parametrize(("stored", "expected"), [("float32", "1.99 MB"), ("float16", "996 KB")])
def test_the_disk_that_maps_take_is_said_first(
    paths: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, stored: str, expected: str
) -> None:
    with caplog.at_level(logging.INFO, "bottleneck"):
        extractor = extractor_in(tmp_path, stored=stored)
        extractor.run(paths)
    assert f"to compute: 36 rows of 12 x 12 x 96 numbers, about {expected} in {extractor.store.folder}" in caplog.text


def test_a_shard_of_maps_is_cut_at_its_bytes(paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize.extract.pending_rows, "SHARD_BYTES", 2 * int(np.prod(SHAPE)) * 10 + 100)
    extractor = extractor_in(tmp_path, stored="float16")
    extractor.run(paths)
    sizes = [len(shard) for shard in extractor.store.refresh()]
    assert sum(sizes) == 36 and max(sizes) <= 10


@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_maps_computed_again_agree_with_those_cached(cache: Path, paths: list[str], stored: str) -> None:
    count, _, cosine = extractor_in(cache, stored=stored).difference_to_network(paths, 5)
    assert count == 5 and cosine > SAME_COSINE


def test_maps_are_exported_in_their_shape(cache: Path, surfaces: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "maps.h5")
    pipeline.export(str(surfaces), output, cache_dir=str(cache), **MAPS, stored="float16")
    with h5py.File(output) as file:
        assert file["features"].shape == (36, *SHAPE) and file["features"].dtype == np.float32
        expected = extractor_in(cache, stored="float16").features(list(file["paths"].asstr()[:]))[1]
        assert (file["features"][:] == expected).all()


def test_maps_that_stay_on_the_disk_are_read_in_chunks(cache: Path, paths: list[str]) -> None:
    extractor = extractor_in(cache, stored="float16")
    outcome, maps = extractor.features(paths)
    on_disk = StoredRows(extractor.store, outcome.keys, memory=8 * 5 * 4 * int(np.prod(SHAPE)))
    assert on_disk.shape == (36, *SHAPE) and on_disk.rows_at_once == 5
    assert (on_disk.apply(lambda chunk: chunk.mean(axis=(1, 2))) == maps.astype(np.float32).mean(axis=(1, 2))).all()


def test_heads_of_rows_refuse_maps_before_any_work(surfaces: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the head logreg takes rows: use POOLING=avg or flatten"):
        pipeline.train(str(surfaces), "logreg", cache_dir=str(tmp_path / "cache"), **MAPS)
    assert not (tmp_path / "cache").exists()


def test_rows_in_float16_count_as_what_they_are_computed_with(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = extractor_in(tmp_path, pooling="avg", stored="float16")
    needed = 3 * 36 * 96 * 4  # bytes
    for free, streamed in ((needed, False), (needed - 1, True)):
        monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda free=free: free)
        assert isinstance(features_for(None, half, paths)[1], StoredRows) == streamed


def test_maps_beyond_memory_are_an_error_that_says_what_to_do(
    surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 10**6)
    one_view = {"views": 1, "predict_views": 1, "cache_dir": str(tmp_path), "model": str(tmp_path / "m.joblib")}
    with pytest.raises(UserError, match="finetune cannot stream them, give a cut further up"):
        pipeline.train(str(surfaces), "finetune", cut=LAYER, **SPEC, **one_view)
    assert not (tmp_path / "m.joblib").exists()


def test_an_unknown_type_of_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stored 'float8': choose one of float32, float16"):
        extractor_in(tmp_path, stored="float8")


def test_a_spec_of_maps_is_opened_again(cache: Path) -> None:
    extractor = extractor_in(cache, stored="float16")
    again = reopen(extractor.record(), extractor.table)
    assert again.spec == extractor.spec
    check_options(again.spec, "m.joblib", {"stored": "float16", "pooling": "none"}, extractor.table)
    with pytest.raises(UserError, match="--stored float32 contradicts the model"):
        check_options(again.spec, "m.joblib", {"stored": "float32"}, extractor.table)
