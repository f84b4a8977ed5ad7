"""A network on OpenVINO, converted once: its graph is kept in the cache, and read from there without TensorFlow."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import uuid
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from cache.atomic import make_folder
from featurize.parallel import THREADS
from featurize.resolve import Resolved

log = logging.getLogger("bottleneck")

FOLDER = "graphs"  # in the cache
FILES = ("network.xml", "network.bin")
DIGESTS = "digests.json"
BATCH = {"float32": 1, "bf16": 4}


class ConversionError(Exception):
    """OpenVINO does not know how to compute some layer of a network."""


class OpenVinoGraph:
    """The graph in `folder`, as `kept_graph` gives it, computed in `precision`. See `featurize.engine.Graph`.

    Each core has a stream of its own that computes one small batch at a time: its maps stay in that core's cache,
    which makes it faster than all cores on one large batch. Measured with MobileNetV2 at 224 on 2 cores, float32: 242
    pictures a second in batches of 1, 222 of 4, 179 of 32; bfloat16: 399, 462, 351.
    """

    name = "openvino"
    libraries: tuple[str, ...] = ("openvino",)

    def __init__(self, folder: str, precision: str = "float32"):
        import openvino

        self._core = openvino.Core()
        self._precision = precision
        self.batch = BATCH[precision]
        self._model = self._core.read_model(os.path.join(folder, FILES[0]))
        _, height, width, _ = self._model.input(0).partial_shape
        self.size = (height.get_length(), width.get_length())
        self.dimension: int = self._model.output(0).partial_shape[1].get_length()
        self._compiled: dict[tuple[int, str], Any] = {}
        self._idle: dict[tuple[int, str], list[Any]] = {}  # requests: each computes one batch at a time

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Features of a batch; compiled at the first one of a shape and type."""
        key = (len(pixels), pixels.dtype.name)
        if key not in self._compiled:
            self._idle[key] = []
            self._compiled[key] = self._compile(*key)
        idle = self._idle[key]
        try:
            request = idle.pop()
        except IndexError:
            request = self._compiled[key].create_infer_request()
        request.infer({0: pixels}, share_inputs=True)
        rows: np.ndarray = request.get_output_tensor().data.copy()
        idle.append(request)
        return rows

    def _compile(self, count: int, dtype: str) -> Any:
        import openvino

        model = self._model.clone()
        model.reshape([count, *self.size, 3])
        steps = openvino.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type(np.dtype(dtype)))
        steps.input().preprocess().convert_element_type(openvino.Type.f32)
        settings = {
            # Unasked, OpenVINO would take bfloat16 wherever the processor has it.
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bf16": "bf16"}[self._precision],
            "NUM_STREAMS": THREADS,
            "INFERENCE_NUM_THREADS": THREADS,
            "ENABLE_CPU_PINNING": False,  # the same cores also decode
        }
        return self._core.compile_model(steps.build(), "CPU", settings)


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def kept_graph(checked: Resolved, cache_dir: str, build: Callable[[], Any]) -> str:
    """The folder of the converted graph of a checked spec; `build` gives the network (keras.Model) to convert.

    A graph is kept under everything that it was made from, versions included, and is used only if its files have
    the digests that were noted when it was written.
    """
    identity = _identity(checked)
    folder = os.path.join(cache_dir, FOLDER, hashlib.sha256(identity.encode()).hexdigest()[:16])
    if _is_whole(folder, identity):
        return folder
    make_folder(os.path.dirname(folder))
    fresh = f"{folder}.{uuid.uuid4().hex[:12]}.tmp"
    os.mkdir(fresh)  # for whoever may read the cache, which a folder of `tempfile` is not
    log.info("converting %s for OpenVINO, once", checked.spec.backbone)
    try:
        _convert(build(), fresh, identity)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process was faster: its graph is the same
            os.rename(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _identity(checked: Resolved) -> str:
    spec = checked.spec
    fields = (spec.backbone, spec.weights, spec.layer, spec.pooling, spec.size, spec.preprocess)
    return json.dumps([*fields, version("openvino"), version("keras"), version("tensorflow")])


def _convert(network: Any, folder: str, identity: str) -> None:
    import openvino
    from openvino import frontend

    _, height, width, _ = network.input_shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Keras, of an input that comes without its name
            model = openvino.convert_model(network, input=[-1, height, width, 3])
    except (frontend.OpConversionFailure, frontend.OpValidationFailure, frontend.NotImplementedFailure) as error:
        raise ConversionError(" ".join(str(error).split())[:300]) from error  # a message of many lines
    openvino.save_model(model, os.path.join(folder, FILES[0]), compress_to_fp16=False)
    digests = {name: _digest(os.path.join(folder, name)) for name in FILES}
    with open(os.path.join(folder, DIGESTS), "w", encoding="utf-8") as file:
        json.dump({"made from": identity, "sha256": digests}, file)


def _is_whole(folder: str, identity: str) -> bool:
    """Whether the graph in `folder` is as it was written; damage is announced."""
    try:
        with open(os.path.join(folder, DIGESTS), encoding="utf-8") as file:
            record = json.load(file)
        digests = record["sha256"]
        whole = record["made from"] == identity and all(
            _digest(os.path.join(folder, name)) == digests[name] for name in FILES
        )
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        log.warning("the converted graph in %s is damaged: converting again", folder)
    return whole


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
