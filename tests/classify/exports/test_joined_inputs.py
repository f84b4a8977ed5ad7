"""Joined backbones of several sizes or ways of resizing: an export takes one picture, in an input for each."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.kinds_of_photographs import write_all
from helpers.models.exported import Trained, named_pixels

import pipeline
from cache.errors import UserError
from classify.exports.about import About, side_files
from classify.exports.inputs import Input, inputs_of
from classify.exports.runtimes import open_exported
from classify.saved.classifier import Classifier

TWO: dict[str, Any] = {"backbone": "nano+nano", "size": "96+64", "resize": "antialias+bilinear", "head": "centroid"}
NAMES = ["pixels", "pixels_64x64"]


@pytest.fixture(scope="session")
def classifier(trained: Trained) -> Classifier:
    return pipeline.load(trained(**TWO))


@pytest.mark.parametrize("suffix", ["onnx", "tflite", "keras", "xml"])
def test_every_format_takes_one_picture_in_two_sizes(
    suffix: str, classifier: Classifier, pictures: list[str], tmp_path: Path
) -> None:
    output = str(tmp_path / f"two.{suffix}")
    report = pipeline.export_model(classifier, output)
    assert report["largest_difference"] < 1e-4 and report["largest_distance_difference"] < 1e-4
    about = json.loads(Path(side_files(output)[0]).read_text())
    assert about["inputs"] == [
        {"name": "pixels", "size": [96, 96], "resize": "antialias"},
        {"name": "pixels_64x64", "size": [64, 64], "resize": "bilinear"},
    ]
    assert not {"size", "resize"} & about.keys()
    run, pixels = open_exported(output), named_pixels(classifier, pictures)
    expected = classifier.predict_proba(pictures)
    for count in (1, 9):
        probabilities, distances = run({name: each[:count] for name, each in pixels.items()})
        assert probabilities == pytest.approx(expected[:count], abs=1e-4)
        assert distances is not None and distances.shape == (count,)
    with pytest.raises(UserError, match=r"two\.\w+ cannot be run by"):
        run(pixels["pixels"])
    script = runpy.run_path(side_files(output)[1])
    for path, row in zip(pictures[::3], expected[::3], strict=True):
        label, probability, _ = script["classify"](path)
        assert label == classifier.classes_[row.argmax()] and probability == pytest.approx(row.max(), abs=0.01)


def test_the_script_makes_the_pixels_of_each_input(classifier: Classifier, tmp_path: Path) -> None:
    output = str(tmp_path / "two.xml")
    pipeline.export_model(classifier, output)
    script = runpy.run_path(side_files(output)[1])
    photographs = write_all(tmp_path / "photographs")[::4]  # all kinds
    ours = named_pixels(classifier, photographs)
    assert list(ours) == NAMES
    for taken, allowed in zip(script["ABOUT"]["inputs"], (1, 0.01), strict=True):  # steps of 255
        theirs = np.concatenate([script["pixels_of"](path, taken) for path in photographs])
        assert np.abs(theirs - ours[taken["name"]]).max() <= allowed


def test_inputs_are_shared_and_named_by_what_they_take(trained: Trained) -> None:
    three = {"backbone": "nano+nano+nano", "head": "centroid"}
    antialias, nearest = Input("pixels", (96, 96), "antialias"), Input("pixels_96x96_nearest", (96, 96), "nearest")
    found = pipeline.load(trained(**three, resize="antialias+nearest+antialias", pooling="avg+avg+max"))
    assert inputs_of(found) == [antialias, nearest, antialias]
    assert About.of(found, "xml", "float32", None, None).inputs == (antialias, nearest)
