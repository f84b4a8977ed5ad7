"""A trained model beside its cache, and one service of it that tests share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SPEC
from helpers.services import Client, serving

import pipeline


@pytest.fixture(scope="session")
def trained(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logistic regression of three surfaces; for reading."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(warm_cache, folder / "cache")
    path = folder / "m.joblib"
    pipeline.train(str(surfaces), model=str(path), cache_dir=str(folder / "cache"), **SPEC)
    return path


@pytest.fixture(scope="session")
def client(trained: Path) -> Iterator[Client]:
    """A client of a service with the limits that it has by default, but for smaller bodies."""
    with serving(trained, max_body=4 * 2**20) as client:
        yield client


@pytest.fixture(scope="session")
def pictures(surfaces: Path) -> list[bytes]:
    """The photographs as files."""
    return [path.read_bytes() for path in sorted(surfaces.glob("*/*.png"))]
