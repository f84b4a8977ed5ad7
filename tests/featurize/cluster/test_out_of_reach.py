"""Workers that find neither cache nor weights where the run has them: rows and weights travel."""

import logging
import os
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from helpers.extractors import extractor_in
from helpers.files.onnx_files import conv_net, saved

from featurize.cluster.connect import connected
from featurize.open_extractor import open_extractor

HERE = "/proc/self/cwd"  # in each process its own folder: what a run has there, its workers have not

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
    pytest.mark.usefixtures("fresh_processes"),
]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is not that of the two processes that are at work already."""
    (tmp_path / "workers").mkdir()
    monkeypatch.chdir(tmp_path / "workers")
    with connected("local:2"):
        folders = joblib.Parallel()(joblib.delayed(os.getcwd)() for _ in range(4))
    assert {*folders} == {str(tmp_path / "workers")}
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("location", [None, "weights/own.data"], ids=["one file", "several files"])
def test_rows_and_weights_travel(
    elsewhere: Path, pictures: list[str], caplog: pytest.LogCaptureFixture, location: str | None
) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    (elsewhere / "weights").mkdir()
    saved(conv_net(), elsewhere / "own.onnx", location)
    asked = {"backbone": f"{HERE}/own.onnx", "preprocess": "scale=1/255 mean=0.5 std=0.5 crop=20"}
    extractor = open_extractor(f"{HERE}/cache", **asked)  # type: ignore[arg-type]
    with connected("local:2"):
        outcome = extractor.run(pictures)
    said = " ".join(caplog.messages)
    assert "workers cannot reach, and send their rows to, the cache" in said and "are sent to worker" in said
    assert outcome.computed == outcome.forward_passes == 240
    rows = open_extractor(str(elsewhere / "alone"), **asked).features(pictures)[1]  # type: ignore[arg-type]
    np.testing.assert_array_equal(extractor.stored(outcome.keys), rows)


def test_what_has_a_row_is_read_but_not_computed(
    elsewhere: Path, pictures: list[str], expected: np.ndarray, cache: Path
) -> None:
    extractor = extractor_in(f"{HERE}/cache")
    assert (elsewhere / "cache").samefile(cache)
    extractor.run(pictures[:100])
    os.unlink(cache / "digests.sqlite")  # as where the pictures have been moved
    with connected("local:2"):
        outcome = extractor.run(pictures)
    assert outcome.computed == outcome.forward_passes == 140
    np.testing.assert_array_equal(extractor.stored(outcome.keys), expected)
