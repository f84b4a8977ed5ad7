"""A network on OpenVINO, one stream per core; `featurize.engines.converted` makes the network."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from cache.errors import UserError
from featurize.engines.engine import Request
from featurize.engines.silent_openvino import import_openvino
from featurize.machine.parallel import THREADS

BATCH = {"float32": 1, "bf16": 4}


class OpenVinoGraph:
    """The converted `model` (openvino.Model, see `featurize.engines.converted`) in `precision`.

    only_batch: the number of pictures that the model can be computed with, None where any is.

    Each core has a stream of its own that computes one small batch at a time. Its maps stay in that core's cache,
    which is faster than all cores on one large batch. Measured with MobileNetV2 at 224 on 2 cores, float32: 242
    pictures a second in batches of 1, 222 of 4, 179 of 32; bfloat16: 399, 462, 351.
    """

    name = "openvino"
    libraries: tuple[str, ...] = ("openvino",)

    def __init__(self, model: Any, precision: str = "float32", only_batch: int | None = None):
        self._core = import_openvino().Core()
        self._precision = precision
        self.only_batch = only_batch
        self.batch = only_batch or BATCH[precision]
        self.model = model
        _, height, width, _ = self.model.input(0).partial_shape
        self.size = (height.get_length(), width.get_length())
        _, *sides = self.model.output(0).partial_shape
        self.row_shape: tuple[int, ...] = tuple(side.get_length() for side in sides)

    def compile(self, count: int, dtype: str) -> Callable[[], Request]:
        """What makes requests to the model for batches of `count` pictures of that type."""
        openvino = import_openvino()
        model = self.model.clone()
        if self.only_batch is None:
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
        compiled = self._core.compile_model(steps.build(), "CPU", settings)
        short = (self.only_batch or count) - count

        def request() -> Request:
            infer = partial(compiled.create_infer_request().infer, share_inputs=True)
            return partial(_padded, infer, short) if short else infer

        return request

    def of_any_number(self) -> Any:
        """The model for any number of pictures at once; where it takes one number alone, as it is."""
        free = self.model.clone()
        if self.only_batch is None:
            free.reshape([-1, *self.size, 3])
        _, *sides = free.output(0).partial_shape
        return free if all(side.is_static for side in sides) else self.model.clone()


def _padded(infer: Request, short: int, pixels: np.ndarray) -> Any:
    """As `infer`, of fewer pictures than it takes: the first rows are theirs."""
    return infer(np.concatenate([pixels, np.zeros((short, *pixels.shape[1:]), pixels.dtype)]))


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def check_bf16(precision: str) -> None:
    """Raise UserError for a precision that this processor does not compute in."""
    if precision == "bf16" and not has_bf16():
        raise UserError("precision bf16: this processor does not compute in bfloat16; use --precision float32")
