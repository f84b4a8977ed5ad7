"""The network as the tutorials build it: Keras Applications without top, average pooling."""

from collections.abc import Callable
from typing import Any

import numpy as np
from job import Job

from featurize.backbones.backbone_table import find_backbone
from featurize.backbones.network import trained_backbone
from featurize.backbones.weights import locate
from featurize.engines.keras_import import import_keras

BATCH = 32


def keras_network(job: Job) -> tuple[Any, Callable[[Any], Any], tuple[int, int]]:
    """(keras.Model, its `preprocess_input`, (height, width) of its input)."""
    keras = import_keras()
    row = find_backbone(job.backbone)
    size = (row.size, row.size)
    if row.packaged:
        trunk, _ = trained_backbone(row.name, locate(row, size, job.weights), size)
        network = keras.Sequential([trunk, keras.layers.GlobalAveragePooling2D()])
        preprocess = _as_it_is
    else:
        build = getattr(keras.applications, row.builder)
        weights = job.weights or "imagenet"
        network = build(include_top=False, weights=weights, input_shape=(*size, 3), pooling="avg", **row.options)
        preprocess = getattr(keras.applications, row.module).preprocess_input
    return network, preprocess, size


def warm_up(network: Any, size: tuple[int, int]) -> None:
    """Predict a batch and a part of one: what Keras compiles for these shapes is compiled before any clock starts."""
    network.predict(np.zeros((BATCH + 1, *size, 3), np.float32), batch_size=BATCH, verbose=0)


def _as_it_is(pixels: Any) -> Any:
    return pixels
