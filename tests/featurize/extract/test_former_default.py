"""A cache with rows of the former default backbone says so once, before today's computes its own."""

import logging
import shutil
from pathlib import Path

import pytest

import pipeline
from featurize.spec_options import DEFAULT_BACKBONE, FORMER_DEFAULT


@pytest.fixture
def photos(surfaces: Path, tmp_path: Path) -> Path:
    for number, path in enumerate(sorted(surfaces.rglob("*.png"))[:3]):
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if "default before" in record.getMessage()]
    caplog.clear()
    return found


def test_rows_of_the_former_default_are_mentioned_once(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = str(tmp_path / "cache")
    caplog.set_level(logging.INFO, logger="bottleneck")
    former = pipeline.features(str(photos), cache_dir=cache, backbone=FORMER_DEFAULT, weights="random", size=64)
    assert said(caplog) == []
    shutil.copy(photos / "0.png", photos / "again.png")
    (photos / "1.png").unlink()
    for expected in (1, 0):
        report = pipeline.features(str(photos), cache_dir=cache)
        lines = said(caplog)
        assert len(lines) == expected and report["features"].find(DEFAULT_BACKBONE) > 0
        if lines:
            assert lines[0].startswith(f"3 of these pictures have rows of {FORMER_DEFAULT}, the default before")
            assert former["features"] in lines[0] and f"--backbone {FORMER_DEFAULT}" in lines[0]


def test_rows_of_other_pictures_are_not_mentioned(
    photos: Path, surfaces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = str(tmp_path / "cache")
    caplog.set_level(logging.INFO, logger="bottleneck")
    pipeline.features(str(photos), cache_dir=cache, backbone=FORMER_DEFAULT, weights="random", size=64)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(sorted(surfaces.rglob("*.png"))[3], other)
    pipeline.features(str(other), cache_dir=cache)
    assert said(caplog) == []
