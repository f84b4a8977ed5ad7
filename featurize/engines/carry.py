"""A network on OpenVINO as one that can be brought along: its graph as bytes, with the last map as second output.

The map is found by walking back from the rows, and taken only where pooling it gives the rows.
"""

import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from featurize.engines.carried import MAPS, CarriedGraph
from featurize.engines.openvino_engine import OpenVinoGraph
from featurize.engines.silent_openvino import import_openvino, save_graph

MOST_STEPS = 16  # from the rows back to the map that they are made of
NAMES = ("rows", "last_map")
COMPUTES = ("Convolution", "GroupConvolution")  # what lies before these is no last map
SAME = 1e-4  # of the largest number: rounding stays far below

Pooled = Callable[[np.ndarray], np.ndarray]  # maps (n, h, w, c) -> rows


def carried(graph: OpenVinoGraph, name: str, pooled: Pooled | None) -> CarriedGraph:
    """A graph to be brought along, with its last map where `pooled` makes the rows of it."""
    openvino = import_openvino()
    model = graph.model.clone()
    try:  # that of a model file may be of one picture, and is given its batch when it is compiled
        model.reshape([graph.only_batch or -1, *graph.size, 3])
    except RuntimeError:  # some graphs take two pictures, or three, but not any number
        model.reshape([1, *graph.size, 3])
    outputs = [model.output(0).get_node().input_value(0)]
    maps = _last_map(model) if pooled else None
    if pooled and maps is not None:
        outputs.append(maps)
    if len(outputs) > MAPS and not _agree(openvino.Model(outputs, model.get_parameters()), graph, pooled):
        del outputs[MAPS]
    for output, called in zip(outputs, NAMES, strict=False):
        if not output.get_names():  # else OpenVINO gives one that counts all nodes of the process
            output.get_tensor().set_names({called})
    both = openvino.Model(outputs, model.get_parameters(), "bundle")
    for result, called in zip(both.get_results(), NAMES, strict=False):
        result.set_friendly_name(f"{called}_result")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "network.xml")
        save_graph(both, path)
        with open(path, "rb") as xml, open(os.path.join(folder, "network.bin"), "rb") as weights:
            return CarriedGraph(name, xml.read(), weights.read())


def _last_map(model: Any) -> Any:
    """The tensor (n, h, w, c) that the rows of a model are pooled from; None where the last steps show none."""
    node = model.output(0).get_node()
    for _ in range(MOST_STEPS):
        node, kind = node.input_value(0).get_node(), node.get_type_name()
        if kind in COMPUTES or not node.get_input_size():
            return None
        tensor = node.input_value(0)
        if tensor.get_partial_shape().rank.get_length() != 4:
            continue
        if node.get_type_name() == "ReduceMean":
            axes = sorted(axis % 4 for axis in node.input_value(1).get_node().get_data().ravel().tolist())
            return {(1, 2): tensor, (2, 3): _channels_last(tensor)}.get(tuple(axes))
        if node.get_type_name() == "Reshape":
            return tensor
    return None


def _channels_last(tensor: Any) -> Any:
    """A tensor (n, c, h, w) as (n, h, w, c)."""
    openvino = import_openvino()
    order = openvino.opset13.constant([0, 2, 3, 1])
    order.set_friendly_name("channels_last")
    return openvino.opset13.transpose(tensor, order, name=NAMES[MAPS]).output(0)


def _agree(both: Any, graph: OpenVinoGraph, pooled: Pooled | None) -> bool:
    """Whether the rows are what `pooled` makes of the maps, of pixels without any order."""
    batch = both.input(0).partial_shape[0]
    count = batch.get_length() if batch.is_static else 2
    pixels = np.random.default_rng(0).integers(0, 256, (count, *graph.size, 3)).astype(np.float32)
    rows, maps = import_openvino().compile_model(both, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels).to_tuple()
    if maps.ndim != 4 or not pooled:
        return False
    expected = pooled(maps.astype(np.float64))
    return expected.shape == rows.shape and bool(np.abs(expected - rows).max() <= SAME * np.abs(rows).max())
