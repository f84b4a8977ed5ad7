"""Fixtures that several test files use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights and photographs beside the repository; tests that need it are skipped without it."""
    folder = Path(os.environ.get("BOTTLENECK_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "images").is_dir():
        pytest.skip(f"no real data set in {folder}")
    return folder
