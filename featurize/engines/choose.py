"""Which engine computes the rows of a spec: TensorFlow on a GPU, else OpenVINO if installed, else TensorFlow."""

import glob
import importlib.util
import logging
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cache.errors import AT_ONCE, UserError
from cache.files.system_calls import after_fork
from cache.row_key import MODEL_FILE
from featurize.engines.engine import Engine, Graph, at_work, check_openvino, check_tensorflow
from featurize.model_files.request import refuse_tensorflow
from featurize.resolve import Resolved

if TYPE_CHECKING:
    from featurize.model_files.graph import FileGraph

log = logging.getLogger("bottleneck")

MOST_ENGINES = 4
ONLY_BY = {"bf16": "openvino", "mixed_bfloat16": "tensorflow"}  # precision -> the only engine that has it


class _Place:
    """Where one engine is, once it is built. Who builds it holds the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.engine: Engine | None = None


def shared_engine(checked: Resolved, cache_dir: str) -> Engine:
    """The engine of a checked spec: one for training, predicting and transforming in a process, see `open_graph`.

    Threads that ask for one that is being built wait for it, those that ask for others do not. `MOST_ENGINES` are kept:
    the least recently used one goes. Where one cannot be built, the next caller tries again.
    """
    key = (*checked.network_fields, checked.engine)
    with _lock:
        place = _places.pop(key, None) or _Place()
        _places[key] = place  # the last one now
        if len(_places) > MOST_ENGINES:
            del _places[next(iter(_places))]
    with place.lock:
        if place.engine is None:
            place.engine = Engine(open_graph(checked, cache_dir))
        return place.engine


def open_graph(checked: Resolved, cache_dir: str) -> Graph:
    """The network of a checked spec on its engine, which is announced where it is TensorFlow.

    Raises UserError where OpenVINO is asked for and not installed, for networks that cannot be built, and in forked
    processes where an engine would hang, see `featurize.engines.engine`.
    """
    with at_work():
        return _open_graph(checked, cache_dir)


def _open_graph(checked: Resolved, cache_dir: str) -> Graph:
    if checked.weights.kind == "random":
        log.warning(
            "%s has random weights: features to try things with, not to classify with", checked.network, extra=AT_ONCE
        )
    if checked.graph:
        return checked.graph.open(checked.spec)
    installed = importlib.util.find_spec("openvino") is not None
    precision = checked.spec.precision
    asked = ONLY_BY.get(precision, checked.engine)
    if checked.spec.backbone == MODEL_FILE:
        return _of_file(checked, installed)
    if checked.engine not in ("auto", asked):
        raise UserError(f"precision {precision} is computed by {asked} alone: leave --engine {checked.engine} out")
    if asked == "openvino" and not installed:
        raise UserError("engine openvino is not installed: pip install openvino, or use --engine auto in float32")
    if asked == "auto" and tensorflow_has_gpu():
        log.info("engine: tensorflow, on a GPU")
        return _on_tensorflow(checked)
    if asked == "tensorflow" or not installed:
        log.info("engine: tensorflow%s", "" if installed else "; faster with OpenVINO: pip install openvino")
        return _on_tensorflow(checked)
    check_openvino()
    from featurize.engines.converted import ConversionError, kept_graph
    from featurize.engines.openvino_engine import OpenVinoGraph, check_bf16

    check_bf16(precision)
    in_full = replace(checked, spec=replace(checked.spec, precision="float32"))
    try:
        graph = OpenVinoGraph(kept_graph(in_full, cache_dir, lambda: build_keras(in_full)), precision)
    except ConversionError as error:
        if asked == "openvino":
            raise UserError(f"OpenVINO cannot take {checked.network} ({error}): use --engine tensorflow") from error
        log.warning("engine: tensorflow, because OpenVINO cannot take %s (%s)", checked.network, error, extra=AT_ONCE)
        return _on_tensorflow(checked)
    log.debug("engine: openvino")
    return graph


def _of_file(checked: Resolved, installed: bool) -> "FileGraph":
    """A model file, which is computed by OpenVINO alone."""
    name, precision = os.path.basename(checked.weights.path), checked.spec.precision
    refuse_tensorflow(name, checked.engine, precision)
    if not installed:
        raise UserError(f"backbone {name} is computed by OpenVINO, which is not installed: pip install openvino")
    check_openvino()
    from featurize.engines.openvino_engine import check_bf16
    from featurize.model_files.graph import FileGraph

    check_bf16(precision)
    return FileGraph(checked.weights.path, checked.spec)


def tensorflow_has_gpu() -> bool:
    """Whether the installed TensorFlow sees a GPU. Without a driver, TensorFlow is not imported to find out."""
    if not glob.glob("/dev/nvidia[0-9]*"):
        return False
    from featurize.engines.keras_import import import_keras

    import_keras()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _on_tensorflow(checked: Resolved) -> Graph:
    from featurize.engines.tensorflow_engine import TensorFlowGraph

    return TensorFlowGraph(build_keras(checked))


def openvino_network(checked: Resolved, cache_dir: str) -> Any:
    """The network of a checked spec as an openvino.Model of its own: pixels (n, height, width, 3) -> rows.

    The graph that the cache keeps, where it is there; else TensorFlow builds the network. Raises UserError where
    OpenVINO is not installed, and for networks that it cannot compute.
    """
    if importlib.util.find_spec("openvino") is None:
        raise UserError("OpenVINO is not installed: pip install openvino")
    if checked.graph:
        return checked.graph.open(checked.spec).of_any_number()
    if checked.spec.backbone == MODEL_FILE:
        return _of_file(checked, True).of_any_number()
    check_openvino()
    from featurize.engines.converted import ConversionError, kept_graph

    try:
        return kept_graph(checked, cache_dir, lambda: build_keras(checked))
    except ConversionError as error:
        raise UserError(f"OpenVINO cannot take {checked.network} ({error})") from error


def build_keras(checked: Resolved) -> Any:
    """The network of a checked spec as a frozen keras.Model. Raises UserError where it cannot be built."""
    from featurize.backbones.network import build_network

    check_tensorflow()  # before the lock, which a forked process may have inherited locked
    with _building:
        if checked.tuned:
            return checked.tuned.build_network(checked.spec, checked.weights)
        spec = checked.spec
        layer = spec.layer or None
        return build_network(
            checked.network, checked.weights, spec.size, layer, spec.pooling, spec.preprocess, spec.precision
        )


def _start_in_child() -> None:
    """A forked process has no engines yet, and no locks that nobody is left to release."""
    global _lock, _places
    _lock, _places = threading.Lock(), {}


_lock = threading.Lock()
_places: dict[tuple[object, ...], _Place] = {}
_building = threading.Lock()  # Keras has one precision and one source of random numbers for all threads
after_fork(_start_in_child)
