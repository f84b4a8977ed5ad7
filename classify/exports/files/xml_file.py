"""OpenVINO's own format, an .xml and its weights in a .bin beside it: written and run by OpenVINO."""

from typing import Any

import numpy as np

from classify.exports.files.answers import Answer, Runner
from classify.heads.numerics import Floats
from featurize.engines.silent_openvino import import_openvino

KEY = "bottleneck_features"  # of the description, among the file's runtime information


def write(graph: Any, path: str, precision: str, description: str) -> None:
    """Write an openvino.Model to `path` and its weights, in `precision`, beside it."""
    graph.set_rt_info(description, [KEY])
    import_openvino().save_model(graph, path, compress_to_fp16=precision == "float16")


def opened(path: str) -> Runner:
    """What runs the file at `path`."""
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    count, names = compiled.input(0).partial_shape[0], [output.any_name for output in compiled.outputs]
    only = count.get_length() if count.is_static else None

    def run(pixels: Floats) -> Answer:
        step = only or max(1, len(pixels))
        parts = [_of_batch(pixels[start : start + step], step) for start in range(0, len(pixels), step)]
        return {name: np.concatenate([part[name] for part in parts])[: len(pixels)] for name in names}

    def _of_batch(some: Floats, step: int) -> Answer:
        padding = np.zeros((step - len(some), *some.shape[1:]), np.float32)
        found = compiled(np.concatenate([some, padding]))
        return {name: np.array(found[name]) for name in names}

    return run
