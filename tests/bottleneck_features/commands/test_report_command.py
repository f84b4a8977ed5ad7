"""`report` on the command line: one file, the numbers on stdout, errors before any work."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SPEC

import pipeline

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def model(tmp_path: Path, surfaces: Path, warm_cache: Path) -> Path:
    path = tmp_path / "models" / "knn.joblib"
    cache = str(shutil.copytree(warm_cache, tmp_path / "cache"))
    pipeline.train(str(surfaces), "knn", model=str(path), cache_dir=cache, **SPEC)
    return path


def test_report_writes_one_file_and_prints_what_it_found(run: Run, model: Path, surfaces: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.html"
    status, out, _ = run("report", "--data", surfaces, "--model", model, "--output", output, "--no-heatmaps")
    assert status == 0 and output.read_text().lstrip().startswith("<!DOCTYPE html>")
    for line in (
        "pictures 36, failed 0",
        "accuracy ",
        "suspects ",
        "forward passes 0",
        "seconds: start-up",
        str(output),
    ):
        assert line in out
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.html"]


def test_a_place_that_cannot_be_written_is_said_before_any_work(run: Run, model: Path, surfaces: Path) -> None:
    output = model / "out.html"  # a file is no folder
    status, out, err = run("report", "--data", surfaces, "--model", model, "--output", output)
    assert status == 1 and not out and str(model) in err
