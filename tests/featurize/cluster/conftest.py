"""Photographs, their rows as one process computes them, and an empty cache that knows the converted network."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.extractors import extractor_in
from helpers.storage.clusters import crops


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """240 photographs, all different."""
    return crops(tmp_path_factory.mktemp("crops"), 240)


@pytest.fixture(scope="session")
def expected(pictures: list[str], warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Their rows (240, 1280)."""
    cache = shutil.copytree(warm_cache, tmp_path_factory.mktemp("local") / "cache")
    return extractor_in(cache).features(pictures)[1]


@pytest.fixture
def cache(warm_cache: Path, tmp_path: Path) -> Path:
    """A cache without rows."""
    shutil.copytree(warm_cache / "graphs", tmp_path / "cache" / "graphs")
    return tmp_path / "cache"


@pytest.fixture
def fresh_processes() -> Iterator[None]:
    """Processes of joblib's own that start in this test, with its environment."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)
    yield
    get_reusable_executor().shutdown(wait=True, kill_workers=True)
