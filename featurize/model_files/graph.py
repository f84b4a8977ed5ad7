"""A model file as a graph of OpenVINO that takes pixels and gives rows.

file -> checked -> the wanted tensor, and the only input that it is computed from -> preprocessing and pooling folded in
"""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from cache.errors import UserError, did_you_mean, log
from cache.row_key import FeatureSpec
from featurize.engines.engine import Request
from featurize.engines.openvino_engine import OpenVinoGraph
from featurize.engines.silent_openvino import import_openvino
from featurize.model_files.find_files import read_outline
from featurize.model_files.folding import PIXELS, Images, fold_numbers, fold_pooling, port_of, sides_of
from featurize.model_files.outline import MOST_ELEMENTS, is_image, layouts
from featurize.model_files.recipe import Numbers

FRONTENDS = {".onnx": "onnx", ".xml": "ir", ".tflite": "tflite"}  # asked by name: else every one tries the file
MOST_NAMES = 60  # of tensors in a message
FLOATS = ("f16", "bf16", "f32", "f64")


class FileGraph(OpenVinoGraph):
    """The graph of a model file for a spec that names its output, its pooling and its preprocessing.

    Raises UserError, one line, for what OpenVINO does not read or compute, for several inputs, and for a pooling that
    does not fit.
    """

    def __init__(self, path: str, spec: FeatureSpec):
        self._file = os.path.basename(path)
        model, only_batch = _folded(path, self._file, spec)
        super().__init__(model, spec.precision, only_batch)

    def compile(self, count: int, dtype: str) -> Callable[[], Request]:
        """As `OpenVinoGraph.compile`; some graphs fail here, or when they first run."""
        try:
            new_request = super().compile(count, dtype)
            new_request()(np.zeros((count, *self.size, 3), dtype))
        except RuntimeError as error:
            raise UserError(f"backbone {self._file} cannot be computed by OpenVINO ({reason_of(error)})") from error
        return new_request


def _folded(path: str, name: str, spec: FeatureSpec) -> tuple[Any, int | None]:
    """(openvino.Model: pixels (n, height, width, 3) float32 in 0..255 -> rows float32; the only batch that it takes).

    Where any batch will do, that is None.
    """
    assert spec.size is not None
    read_outline(path)  # refuses what is hostile before OpenVINO opens it
    openvino = import_openvino()
    tensor = _tensor(name, _read(openvino, path), spec.layer)
    parameter = _only_input(name, tensor)
    shape = sides_of(parameter.get_partial_shape())
    only_batch = shape[0] if shape else None
    images = _sized(name, tensor, parameter, spec.size, only_batch or 1)
    check_sizes(name, openvino.Model([tensor], [parameter]))
    pixels = fold_numbers(name, parameter, images, Numbers.of(spec.preprocess))
    model = openvino.Model([fold_pooling(name, tensor, images, spec.pooling)], [pixels])
    if only_batch is None and not _takes_batches(model):
        log.info("%s computes one picture at a time, whatever its input says", name)
        only_batch = 1
    if only_batch and only_batch > 1:
        log.info("%s computes batches of %d pictures alone: slower for a few", name, only_batch)
    return model, only_batch


def _read(openvino: Any, path: str) -> Any:
    frontend = openvino.frontend.FrontEndManager().load_by_framework(FRONTENDS[os.path.splitext(path)[1].lower()])
    try:
        return frontend.convert(frontend.load(path))
    except frontend_failures(openvino) as error:
        raise UserError(f"backbone {path} cannot be read by OpenVINO ({reason_of(error)})") from error


def frontend_failures(openvino: Any) -> tuple[type[Exception], ...]:
    """What OpenVINO raises for a file that it does not read."""
    kinds = openvino.frontend
    return (
        RuntimeError, kinds.GeneralFailure, kinds.InitializationFailure, kinds.NotImplementedFailure,
        kinds.OpConversionFailure, kinds.OpValidationFailure,
    )  # fmt: skip


def reason_of(error: Exception) -> str:
    """The lines of OpenVINO's message that say what is wrong, without places in its source."""
    lines = [line.strip(" -\t") for line in str(error).splitlines()]
    dull = ("Check ", "Exception from ", "FrontEnd API failed", "Model wasn't fully converted", "Summary:", "While ")
    telling = [line for line in lines if line and not line.startswith(dull)]
    text = "; ".join(telling or lines)
    return "".join(c if c.isprintable() else "?" for c in text)[:300].rstrip(" .:;") or type(error).__name__


def _tensor(name: str, model: Any, wanted: str) -> Any:
    """The tensor that is called so, or that the node of this name gives. Raises UserError with the names there are."""
    tensors: dict[str, Any] = {}
    inside = []
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Result", "Constant", "Parameter"):
            continue
        for output in node.outputs():
            tensors |= dict.fromkeys(output.get_names(), output)
            if output.get_names() and output.get_element_type().is_real():
                inside.append(port_of(output).name)
        if node.get_output_size() == 1:
            tensors.setdefault(node.get_friendly_name(), node.output(0))
    if wanted in tensors:
        return tensors[wanted]
    outputs = [port_of(output.get_node().input_value(0)).name for output in model.outputs]
    guess = did_you_mean(wanted, {*outputs, *inside})
    inside = [tensor for tensor in inside if tensor not in outputs]
    more = f", and {len(inside) - MOST_NAMES} before them" if len(inside) > MOST_NAMES else ""
    raise UserError(
        f"unknown layer {wanted!r} of {name}: {guess}its outputs are {', '.join(outputs)}; "
        f"inside are {', '.join(inside[-MOST_NAMES:]) or 'none with a name'}{more}"
    )


def _only_input(name: str, tensor: Any) -> Any:
    """The parameter that a tensor is computed from. Raises UserError where there are others, or it takes no images."""
    found, left, seen = [], [tensor.get_node()], set()
    while left:
        node = left.pop()
        if node.get_instance_id() in seen:
            continue
        seen.add(node.get_instance_id())
        if node.get_type_name() == "Parameter":
            found.append(node)
        left += [value.get_node() for value in node.input_values()]
    ports = [port_of(node.output(0)) for node in found]
    if len(ports) == 1 and is_image(ports[0]) and ports[0].kind in (*FLOATS, *PIXELS):
        return found[0]
    raise UserError(
        f"{name} needs one input of images, (n, 3, height, width) or (n, height, width, 3); {port_of(tensor).name} is "
        f"computed from {', '.join(map(str, ports)) or 'none'}; name another output with LAYER="
    )


def _sized(name: str, tensor: Any, parameter: Any, size: tuple[int, int], batch: int) -> Images:
    """Give the input `parameter` the size and batch; returns what it takes.

    Where the file does not tell its layout, only one is possible. Raises UserError where none is, or both.
    """
    possible = [Images(layout, batch, size) for layout in layouts(sides_of(parameter.get_partial_shape()))]
    fitting, reasons = [], []
    for images in possible:
        try:
            _reshape(tensor, parameter, images)
            fitting.append(images)
        except RuntimeError as error:
            reasons.append(reason_of(error))
    if len(fitting) != 1:
        why = reasons[0] if reasons else "the file does not say which axis has the channels, and both fit"
        raise UserError(f"{name} cannot be computed at {size[0]}x{size[1]} ({why}): export it with a fixed input")
    if len(possible) > 1:
        _reshape(tensor, parameter, fitting[0])
    return fitting[0]


def _reshape(tensor: Any, parameter: Any, images: Images) -> None:
    openvino = import_openvino()
    parameter.set_partial_shape(openvino.PartialShape(images.shape))
    openvino.Model([tensor], [parameter]).validate_nodes_and_infer_types()


def check_sizes(name: str, model: Any) -> None:
    """Raise UserError for a tensor of more numbers than any picture needs: to compute it would take all memory."""
    for node in model.get_ops():
        for output in node.outputs():
            sides = sides_of(output.get_partial_shape()) or ()
            if math.prod(side or 1 for side in sides) > MOST_ELEMENTS:
                raise UserError(f"{name} computes {port_of(output)} numbers, too many: it is refused")


def _takes_batches(model: Any) -> bool:
    """Whether a graph whose input says so takes several pictures at once: some have the shape of one built in."""
    trial = model.clone()
    _, *sides = sides_of(model.input(0).get_partial_shape()) or ()
    try:
        trial.reshape([2, *sides])
    except RuntimeError:
        return False
    before, after = (sides_of(one.output(0).get_partial_shape()) or () for one in (model, trial))
    return (2, *before[1:]) == after
