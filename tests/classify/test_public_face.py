"""The docstrings of `pipeline`: every function has the sections of numpydoc, and its examples are true."""

import doctest
import os
import shutil
from pathlib import Path

import pytest

import pipeline

FUNCTIONS = [
    "features", "train", "evaluate", "compare", "report", "load", "predict", "predict_proba", "top_k",
    "predict_groups", "export", "export_model", "create_app",
]  # fmt: skip


def test_the_examples_give_what_they_show(
    photos: Path, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order: later ones use the model that `train` has saved."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(warm_cache, ".features")
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder(recurse=False)
    for name in FUNCTIONS:
        (example,) = finder.find(getattr(pipeline, name), name, globs={"pipeline": pipeline})
        runner.run(example)
    assert runner.summarize(verbose=False) == (0, runner.tries) and runner.tries >= len(FUNCTIONS)
    assert photos.is_dir() and os.path.exists("report.html")


def test_every_public_name_is_documented_in_sections() -> None:
    assert {*FUNCTIONS, "Featurizer", "UserError"} == set(pipeline.__all__)
    for name in FUNCTIONS:
        text = getattr(pipeline, name).__doc__
        headings = [f"{title}\n    {'-' * len(title)}\n" for title in ("Parameters", "Returns", "Raises", "Examples")]
        assert all(heading in text for heading in headings), name
