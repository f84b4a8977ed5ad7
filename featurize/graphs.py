"""Which engine computes a spec's rows here: OpenVINO where it is installed, else TensorFlow."""

import importlib.util
import logging
from typing import Any

from cache.errors import UserError
from featurize.engine import Graph
from featurize.resolve import Resolved

log = logging.getLogger("bottleneck")


def open_graph(checked: Resolved, cache_dir: str) -> Graph:
    """The network of a checked spec, ready to run on the engine that it asks for, which is announced.

    Raises UserError where OpenVINO is asked for and not installed, and for networks that cannot be built.
    """
    if checked.weights.kind == "random":
        log.warning("%s has random weights: features to try things with, not to classify with", checked.network)
    installed = importlib.util.find_spec("openvino") is not None
    if checked.engine == "openvino" and not installed:
        raise UserError("engine openvino is not installed: pip install openvino, or use --engine auto")
    if checked.engine == "tensorflow" or not installed:
        log.info("engine: tensorflow")
        return _on_tensorflow(checked)
    from featurize.openvino_graph import ConversionError, OpenVinoGraph, kept_graph

    try:
        graph = OpenVinoGraph(kept_graph(checked, cache_dir, lambda: _network(checked)))
    except ConversionError as error:
        if checked.engine == "openvino":
            raise UserError(f"OpenVINO cannot take {checked.network} ({error}): use --engine tensorflow") from error
        log.warning("engine: tensorflow, because OpenVINO cannot take %s (%s)", checked.network, error)
        return _on_tensorflow(checked)
    log.info("engine: openvino")
    return graph


def _on_tensorflow(checked: Resolved) -> Graph:
    from featurize.tensorflow_graph import TensorFlowGraph

    return TensorFlowGraph(_network(checked))


def _network(checked: Resolved) -> Any:
    from featurize.network import build_network

    spec = checked.spec
    return build_network(checked.network, checked.weights, spec.size, spec.layer or None, spec.pooling, spec.preprocess)
