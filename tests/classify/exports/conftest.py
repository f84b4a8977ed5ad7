"""Models trained on real features of nano, each once a session."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import SPEC
from helpers.models.exported import Trained

import pipeline


@pytest.fixture(scope="session")
def trained(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a head on `surfaces`, once a session for the same options; returns the path of the model."""
    folder = tmp_path_factory.mktemp("trained")
    cache = str(shutil.copytree(warm_cache, folder / "cache"))
    known: dict[str, str] = {}

    def train(head: str = "logreg", **options: Any) -> str:
        key = repr((head, sorted(options.items())))
        if key not in known:
            path = str(folder / f"model{len(known)}.joblib")
            pipeline.train(str(surfaces), head=head, model=path, cache_dir=cache, **SPEC | options)
            known[key] = path
        return known[key]

    return train


@pytest.fixture(scope="session")
def pictures(surfaces: Path) -> list[str]:
    """Three pictures of each class."""
    return sorted(str(path) for number in (0, 5, 11) for path in surfaces.glob(f"*/*.{number}.png"))
