"""Cached rows against fresh ones: equal where the cache is right, and told apart where it is not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import BUNDLED, SPEC

import pipeline
from featurize.extract.extractor import SAME_COSINE, Extractor


@pytest.fixture
def warm(warm_cache: Path, tmp_path: Path) -> Extractor:
    return pipeline.open_extractor(str(shutil.copytree(warm_cache, tmp_path / "warm")), **SPEC)


@pytest.fixture
def paths(surfaces: Path) -> list[str]:
    return sorted(str(path) for path in surfaces.glob("*/*.png"))


def test_a_right_cache_agrees_with_the_network(warm: Extractor, paths: list[str]) -> None:
    count, difference, cosine = warm.difference_to_network(paths, 5)
    assert count == warm.forward_passes == 5
    assert difference < 1e-5 * np.abs(warm.features(paths)[1]).max() and cosine > SAME_COSINE


def test_wrong_rows_are_found(warm: Extractor, paths: list[str], tmp_path: Path) -> None:
    outcome, rows = warm.features(paths)
    wrong = pipeline.open_extractor(str(tmp_path / "wrong"), **SPEC)
    wrong.store.commit(rows[::-1].copy(), outcome.keys, {})
    _, difference, cosine = wrong.difference_to_network(paths, 36)
    assert difference > 0.01 * np.abs(rows).max() and cosine < SAME_COSINE


def test_only_what_is_cached_is_computed_again(warm: Extractor, paths: list[str]) -> None:
    new = [str(path) for path in sorted(BUNDLED.glob("*.png"))[:4]]
    assert warm.difference_to_network([*new, "gone.png", *paths[:3]], 100)[0] == 3
    assert warm.difference_to_network(new, 100) == (0, 0.0, 1.0)
    assert sum(map(len, warm.store.refresh())) == 36
