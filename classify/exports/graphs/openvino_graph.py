"""The graph of a classifier as a model of OpenVINO: from the converted networks in the cache, without TensorFlow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classify.exports.graphs.head_graph import distance_of, probabilities_of
from classify.exports.graphs.keras_graph import in_full
from classify.exports.graphs.operations import Tensor
from classify.exports.inputs import inputs_of
from classify.heads.numerics import Floats
from classify.saved.classifier import Classifier
from featurize.engines.choose import openvino_network
from featurize.engines.silent_openvino import import_openvino

TINY = 1e-30  # the square of the smallest length that counts; that of float32's smallest numbers would be 0


class OpenVinoOperations:
    """`classify.exports.graphs.operations.Operations` on outputs of nodes."""

    def __init__(self) -> None:
        self._ops = import_openvino().opset13

    def node(self, output: Any) -> Tensor:
        """An output as a node of its own, which takes + and *."""
        return self._ops.convert(output, "f32")

    def width(self, rows: Tensor) -> int:
        return int(rows.get_output_partial_shape(0)[1].get_length())

    def dense(self, rows: Tensor, kernel: Floats, bias: Floats | None = None) -> Tensor:
        found = self._ops.matmul(rows, np.ascontiguousarray(kernel, np.float32), False, False)
        return found if bias is None else found + np.asarray(bias, np.float32)

    def unit(self, rows: Tensor) -> Tensor:
        return self._ops.normalize_l2(rows, [1], TINY, "max")

    def relu(self, rows: Tensor) -> Tensor:
        return self._ops.relu(rows)

    def exp(self, rows: Tensor) -> Tensor:
        return self._ops.exp(rows)

    def softmax(self, rows: Tensor) -> Tensor:
        return self._ops.softmax(rows, 1)

    def total(self, rows: Tensor) -> Tensor:
        return self._ops.reduce_sum(rows, [1], True)

    def mean(self, rows: Tensor) -> Tensor:
        return self._ops.reduce_mean(rows, [1], False)

    def side_by_side(self, parts: list[Tensor]) -> Tensor:
        return self._ops.concat(parts, 1)

    def largest(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        found = self._ops.topk(rows, np.int32(count), 1, "max", "value")
        return self.node(found.output(0)), found.output(1)

    def looked_up(self, table: Floats, indices: Tensor) -> Tensor:
        return self._ops.gather(np.asarray(table, np.float32), indices, np.int32(0))

    def weighted(self, weights: Tensor, rows: Tensor) -> Tensor:
        products = self._ops.unsqueeze(weights, np.int32(2)) * rows
        return self._ops.reduce_sum(products, [1], False)

    def folded(self, rows: Tensor, order: NDArray[np.intp], signs: Floats, width: int) -> Tensor:
        ops, pieces = self._ops, -(-len(order) // width)
        mixed = ops.gather(rows, order.astype(np.int64), np.int32(1)) * signs.astype(np.float32)
        padded = ops.pad(mixed, [0, 0], [0, pieces * width - len(order)], "constant", np.float32(0))
        return ops.reduce_sum(ops.reshape(padded, [0, pieces, width], True), [1], False)


def openvino_graph(classifier: Classifier) -> Any:
    """openvino.Model of the inputs and outputs of `classify.exports.graphs.keras_graph.keras_graph`.

    n is free, but for a backbone's file that takes one number of pictures alone. Raises UserError for a network that
    OpenVINO does not compute.
    """
    openvino, ops = import_openvino(), OpenVinoOperations()
    cache_dir = classifier.extractor.cache_dir
    networks = [openvino_network(in_full(part.checked), cache_dir) for part in classifier.of_pixels.parts]
    names = [one.name for one in inputs_of(classifier)]
    pixels: dict[str, Any] = {}
    for name, network in zip(names, networks, strict=True):
        if name not in pixels or network.input(0).partial_shape[0].is_static:
            (pixels[name],) = network.get_parameters()
    rows = []
    for name, network in zip(names, networks, strict=True):
        (own,) = network.get_parameters()
        if own is not pixels[name]:
            for user in own.output(0).get_target_inputs():
                user.replace_source_output(pixels[name].output(0))
        rows.append(ops.node(network.get_results()[0].input_value(0)))
    joined = ops.side_by_side([ops.unit(each) for each in rows]) if len(rows) > 1 else rows[0]
    outputs = {"probabilities": probabilities_of(ops, classifier.saved.predictor, joined)}
    if classifier.saved.outliers is not None:
        outputs["distance"] = distance_of(ops, classifier.saved.outliers, joined)
    results = []
    for name, tensor in outputs.items():
        tensor.output(0).get_tensor().set_names({name})
        results.append(openvino.opset13.result(tensor, name=name))
    for name, parameter in pixels.items():
        parameter.set_friendly_name(name)
        parameter.output(0).get_tensor().set_names({name})
    model = openvino.Model(results, [*pixels.values()], "classifier")
    model.validate_nodes_and_infer_types()
    return model
