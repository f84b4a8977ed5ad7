"""OpenVINO's own format, an .xml and its weights in a .bin beside it: written and run by OpenVINO."""

from typing import Any

import numpy as np

from classify.exports.files.named_outputs import Answer, Pixels, Runner
from classify.heads.numerics import Floats
from featurize.engines.silent_openvino import import_openvino, save_graph

KEY = "bottleneck_features"  # of the description, among the file's runtime information


def write(graph: Any, path: str, precision: str, description: str) -> None:
    """Write an openvino.Model to `path` and its weights, in `precision`, beside it."""
    graph.set_rt_info(description, [KEY])
    save_graph(graph, path, half=precision == "float16")


def opened(path: str) -> Runner:
    """What runs the file at `path`."""
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs, names = ([port.any_name for port in ports] for ports in (compiled.inputs, compiled.outputs))
    counts = [port.partial_shape[0] for port in compiled.inputs]
    only = next((count.get_length() for count in counts if count.is_static), None)

    def run(pixels: Pixels) -> Answer:
        taken = [pixels[name] for name in inputs]
        total = len(taken[0])
        step = only or max(1, total)
        parts = [_of_batch([one[start : start + step] for one in taken], step) for start in range(0, total, step)]
        return {name: np.concatenate([part[name] for part in parts])[:total] for name in names}

    def _of_batch(some: list[Floats], step: int) -> Answer:
        found = compiled([np.pad(one, [(0, step - len(one)), (0, 0), (0, 0), (0, 0)]) for one in some])
        return {name: np.array(found[name]) for name in names}

    return run
