"""How far one new picture goes: the files of ours that it passes through in a warm `pipeline.predict`."""

import sys
from pathlib import Path

from conftest import BUNDLED, REPOSITORY, SPEC

import pipeline

sys.path.insert(0, str(REPOSITORY / "benchmarks" / "cost"))
from moves import calls_of_prediction

MOST_FILES = 19


def test_one_picture_passes_through_few_files(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=str(warm_cache), **SPEC)
    classifier = pipeline.load(model, cache_dir=str(warm_cache))
    pipeline.predict([str(BUNDLED / "rocket.jpg")], classifier)
    for picture in ("coffee.png", "rocket.jpg"):
        files = {file for file, _ in calls_of_prediction(str(BUNDLED / picture), classifier)}
        assert "featurize/extract/network_extractor.py" in files  # so that this test can fail
        assert len(files) <= MOST_FILES, sorted(files)
