"""Keras' own format: written and run by Keras."""

import zipfile
from typing import Any

import numpy as np

from classify.exports.files.named_outputs import Answer, Pixels, Runner
from featurize.engines.keras_import import import_keras

MEMBER = "bottleneck_features.json"  # of the file, which is a zip archive; Keras reads its own members alone


def write(graph: Any, path: str, precision: str, description: str) -> None:  # noqa: ARG001  # float32 alone
    """Write a keras.Model to `path`, the description as one more member."""
    graph.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, description)


def opened(path: str) -> Runner:
    """What runs the file at `path`."""
    graph = import_keras().saving.load_model(path, compile=False)

    def run(pixels: Pixels) -> Answer:
        return {name: np.asarray(value) for name, value in graph(fed(graph, pixels), training=False).items()}

    return run


def fed(graph: Any, pixels: Pixels) -> Any:
    """Pixels as a keras.Model of an export takes them: by name, but those of an only input as they are."""
    return pixels if isinstance(graph.input, dict) else pixels[graph.input.name]
