"""Point 13: predictions see what training saw, however and wherever the pictures are given."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, SPEC
from helpers.other_user import folder_for_all, read_only, require_readable_code
from PIL import Image
from reliability.conftest import Count, Figure

import pipeline
from classify.data.beyond_memory import features_for
from classify.heads.head_table import make_head
from featurize.extract.extractor import Extractor


class Trained:
    """A model, the pictures that it was trained on, and the features and labels of the training path."""

    def __init__(self, folder: Path, images: Path, cache: Path):
        self.model, self.cache = str(folder / "m.joblib"), str(cache)
        self.images = images
        self.paths = sorted(map(str, images.glob("*/*")))
        report = pipeline.train(str(images), model=self.model, cache_dir=self.cache, refit=True, **SPEC)
        assert report["failed"] == 0 and report["images"] == len(self.paths)
        extractor = pipeline.open_extractor(self.cache, **SPEC)
        outcome, rows = features_for("logreg", extractor, self.paths)
        assert outcome.forward_passes == 0 and isinstance(rows, np.ndarray)
        self.rows = rows
        self.saved = pipeline.load(self.model).saved
        self.probabilities = self.saved.estimator.predict_proba(rows)
        self.labels = self.saved.estimator.predict(rows).tolist()

    def extractor(self) -> Extractor:
        """As a prediction opens it, without anything kept from before."""
        return pipeline.load(self.model).extractor


@pytest.fixture(scope="module")
def trained(
    photographs: Callable[[int], Path],
    warm_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Trained:
    """Trained on photographs, every other one a JPEG as it is, the others without loss as PNG."""
    folder = tmp_path_factory.mktemp("trained")
    number = 200 if request.config.getoption("--full") else 60
    images, cache = folder / "images", folder / "cache"
    shutil.copytree(warm_cache, cache)
    for position, path in enumerate(sorted(photographs(number).glob("*/*"))):
        target = images / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if position % 2:
            shutil.copy(path, target)
        else:
            with Image.open(path) as picture:
                picture.convert("RGB").save(target.with_suffix(".png"))
    return Trained(folder, images, cache)


def lossless(paths: list[str]) -> list[int]:
    return [number for number, path in enumerate(paths) if path.endswith(".png")]


def opened(path: str) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


def test_the_features_are_those_of_the_training(trained: Trained, figure: Figure) -> None:
    again, rows = trained.extractor().features(trained.paths)
    assert again.forward_passes == 0 and np.array_equal(rows, trained.rows)
    computed, fresh = trained.extractor().without_cache(trained.paths)
    assert computed.forward_passes == len(trained.paths)
    assert np.array_equal(fresh, trained.rows)
    figure(
        13,
        f"{len(rows)} files: features of training and prediction equal in every bit, from the cache and computed anew",
    )


def test_every_way_to_give_a_picture_gets_the_label_of_the_training_path(trained: Trained, figure: Figure) -> None:
    without_loss = lossless(trained.paths)
    everything = list(range(len(trained.paths)))
    ways: dict[str, tuple[list[int], list[Any], dict[str, Any]]] = {
        "paths": (everything, trained.paths, {}),
        "without the cache": (everything, trained.paths, {"use_cache": False}),
        "bytes": (everything, [Path(path).read_bytes() for path in trained.paths], {}),
        "bytes, without the cache": (
            everything, [Path(path).read_bytes() for path in trained.paths], {"use_cache": False}
        ),
        "PIL images": (without_loss, [opened(trained.paths[i]) for i in without_loss], {}),
        "arrays": (without_loss, [np.asarray(opened(trained.paths[i])) for i in without_loss], {}),
    }  # fmt: skip
    equal = 0
    for way, (numbers, images, options) in ways.items():
        labels = pipeline.predict(images, trained.model, **options).tolist()
        assert labels == [trained.labels[i] for i in numbers], way
        found = pipeline.predict_proba(images, trained.model, **options)
        # A product of matrices may depend on how many rows there are by its last bit.
        np.testing.assert_allclose(found, trained.probabilities[numbers], rtol=0, atol=1e-12, err_msg=way)
        equal += len(labels)
    assert pipeline.predict(str(trained.images), trained.model).tolist() == trained.labels
    figure(13, f"{len(everything)} files as {', '.join(ways)}: {equal} of {equal} predictions equal")


def test_a_read_only_cache_gives_the_same(trained: Trained, figure: Figure) -> None:
    require_readable_code()
    with folder_for_all() as name:
        here = Path(name)
        shutil.copytree(trained.images, here / "images")
        shutil.copytree(trained.cache, here / "cache")
        for suffix in (".joblib", ".json", ".npz"):
            shutil.copy(Path(trained.model).with_suffix(suffix), here)
        shards = sorted((here / "cache").glob("nano*/*.h5"))
        for kept in (shards, []):  # with the rows, and with none of them
            for shard in set(shards) - set(kept):
                shard.unlink()
            with read_only(name):
                classifier = pipeline.load(str(here / "m.joblib"), cache_dir=str(here / "cache"))
                labels = classifier.predict(
                    [str(here / "images" / Path(p).relative_to(trained.images)) for p in trained.paths]
                )
            assert labels.tolist() == trained.labels
            assert (classifier.extractor.forward_passes == 0) == bool(kept)
    figure(13, "from a cache that cannot be written, with and without the rows: the same")


def test_a_new_process_anywhere_gives_the_same(trained: Trained, tmp_path: Path, figure: Figure) -> None:
    code = """
import json, sys, pipeline
model, *images = sys.argv[1:]
print(json.dumps([pipeline.predict(images, model, use_cache=cached).tolist() for cached in (True, False)]))
"""
    places: list[tuple[Path, list[str]]] = [
        (REPOSITORY, trained.paths),
        (tmp_path, trained.paths),
        (trained.images, [os.path.relpath(path, trained.images) for path in trained.paths]),
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    for folder, paths in places:
        model = os.path.relpath(trained.model, folder)
        done = subprocess.run(
            [sys.executable, "-c", code, model, *paths], cwd=folder, env=environment, capture_output=True, check=True
        )
        assert json.loads(done.stdout) == [trained.labels, trained.labels], folder
    command = [sys.executable, "-m", "pipeline", "predict", "--model", trained.model, str(trained.images)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    table = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["path"] for row in table] == trained.paths and [row["label"] for row in table] == trained.labels
    figure(13, f"in {len(places)} new processes in different folders, and by the command: the same")


def test_another_decoder_would_be_noticed(trained: Trained, count: Count) -> None:
    """So that these tests can fail: the same pictures resized otherwise give other features and other labels."""
    chosen = trained.paths[: count(200, 40)]
    _, rows = pipeline.open_extractor(trained.cache, **SPEC | {"resize": "nearest"}).without_cache(chosen)
    assert not np.isclose(rows, trained.rows[: len(chosen)], atol=1e-3).all(axis=1).any()
    assert make_head("logreg").get_params()["C"] == trained.saved.estimator.C
