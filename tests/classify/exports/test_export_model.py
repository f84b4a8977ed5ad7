"""A model as one file of each format: proven, described, and nothing beside it but what belongs to it."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.models.exported import Trained, pixels_of
from tensorflow.lite.tools import flatbuffer_utils

import pipeline
from classify.exports.runtimes import open_exported, run_exported
from featurize.engines.silent_openvino import import_openvino

FORMATS = {"onnx": "onnx", "tflite": "tflite", "keras": "keras", "xml": "xml"}


def described(path: str) -> Any:
    """The description inside an exported file."""
    suffix = os.path.splitext(path)[1]
    if suffix == ".onnx":
        (found,) = [one.value for one in onnx.load(path).metadata_props if one.key == "bottleneck_features"]
    elif suffix == ".tflite":
        model = flatbuffer_utils.read_model(path)
        (buffer,) = [one.buffer for one in model.metadata if one.name == b"bottleneck_features"]
        found = bytes(model.buffers[buffer].data).decode()
    elif suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            found = archive.read("bottleneck_features.json").decode()
    else:
        found = import_openvino().Core().read_model(path).get_rt_info(["bottleneck_features"]).astype(str)
    return json.loads(found)


@pytest.fixture(scope="module", params=FORMATS)
def exported(request: pytest.FixtureRequest, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(The report, the model) of an export of each format."""
    model = trained()
    output = str(tmp_path_factory.mktemp("exported") / f"surfaces.{request.param}")
    return pipeline.export_model(model, output), model


def test_an_export_says_what_the_model_says_of_any_number_of_pictures(exported: Any, pictures: list[str]) -> None:
    report, model = exported
    classifier = pipeline.load(model)
    pixels, expected = pixels_of(classifier, pictures), classifier.predict_proba(pictures)
    run = open_exported(report["output"])
    for count in (1, 9, 2):
        probabilities, distances = run(pixels[:count])
        assert probabilities == pytest.approx(expected[:count], abs=1e-4)
        assert probabilities.dtype == np.float32
        assert distances is not None and distances.shape == (count,)
    assert report["largest_difference"] < 1e-4
    assert report["largest_distance_difference"] < 1e-4


def test_an_export_is_described_inside_and_beside_it(exported: Any) -> None:
    report, model = exported
    inside = described(report["output"])
    beside = json.loads(Path(f"{report['output']}.json").read_text())
    assert inside == {name: value for name, value in beside.items() if name != "proof"}
    record = json.loads(Path(model).with_suffix(".json").read_text())
    assert (inside["labels"], inside["size"], inside["format"], inside["precision"]) == (
        ["brick", "grass", "gravel"],
        [96, 96],
        Path(report["output"]).suffix[1:],
        "float32",
    )
    assert inside["model"][".npz"] == record["arrays"]["sha256"]
    assert inside["reject"]["limit"] == pytest.approx(pipeline.load(model).outliers.limit(0.95))


def test_only_what_is_reported_lies_there(exported: Any) -> None:
    report, _ = exported
    folder = Path(report["output"]).parent
    assert sorted(str(path) for path in folder.iterdir()) == sorted(report["files"])
    several = [".xml", ".bin"] if report["format"] == "xml" else [Path(report["output"]).suffix]
    assert report["bytes"] == sum(Path(report["output"]).with_suffix(suffix).stat().st_size for suffix in several)


def test_an_export_replaces_an_earlier_one(exported: Any) -> None:
    report, model = exported
    if report["format"] != "xml":
        return  # the quickest one stands for all
    again = pipeline.export_model(model, report["output"], precision="float16")
    assert again["bytes"] < 0.6 * report["bytes"]
    assert described(report["output"])["precision"] == "float16"


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
@pytest.mark.parametrize(("precision", "share"), [("float16", 0.55), ("int8", 0.32)])
def test_weights_of_fewer_bits_make_a_smaller_file(
    suffix: str, precision: str, share: float, trained: Trained, tmp_path: Path, pictures: list[str]
) -> None:
    model = trained()
    report = pipeline.export_model(model, str(tmp_path / f"small.{suffix}"), precision=precision)
    in_full = pipeline.load(model).extractor.parts[0].engine  # nano has 1.1 million weights of 4 bytes, the head few
    assert in_full.dimension == 1280
    assert report["bytes"] < share * 4.56e6
    assert report["equal_labels"] >= 0.98
    classifier = pipeline.load(model)
    probabilities, _ = run_exported(report["output"], pixels_of(classifier, pictures))
    assert probabilities == pytest.approx(classifier.predict_proba(pictures), abs=0.05)


def test_the_target_of_the_training_is_that_of_the_export(trained: Trained, tmp_path: Path) -> None:
    model = trained(accept=0.5)
    report = pipeline.export_model(model, str(tmp_path / "accepting.xml"))
    accept = described(report["output"])["accept"]
    assert accept["target"] == 0.5
    other = pipeline.export_model(model, str(tmp_path / "other.xml"), accept=0.4, reject=0.8)
    about = described(other["output"])
    assert (about["accept"]["target"], about["reject"]["share"]) == (0.4, 0.8)
    assert described(pipeline.export_model(trained(), str(tmp_path / "plain.xml"))["output"])["accept"] is None


def test_fine_tuned_and_joined_networks_become_files(trained: Trained, tmp_path: Path) -> None:
    tuned = trained(head="finetune", views=1, head_params={"epochs": 1})
    joined = trained(backbone="nano+nano", pooling="avg+max")
    for model, suffix in ((tuned, "onnx"), (joined, "keras")):
        report = pipeline.export_model(model, str(tmp_path / f"file.{suffix}"))
        assert report["largest_difference"] < 1e-4


def test_the_command_writes_it_and_says_how_far_it_is_from_the_model(
    run: Any, trained: Trained, tmp_path: Path
) -> None:
    output = tmp_path / "surfaces.xml"
    status, out, _ = run("export", "--model", trained(), "--output", output, "--precision", "float16")
    assert status == 0
    assert out.splitlines()[0].startswith(f"{output}")
    assert "largest difference" in out and "training pictures" in out
    assert output.with_suffix(".bin").is_file()


def test_a_bundle_is_loaded_again_and_exported_further(trained: Trained, tmp_path: Path, pictures: list[str]) -> None:
    for head in ("logreg", "knn"):
        model = trained(head=head)
        bundle = pipeline.export_model(model, str(tmp_path / f"{head}.zip"))["output"]
        loaded = pipeline.load(bundle)
        expected = pipeline.predict_proba(pictures, model)
        assert loaded.predict_proba(pictures, use_cache=False) == pytest.approx(expected, abs=1e-6)
        report = pipeline.export_model(bundle, str(tmp_path / f"{head}.xml"))
        assert run_exported(report["output"], pixels_of(loaded, pictures))[0] == pytest.approx(expected, abs=1e-4)
