"""Files that change without a trace in their times, as through `mmap`: `rehash` reads them again."""

import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED, REPOSITORY, SPEC
from PIL import Image

import pipeline


@pytest.fixture
def changed(warm_cache: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder with two pictures, one of which has changed since its row was stored, and the options of its cache."""
    cache = str(shutil.copytree(warm_cache, tmp_path / "cache"))
    for name in ("grass", "brick"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        with Image.open(BUNDLED / f"{name}.png") as picture:
            picture.crop((0, 0, 130, 130)).save(path := tmp_path / "photos" / name / "a.bmp")
    options = SPEC | {"cache_dir": cache}
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[-1] ^= 1  # from here on the page may be written without a word to the file system
        time.sleep(0.1)
        assert pipeline.features(str(tmp_path / "photos"), **options)["computed"] == 2
        before = os.stat(path)
        memory[-1800:] = bytes(1800)  # of the same page
        after = os.stat(path)
    if before.st_ctime_ns != after.st_ctime_ns:
        pytest.skip("this file system notes a change through memory at once")
    return tmp_path / "photos", options


def test_features_are_computed_of_what_is_there(changed: tuple[Path, dict[str, Any]]) -> None:
    photos, options = changed
    if pipeline.features(str(photos), **options)["computed"]:
        pytest.skip("this file system notes a change through memory when the file is closed")
    assert pipeline.features(str(photos), rehash=True, **options)["computed"] == 1
    assert pipeline.features(str(photos), **options)["computed"] == 0, "the table knows it from now on"


def test_predictions_are_of_what_is_there(changed: tuple[Path, dict[str, Any]], surfaces: Path, tmp_path: Path) -> None:
    photos, options = changed
    model, cache = str(tmp_path / "m.joblib"), options["cache_dir"]
    pipeline.train(str(surfaces), model=model, rehash=True, **options)
    path = str(photos / "brick" / "a.bmp")
    right = pipeline.predict_proba(Path(path).read_bytes(), model, use_cache=False)
    np.testing.assert_allclose(pipeline.predict_proba(path, model, rehash=True), right, rtol=0, atol=1e-6)
    assert len(pipeline.top_k(path, model, rehash=True)) == 3
    assert pipeline.evaluate(str(photos), model, rehash=True)["computed"] == 1
    command = [sys.executable, "-m", "pipeline", "predict", "--rehash", "--cache-dir", cache, "--model", model, path]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert float(done.stdout.splitlines()[-1].split(",")[-2]) == pytest.approx(right.max(), abs=1e-5)
