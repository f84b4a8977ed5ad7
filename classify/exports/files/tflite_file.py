"""LiteRT, formerly TensorFlow Lite: converted by TensorFlow, run by ai-edge-litert."""

from typing import Any

import numpy as np

from cache.files.atomic import write_atomically
from classify.exports.files.named_outputs import Answer, Pixels, Runner
from featurize.machine.parallel import THREADS

KEY = "bottleneck_features"  # of the description, among the metadata of the file


def write(graph: Any, path: str, precision: str, description: str) -> None:
    """Write a keras.Model to `path`, its weights in `precision`, the description among its metadata."""
    import tensorflow as tf

    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}  # all that its runtime has
    if precision == "float16":
        target["supported_types"] = [tf.float16]
    smaller = {} if precision == "float32" else {"optimizations": [tf.lite.Optimize.DEFAULT]}
    graph.export(path, format="litert", verbose=False, target_spec=target, **smaller)
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(path)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(description.encode(), np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = KEY, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    write_atomically(path, flatbuffer_utils.convert_object_to_bytearray(model))


def opened(path: str) -> Runner:
    """What runs the file at `path`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=THREADS)
    run_named = interpreter.get_signature_runner()

    def run(pixels: Pixels) -> Answer:
        return {name: np.array(value) for name, value in run_named(**pixels).items()}

    return run
