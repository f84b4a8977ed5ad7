"""Weights of an ONNX file in fewer bits. Computed is in float32: a runtime expands the weights when it loads them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 256  # numbers of an array that is worth it
LARGEST_HALF = float(np.finfo(np.float16).max)


def in_precision(graph: Any, precision: str) -> None:
    """Replace the large float32 arrays of an onnx.GraphProto by smaller ones, `float16` or `int8`, that are expanded.

    int8: whole numbers times a factor for each output of a layer. An array that float16 cannot hold stays as it is.
    """
    import onnx

    if precision == "float32":
        return
    arrays = {one.name: one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    kept = {output.name for output in graph.output}
    nodes = []
    for name, axis in [*_uses(graph)]:
        found = arrays.pop(name, None)  # at its first use
        if found is None or name in kept:
            continue
        values = onnx.numpy_helper.to_array(found)
        if values.size < SMALLEST or not np.isfinite(values).all():
            continue
        if precision == "float16":
            if np.abs(values).max() > LARGEST_HALF:
                continue
            smaller: dict[str, NDArray[Any]] = {f"{name}/float16": values.astype(np.float16)}
            steps = [onnx.helper.make_node("Cast", [*smaller], [name], to=onnx.TensorProto.FLOAT)]
        else:
            whole, factor = _whole(values, axis)
            smaller = {f"{name}/int8": whole, f"{name}/factor": factor}
            expanded = f"{name}/expanded"
            steps = [
                onnx.helper.make_node("Cast", [f"{name}/int8"], [expanded], to=onnx.TensorProto.FLOAT),
                onnx.helper.make_node("Mul", [expanded, f"{name}/factor"], [name]),
            ]
        graph.initializer.remove(found)
        graph.initializer.extend(onnx.numpy_helper.from_array(array, own) for own, array in smaller.items())
        nodes += steps
    first = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(first)


def _uses(graph: Any) -> Iterator[tuple[str, int]]:
    """The array of each layer, and its axis of outputs."""
    for node in graph.node:
        if node.op_type == "Conv":
            yield node.input[1], 0
        elif node.op_type == "MatMul":
            yield node.input[1], -1
        elif node.op_type == "Gemm":
            transposed = any(one.name == "transB" and one.i for one in node.attribute)
            yield node.input[1], 0 if transposed else -1
        elif node.op_type == "Gather":
            yield node.input[0], 0


def _whole(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers up to 127, and factors of one axis, whose products are nearly `values`."""
    others = tuple(number for number in range(values.ndim) if number != axis % values.ndim)
    largest = np.abs(values).max(axis=others, keepdims=True)
    factor = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    return np.rint(values / factor).astype(np.int8), factor
