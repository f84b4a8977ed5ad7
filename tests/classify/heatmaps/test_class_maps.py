"""Exact maps: their mean is the head's decision, whatever the head, its normalising and its number of classes."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import SPEC
from helpers.models.quick_heads import PLAIN, head

import pipeline
from classify.heads.head_arrays import ArrayHead
from classify.heatmaps.class_maps import class_map

LINEAR = [name for name in PLAIN if name != "knn"]
NEAR = 1e-5  # of float32


class Rows(NamedTuple):
    maps: np.ndarray
    rows: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="module")
def rows(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Maps and rows of 36 photographs by one network, each through the cache."""
    cache = str(shutil.copytree(warm_cache, tmp_path_factory.mktemp("maps") / "cache"))
    paths = sorted(str(path) for path in surfaces.glob("*/*.png"))
    of = {
        pooling: pipeline.open_extractor(cache, pooling=pooling, **SPEC).features(paths)[1]
        for pooling in ("none", "avg")
    }
    return Rows(of["none"], of["avg"], np.array([Path(path).parent.name for path in paths]))


def decided(fitted: Any, rows: np.ndarray, answer: int) -> np.ndarray:
    """Decisions for a class less the mean of the others, from the probabilities alone."""
    logs = np.log(fitted.predict_proba(rows)) * getattr(fitted, "temperature_", 1.0)
    return logs[:, answer] - np.delete(logs, answer, axis=1).mean(axis=1)


def test_a_cached_row_is_the_mean_of_the_cached_map(rows: Rows) -> None:
    assert rows.maps.shape == (36, 6, 6, 1280)
    assert np.abs(rows.maps.mean(axis=(1, 2)) - rows.rows).max() <= NEAR * rows.rows.max()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("normalize", ["l2", "standard", "none"])
@pytest.mark.parametrize("name", LINEAR)
def test_the_mean_of_a_map_is_the_decision(rows: Rows, name: str, normalize: str, classes: int) -> None:
    kept = np.isin(rows.labels, sorted(set(rows.labels))[:classes])
    X, maps = rows.rows[kept], rows.maps[kept]
    fitted = head(name, normalize=normalize).fit(X, rows.labels[kept])
    arrays = fitted.arrays()
    assert isinstance(arrays, ArrayHead)
    for answer in range(classes):
        expected = decided(fitted, X, answer)
        for one, decision in zip(maps[::5], expected[::5], strict=True):
            values = class_map(arrays, [one], [False], answer)
            assert values.shape == (6, 6) and values.dtype == np.float32
            spread = float(np.abs(values).max())
            assert values.astype(np.float64).mean() == pytest.approx(decision, abs=NEAR * max(1.0, spread))
    if classes == 2:
        first, second = (class_map(arrays, [maps[0]], [False], answer) for answer in (0, 1))
        assert np.allclose(first, -second, atol=NEAR * np.abs(first).max())


def test_a_flattened_map_has_a_map_of_its_own(rows: Rows) -> None:
    X = rows.maps.reshape(36, -1)
    fitted = head("ridge").fit(X, rows.labels)
    values = class_map(fitted.arrays(), [rows.maps[3]], [True], 1)
    assert values.mean() == pytest.approx(decided(fitted, X[3:4], 1)[0], rel=1e-4)
    one_place = rows.maps[3].copy()
    one_place[2, 4] = 0  # what is there counts there alone, but for the length of the row
    fitted = head("ridge", normalize="none").fit(X, rows.labels)
    change = class_map(fitted.arrays(), [rows.maps[3]], [True], 1) - class_map(fitted.arrays(), [one_place], [True], 1)
    assert np.flatnonzero(np.abs(change) > 1e-6).tolist() == [2 * 6 + 4]


def test_maps_of_two_networks_are_added_on_the_finer_grid(rows: Rows) -> None:
    """Each part of a joined row is brought to length 1, then the head normalises the whole."""
    coarse = rows.maps.reshape(36, 3, 2, 3, 2, 1280).mean(axis=(2, 4))
    parts = [rows.maps.mean(axis=(1, 2)), coarse.mean(axis=(1, 2))[:, ::2]]
    X = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=1)
    for normalize in ("l2", "standard"):
        fitted = head("logreg", normalize=normalize).fit(X, rows.labels)
        expected = decided(fitted, X, 2)
        for number in (0, 20, 35):
            values = class_map(fitted.arrays(), [rows.maps[number], coarse[number][:, :, ::2]], [False, False], 2)
            assert values.shape == (6, 6)
            assert values.astype(np.float64).mean() == pytest.approx(expected[number], abs=1e-4)
