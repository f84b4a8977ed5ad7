"""Small networks as ONNX files, made with `onnx.helper`: maps, tokens, vectors; and what onnxruntime says of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
SIDE = 16


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Weights that neither grow nor shrink what passes them, in float32."""
    fan = max(1, int(np.prod(shape[1:])))
    return (np.random.default_rng(seed).normal(size=shape) / np.sqrt(fan)).astype(np.float32)


def port(name: str, shape: Sequence[int | str] | None, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def network(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: dict[str, np.ndarray],
    opset: int = OPSET,
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "network", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def conv_net(
    layout: str = "NCHW",
    batch: int | str = "n",
    side: int | str = SIDE,
    channels: int | str = 3,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """Images -> map of 6 channels: one convolution of stride 2, with a ReLU. Its tensors: sum, map."""
    nhwc = layout == "NHWC"
    shape = [batch, side, side, channels] if nhwc else [batch, channels, side, side]
    dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    weights = {"kernel": numbers(6, 3, 3, 3).astype(dtype), "bias": numbers(6, seed=1).astype(dtype)}
    nodes = [
        *([helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2])] if nhwc else []),
        helper.make_node(
            "Conv", ["first" if nhwc else "image", "kernel", "bias"], ["sum"], strides=[2, 2], pads=[1] * 4
        ),
        helper.make_node("Relu", ["sum"], ["relu" if nhwc else "map"]),
        *([helper.make_node("Transpose", ["relu"], ["map"], perm=[0, 2, 3, 1])] if nhwc else []),
    ]
    return network(nodes, [port("image", shape, kind)], [port("map", None, kind)], weights)


def token_net(prefix: int = 1, batch: int | str = "n") -> onnx.ModelProto:
    """As a small ViT: patches of 4 x 4 become 16 tokens of 8 numbers behind `prefix` learnt ones, with attention.

    Outputs: last_hidden_state (n, 16 + prefix, 8) and pooler_output (n, 8).
    """
    tokens = prefix + (SIDE // 4) ** 2
    weights = {
        "patch": numbers(8, 3, 4, 4),
        "learnt": numbers(1, prefix, 8, seed=1),
        "place": numbers(1, tokens, 8, seed=2),
        "q": numbers(8, 8, seed=3),
        "k": numbers(8, 8, seed=4),
        "v": numbers(8, 8, seed=5),
        "flat": np.array([0, 8, -1], np.int64),
        "ones": np.array([1, 1], np.int64),
        "first": np.array(0, np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["pixel_values", "patch"], ["patches"], strides=[4, 4]),
        helper.make_node("Reshape", ["patches", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Shape", ["rows"], ["count"], start=0, end=1),
        helper.make_node("Concat", ["count", "ones"], ["times"], axis=0),
        helper.make_node("Tile", ["learnt", "times"], ["before"]),
        helper.make_node("Concat", ["before", "rows"], ["all"], axis=1),
        helper.make_node("Add", ["all", "place"], ["x"]),
        *[helper.make_node("MatMul", ["x", one], [one.upper()]) for one in "qkv"],
        helper.make_node("Transpose", ["K"], ["KT"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["Q", "KT"], ["alike"]),
        helper.make_node("Softmax", ["alike"], ["attention"], axis=-1),
        helper.make_node("MatMul", ["attention", "V"], ["mixed"]),
        helper.make_node("Add", ["x", "mixed"], ["last_hidden_state"]),
        helper.make_node("Gather", ["last_hidden_state", "first"], ["pooler_output"], axis=1),
    ]
    return network(
        nodes,
        [port("pixel_values", [batch, 3, SIDE, SIDE])],
        [port("last_hidden_state", [batch, tokens, 8]), port("pooler_output", [batch, 8])],
        weights,
    )


def saved(model: onnx.ModelProto, path: Path, location: str | None = None) -> str:
    """Save a model, with its weights in a file of their own at `location` from its folder on, where that is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path), save_as_external_data=bool(location), location=location, size_threshold=0)
    return str(path)


def by_onnxruntime(model: onnx.ModelProto | str, images: np.ndarray, output: str) -> np.ndarray:
    """What onnxruntime computes for `images`, in the layout and type of the model's first input."""
    source = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    rows: np.ndarray = session.run([output], {session.get_inputs()[0].name: images})[0]
    return rows
