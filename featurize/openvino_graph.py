"""A network on OpenVINO, converted once: its graph is kept in the cache, and read from there without TensorFlow."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from cache.atomic import TEMPORARY_SUFFIX, make_folder, sync_file, sync_folder, write_atomically
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
    """The converted `model` (openvino.Model, see `kept_graph`) in `precision`. See `featurize.engine.Graph`.

    Each core has a stream of its own that computes one small batch at a time: its maps stay in that core's cache,
    which makes it faster than all cores on one large batch. Measured with MobileNetV2 at 224 on 2 cores, float32: 242
    pictures a second in batches of 1, 222 of 4, 179 of 32; bfloat16: 399, 462, 351.
    """

    name = "openvino"
    libraries: tuple[str, ...] = ("openvino",)

    def __init__(self, model: Any, precision: str = "float32"):
        import openvino

        self._core = openvino.Core()
        self._precision = precision
        self.batch = BATCH[precision]
        self._model = model
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


def kept_graph(checked: Resolved, cache_dir: str, build: Callable[[], Any]) -> Any:
    """The converted graph (openvino.Model) of a checked spec; `build` gives the network (keras.Model) to convert.

    A graph is kept under everything that it was made from, versions included, and is used only if its files have
    the digests that were noted when it was written. One that cannot be kept, on a full disk, is used all the same.
    """
    import openvino

    identity = _identity(checked)
    folder = os.path.join(cache_dir, FOLDER, hashlib.sha256(identity.encode()).hexdigest()[:16])
    if not _is_whole(folder, identity):
        log.info("converting %s for OpenVINO, once", checked.spec.backbone)
        model = _converted(build())
        try:
            _keep(model, folder, identity)
        except (OSError, RuntimeError) as error:  # OpenVINO's own errors are RuntimeErrors
            reason = error.strerror if isinstance(error, OSError) else f"OpenVINO says {error}; is the disk full?"
            log.warning("the converted graph is not kept, so that the next run converts again: %s: %s", reason, folder)
            return model
    return openvino.Core().read_model(os.path.join(folder, FILES[0]))


def _identity(checked: Resolved) -> str:
    spec = checked.spec
    fields = (spec.backbone, spec.weights, spec.layer, spec.pooling, spec.size, spec.preprocess)
    return json.dumps([*fields, version("openvino"), version("keras"), version("tensorflow")])


def _converted(network: Any) -> Any:
    import openvino
    from openvino import frontend

    _, height, width, _ = network.input_shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Keras, of an input that comes without its name
            return openvino.convert_model(network, input=[-1, height, width, 3])
    except (frontend.OpConversionFailure, frontend.OpValidationFailure, frontend.NotImplementedFailure) as error:
        raise ConversionError(" ".join(str(error).split())[:300]) from error  # a message of many lines


def _keep(model: Any, folder: str, identity: str) -> None:
    """Write the three files of a graph to `folder`, all of them or none."""
    import openvino

    make_folder(os.path.dirname(folder))
    fresh = tempfile.mkdtemp(dir=os.path.dirname(folder), suffix=TEMPORARY_SUFFIX)
    try:
        openvino.save_model(model, os.path.join(fresh, FILES[0]), compress_to_fp16=False)
        for name in FILES:
            sync_file(os.path.join(fresh, name))
        digests = {name: _digest(os.path.join(fresh, name)) for name in FILES}
        record = json.dumps({"made from": identity, "sha256": digests})
        write_atomically(os.path.join(fresh, DIGESTS), record.encode())
        shutil.rmtree(folder, ignore_errors=True)
        try:
            os.rename(fresh, folder)
        except OSError:
            if not _is_whole(folder, identity):  # else another process was faster: its graph is the same
                raise
        sync_folder(os.path.dirname(folder))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


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
