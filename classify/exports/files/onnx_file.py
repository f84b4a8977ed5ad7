"""ONNX: written by Keras with tf2onnx, run by onnxruntime."""

from typing import Any

import numpy as np

from classify.exports.files.keras_file import fed
from classify.exports.files.named_outputs import Answer, Pixels, Runner

KEY = "bottleneck_features"  # of the description, among the metadata of the file


def write(graph: Any, path: str, precision: str, description: str) -> None:
    """Write a keras.Model to `path`, its weights in `precision`, the description among its metadata."""
    nothing = {one.name: np.zeros((1, *one.shape[1:]), np.float32) for one in graph.inputs}
    graph(fed(graph, nothing))  # Keras exports what was called
    graph.export(path, format="onnx", verbose=False)
    import onnx

    from classify.exports.files.onnx_weights import in_precision

    model = onnx.load(path)
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "N"
    in_precision(model.graph, precision)
    model.producer_name = KEY
    onnx.helper.set_model_props(model, {KEY: description})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def opened(path: str) -> Runner:
    """What runs the file at `path`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(pixels: Pixels) -> Answer:
        return dict(zip(names, map(np.asarray, session.run(names, dict(pixels))), strict=True))

    return run
