"""The graph of a classifier, in Keras and in OpenVINO, says what the classifier says."""

from typing import Any

import numpy as np
import pytest
from helpers.files.onnx_files import conv_net, saved
from helpers.models.exported import Trained, pixels_of

import pipeline
from cache.errors import UserError
from classify.exports.graphs.keras_graph import keras_graph
from classify.exports.graphs.openvino_graph import openvino_graph
from classify.exports.one_view import in_one_view
from classify.saved.classifier import Classifier
from featurize.engines.silent_openvino import import_openvino

MODELS: dict[str, dict[str, Any]] = {
    "logreg": {},
    "svm": {"head": "svm"},
    "rbf": {"head": "svm", "head_params": {"kernel": "rbf"}},
    "dense": {"head": "dense", "head_params": {"epochs": 20}},
    "hidden layer": {"head": "dense", "head_params": {"epochs": 20, "hidden": 8, "normalize": "standard"}},
    "ridge": {"head": "ridge"},
    "sgd": {"head": "sgd"},
    "centroid": {"head": "centroid"},
    "knn": {"head": "knn"},
    "equal votes": {"head": "knn", "head_params": {"temperature": None, "n_neighbors": 5, "normalize": "standard"}},
    "standard": {"head_params": {"normalize": "standard"}},
    "no normalisation": {"head": "svm", "head_params": {"kernel": "rbf", "normalize": "none"}},
    "flatten": {"pooling": "flatten"},
    "joined": {"backbone": "nano+nano", "pooling": "avg+max"},
    "several views": {"views": 3},
    "finetune": {"head": "finetune", "views": 1, "head_params": {"epochs": 1}},
}


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_both_graphs_say_what_the_model_says(options: dict[str, Any], trained: Trained, pictures: list[str]) -> None:
    classifier = in_one_view(pipeline.load(trained(**options)))
    pixels = pixels_of(classifier, pictures)
    expected = classifier.predict_proba(pictures, use_cache=False)
    network = keras_graph(classifier)
    for found in (
        {name: np.asarray(value) for name, value in network(pixels, training=False).items()},
        by_openvino(openvino_graph(classifier), pixels),
    ):
        assert found["probabilities"] == pytest.approx(expected, abs=1e-5)
        if options.get("head") == "finetune":
            assert found.keys() == {"probabilities"}, "a network that ends in decisions cannot reject"
            continue
        outliers = classifier.saved.outliers
        assert outliers is not None
        away = outliers.distances_of(classifier.extractor.without_cache(list(pictures))[1])
        assert found["distance"] == pytest.approx(away, abs=1e-5)


def test_of_two_classes_there_are_two_probabilities(trained: Trained, pictures: list[str], tmp_path: Any) -> None:
    two = tmp_path / "two.csv"
    rows = [f"{path},{'brick' if 'brick' in path else 'other'}" for path in pictures]
    two.write_text("\n".join(["path,label", *rows]) + "\n")
    classifier = pipeline.load(trained(labels=str(two)))
    pixels = pixels_of(classifier, pictures)
    found = by_openvino(openvino_graph(classifier), pixels)["probabilities"]
    assert found == pytest.approx(classifier.predict_proba(pictures), abs=1e-5)
    assert np.asarray(keras_graph(classifier)(pixels)["probabilities"]) == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("batch", ["n", 1], ids=["any number", "one picture at a time"])
def test_a_model_file_is_a_graph_of_openvino_alone(
    batch: str | int, trained: Trained, pictures: list[str], tmp_path: Any
) -> None:
    backbone = saved(conv_net(batch=batch), tmp_path / "conv.onnx")
    classifier = pipeline.load(trained(backbone=backbone, preprocess="scale=1/255 mean=0 std=1 crop=none"))
    graph = openvino_graph(classifier)
    assert str(graph.input(0).partial_shape[0]) == ("?" if batch == "n" else "1")
    for path in pictures[:2]:
        found = by_openvino(graph, pixels_of(classifier, [path]))["probabilities"]
        assert found == pytest.approx(classifier.predict_proba([path]), abs=1e-5)
    with pytest.raises(UserError, match=r"conv\.onnx is a model file, which only --output FILE\.xml can hold"):
        keras_graph(classifier)


def test_backbones_of_one_picture_share_its_pixels(trained: Trained) -> None:
    classifier: Classifier = pipeline.load(trained(**MODELS["joined"]))
    graph = openvino_graph(classifier)
    assert [one.any_name for one in graph.inputs] == ["pixels"]
    assert {one.any_name for one in graph.outputs} == {"probabilities", "distance"}


def by_openvino(model: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(pixels)
    return {one.any_name: np.array(found[one]) for one in compiled.outputs}
