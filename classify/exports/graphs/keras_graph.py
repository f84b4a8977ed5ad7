"""The graph of a classifier as a Keras model, of Keras' own layers and operations alone: loading it runs no code."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from cache.row_key import MODEL_FILE
from classify.exports.graphs.head_graph import distance_of, probabilities_of
from classify.exports.graphs.operations import Tensor
from classify.exports.inputs import inputs_of
from classify.heads.numerics import Floats
from classify.saved.classifier import Classifier
from featurize.engines.choose import build_keras
from featurize.engines.keras_import import import_keras
from featurize.resolve import Resolved


class KerasOperations:
    """`classify.exports.graphs.operations.Operations` on tensors of a functional Keras model.

    Large arrays are weights of layers; a constant of an operation would be text in the saved model.
    """

    def __init__(self) -> None:
        self._keras = import_keras()

    def width(self, rows: Tensor) -> int:
        return int(rows.shape[-1])

    def dense(self, rows: Tensor, kernel: Floats, bias: Floats | None = None) -> Tensor:
        layer = self._keras.layers.Dense(kernel.shape[1], use_bias=bias is not None, kernel_initializer="zeros")
        found = layer(rows)
        layer.set_weights([np.asarray(one, np.float32) for one in (kernel, bias) if one is not None])
        return found

    def unit(self, rows: Tensor) -> Tensor:
        return self._keras.layers.UnitNormalization()(rows)

    def relu(self, rows: Tensor) -> Tensor:
        return self._keras.layers.ReLU()(rows)

    def exp(self, rows: Tensor) -> Tensor:
        return self._keras.ops.exp(rows)

    def softmax(self, rows: Tensor) -> Tensor:
        return self._keras.layers.Softmax()(rows)

    def total(self, rows: Tensor) -> Tensor:
        return self._keras.ops.sum(rows, axis=-1, keepdims=True)

    def mean(self, rows: Tensor) -> Tensor:
        return self._keras.ops.mean(rows, axis=-1)

    def side_by_side(self, parts: list[Tensor]) -> Tensor:
        return self._keras.layers.Concatenate()(parts)

    def largest(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        values, where = self._keras.ops.top_k(rows, count)
        return values, where

    def looked_up(self, table: Floats, indices: Tensor) -> Tensor:
        layer = self._keras.layers.Embedding(*table.shape, embeddings_initializer="zeros")
        found = layer(indices)
        layer.set_weights([np.asarray(table, np.float32)])
        return found

    def weighted(self, weights: Tensor, rows: Tensor) -> Tensor:
        return self._keras.layers.Dot((1, 1))([weights, rows])

    def folded(self, rows: Tensor, order: NDArray[np.intp], signs: Floats, width: int) -> Tensor:
        ops, pieces = self._keras.ops, -(-len(order) // width)
        mixed = ops.take(rows, order.astype(np.int32), axis=1) * signs.astype(np.float32)
        padded = ops.pad(mixed, ((0, 0), (0, pieces * width - len(order))))
        return ops.sum(ops.reshape(padded, (-1, pieces, width)), axis=1)


def keras_graph(classifier: Classifier) -> Any:
    """keras.Model: "pixels" (n, height, width, 3) RGB 0..255 float32 -> {"probabilities": (n, k), "distance": (n,)}.

    Several inputs are a dictionary by name, see `classify.exports.inputs`. The distance is there where the model can
    reject. Raises UserError for backbones that Keras does not compute.
    """
    parts = [in_full(part.checked) for part in classifier.of_pixels.parts]
    for part in parts:
        if part.spec.backbone == MODEL_FILE:
            raise UserError(f"backbone {part.network} is a model file, which only --output FILE.xml can hold")
    keras, ops = import_keras(), KerasOperations()
    networks = [_named(keras, build_keras(part), f"backbone_{number}") for number, part in enumerate(parts)]
    names = [one.name for one in inputs_of(classifier)]
    shapes = {name: network.input_shape[1:] for name, network in zip(names, networks, strict=True)}
    pixels = {name: keras.Input(shape, dtype="float32", name=name) for name, shape in shapes.items()}
    rows = [network(pixels[name], training=False) for name, network in zip(names, networks, strict=True)]
    joined = ops.side_by_side([ops.unit(each) for each in rows]) if len(rows) > 1 else rows[0]
    outputs = {"probabilities": probabilities_of(ops, classifier.saved.predictor, joined)}
    if classifier.saved.outliers is not None:
        outputs["distance"] = distance_of(ops, classifier.saved.outliers, joined)
    model = keras.Model(pixels if len(pixels) > 1 else pixels[names[0]], outputs, name="classifier")
    model.trainable = False
    return model


def _named(keras: Any, network: Any, name: str) -> Any:
    """The same network under another name: joined ones need one each."""
    return keras.Model(network.inputs, network.outputs[0], name=name)


def in_full(checked: Resolved) -> Resolved:
    """The same network in float32, for one view of a picture."""
    plain = replace(checked.spec, precision="float32", stored="float32")
    return replace(checked, spec=plain, views=checked.views[:1])
