"""A model file as a graph of OpenVINO that takes pixels and gives rows: preprocessing and pooling are folded into it.

file -> checked -> the wanted tensor and what it is computed from -> pixels before it, pooling after it
"""

import difflib
import math
import os
import re
from typing import Any, NamedTuple

from cache.errors import UserError, log
from cache.row_key import FeatureSpec
from featurize.engines.silent_openvino import import_openvino
from featurize.model_files.outline import MOST_ELEMENTS, Port, is_image, layouts, read_outline
from featurize.model_files.recipe import Numbers

FRONTENDS = {".onnx": "onnx", ".xml": "ir", ".tflite": "tflite"}  # asked by name: else every one tries the file
MOST_NAMES = 60  # of tensors in a message
INTEGERS = {"uint8": (0, 255), "int8": (-128, 127)}


class FileGraph(NamedTuple):
    """model: openvino.Model, pixels (n, height, width, 3) float32 in 0..255 -> rows float32, each of a fixed shape.

    only_batch: the number of pictures that it can be computed with, None where that is free.
    """

    model: Any
    only_batch: int | None


def open_file_graph(path: str, spec: FeatureSpec) -> FileGraph:
    """The graph of a model file for a spec that names its output, its pooling and its preprocessing.

    Raises UserError for what OpenVINO does not read or compute, several inputs, and poolings that do not fit.
    """
    assert spec.size is not None
    read_outline(path)  # refuses what is hostile before OpenVINO opens it
    name = os.path.basename(path)
    openvino = import_openvino()
    tensor = _tensor(name, _read(openvino, path), spec.layer)
    image = _only_input(name, tensor)
    shape = _sides(image.get_partial_shape())
    batch = shape[0] if shape else None
    layout = _reshaped(openvino, name, tensor, image, spec.size, batch or 1)
    _check_sizes(name, openvino.Model([tensor], [image]))
    pixels = _fold_numbers(openvino, name, image, layout, Numbers.of(spec.preprocess), batch or 1, spec.size)
    rows = _fold_pooling(openvino, name, tensor, layout, spec, batch or 1)
    model = openvino.Model([rows], [pixels])
    if batch is None and not _takes_batches(model):
        log.info("%s computes one picture at a time, whatever its input says", name)
        batch = 1
    if batch and batch > 1:
        log.info("%s computes batches of %d pictures alone: slower for a few", name, batch)
    return FileGraph(model, batch)


def _read(openvino: Any, path: str) -> Any:
    frontend = openvino.frontend.FrontEndManager().load_by_framework(FRONTENDS[os.path.splitext(path)[1].lower()])
    try:
        return frontend.convert(frontend.load(path))
    except Exception as error:
        if not isinstance(error, RuntimeError) and not type(error).__module__.startswith("openvino"):
            raise
        raise UserError(f"backbone {path} cannot be read by OpenVINO ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """The lines of OpenVINO's message that say what is wrong, without places in its source."""
    lines = [line.strip(" -\t") for line in str(error).splitlines()]
    dull = ("Check ", "Exception from ", "FrontEnd API failed", "Model wasn't fully converted", "Summary:", "While ")
    telling = [line for line in lines if line and not line.startswith(dull)]
    text = "; ".join(telling or lines)
    return "".join(c if c.isprintable() else "?" for c in text)[:300].rstrip(" .:;") or type(error).__name__


def _tensor(name: str, model: Any, wanted: str) -> Any:
    """The output of a node that is called so, as a tensor or as the node. Raises UserError with the names there are."""
    named: dict[str, Any] = {}
    inner = []
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Result", "Constant", "Parameter"):
            continue
        for output in node.outputs():
            named |= dict.fromkeys(output.get_names(), output)
            if output.get_names() and output.get_element_type().is_real():
                inner.append(_shown(output))
        if node.get_output_size() == 1:
            named.setdefault(node.get_friendly_name(), node.output(0))
    if wanted in named:
        return named[wanted]
    outputs = [_shown(output.get_node().input_value(0)) for output in model.outputs]
    close = difflib.get_close_matches(wanted, {*outputs, *inner}, n=3)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    more = f", and {len(inner) - MOST_NAMES} more" if len(inner) > MOST_NAMES else ""
    raise UserError(
        f"unknown layer {wanted!r} of {name}: {guess}its outputs are {', '.join(outputs)}; "
        f"inside are {', '.join(name for name in inner[-MOST_NAMES:] if name not in outputs) or 'none'}{more}"
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
    ports = [Port(node.get_friendly_name(), _sides(node.get_partial_shape()), _kind(node)) for node in found]
    if len(found) == 1 and is_image(ports[0]) and (ports[0].kind.startswith("float") or ports[0].kind in INTEGERS):
        return found[0]
    listed = ", ".join(map(str, ports)) or "none"
    raise UserError(
        f"{name} needs one input of images, (n, 3, height, width) or (n, height, width, 3); {_shown(tensor)} is "
        f"computed from {listed}; name another output with LAYER="
    )


def _shown(tensor: Any) -> str:
    return next(iter(sorted(tensor.get_names())), tensor.get_node().get_friendly_name())


def _kind(node: Any) -> str:
    kind: str = node.get_output_element_type(0).to_dtype().name if node.get_output_element_type(0).is_static() else ""
    return kind


def _sides(shape: Any) -> tuple[int | None, ...] | None:
    """The sides of an openvino.PartialShape as `Port` has them."""
    if shape.rank.is_dynamic:
        return None
    return tuple(side.get_length() if side.is_static else None for side in shape)


def _reshaped(openvino: Any, name: str, tensor: Any, image: Any, size: tuple[int, int], batch: int) -> str:
    """Give the input its size; returns its layout. Where the file does not tell it, only one is possible.

    Raises UserError where none is, or both.
    """
    fitting, reasons = [], []
    possible = layouts(_sides(image.get_partial_shape()))
    for layout in possible:
        try:
            _reshape(openvino, tensor, image, layout, size, batch)
            fitting.append(layout)
        except RuntimeError as error:
            reasons.append(_reason(error))
    if len(fitting) != 1:
        why = reasons[0] if reasons else "the file does not say which axis has the channels, and both fit"
        raise UserError(f"{name} cannot be computed at {size[0]}x{size[1]} ({why}): export it with a fixed input")
    if len(possible) > 1:
        _reshape(openvino, tensor, image, fitting[0], size, batch)
    return fitting[0]


def _reshape(openvino: Any, tensor: Any, image: Any, layout: str, size: tuple[int, int], batch: int) -> None:
    image.set_partial_shape(openvino.PartialShape(_of_images(layout, size, batch)))
    openvino.Model([tensor], [image]).validate_nodes_and_infer_types()


def _of_images(layout: str, size: tuple[int, int], batch: int) -> list[int]:
    return [batch, 3, *size] if layout == "NCHW" else [batch, *size, 3]


def _check_sizes(name: str, model: Any) -> None:
    """Raise UserError for a tensor of more numbers than any picture needs: to compute it would take all memory."""
    for node in model.get_ops():
        for output in node.outputs():
            sides = _sides(output.get_partial_shape()) or ()
            if math.prod(side or 1 for side in sides) > MOST_ELEMENTS:
                shown = "x".join(str(side or "?") for side in sides)
                raise UserError(f"{name} computes {_shown(output)} of {shown} numbers, too many: it is refused")


def _fold_numbers(
    openvino: Any, name: str, image: Any, layout: str, numbers: Numbers, batch: int, size: tuple[int, int]
) -> Any:
    """Put (pixels * scale - mean) / std before the input; returns the parameter of pixels (n, height, width, 3)."""
    ops, kind = openvino.opset13, _kind(image)
    pixels = ops.parameter([batch, *size, 3], openvino.Type.f32, name="pixels")
    x = pixels
    if numbers.bgr:
        x = ops.gather(x, [2, 1, 0], 3)
    if numbers != Numbers(bgr=numbers.bgr):
        slope = [numbers.scale / std for std in numbers.std]
        shift = [-mean / std for mean, std in zip(numbers.mean, numbers.std, strict=True)]
        if kind in INTEGERS:
            _check_integers(name, kind, slope, shift)
        x = ops.add(ops.multiply(x, _constant(ops, slope)), _constant(ops, shift))
    elif kind == "int8":
        _check_integers(name, kind, [1.0], [0.0])
    if layout == "NCHW":
        x = ops.transpose(x, [0, 3, 1, 2])
    if image.get_element_type() != openvino.Type.f32:
        x = ops.convert(x, kind.replace("float", "f").replace("uint", "u").replace("int", "i"))
    for target in image.output(0).get_target_inputs():
        target.replace_source_output(x.output(0))
    return pixels


def _constant(ops: Any, values: list[float]) -> Any:
    import numpy as np

    return ops.constant(np.array(values, np.float32))


def _check_integers(name: str, kind: str, slope: list[float], shift: list[float]) -> None:
    least, most = INTEGERS[kind]
    whole = all(one == 1 for one in slope) and all(one == int(one) for one in shift)
    if not whole or min(shift) < least or max(shift) + 255 > most:
        raise UserError(
            f"{name} takes {kind}, which the preprocessing does not give: "
            f"scale=1, std=1 and mean={-least} would (--scale, --std, --mean)"
        )


def _fold_pooling(openvino: Any, name: str, tensor: Any, layout: str, spec: FeatureSpec, batch: int) -> Any:
    """The rows (n, ...) in float32 of a tensor: maps of four axes, tokens of three, vectors of two."""
    ops, sides = openvino.opset13, _sides(tensor.get_partial_shape())
    what = f"{name}: output {_shown(tensor)} is {Port('', sides, _kind(tensor.get_node())) if sides else 'of no rank'}"
    if not sides or len(sides) < 2 or None in sides or sides[0] != batch:
        raise UserError(f"{what}, which are no rows of a fixed shape, one a picture: name another one with LAYER=")
    x = tensor.get_node() if tensor.get_node().get_output_size() == 1 else tensor
    kind = tensor.get_element_type()
    if not kind.is_real():
        raise UserError(f"{what}, which are no features: name another one with LAYER=")
    x = x if kind == openvino.Type.f32 else ops.convert(x, "f32")
    pooling, axes = spec.pooling, len(sides)
    if pooling == "none" or axes == 2:
        if pooling in ("cls",) or pooling.startswith("mean"):
            raise UserError(f"{what}, a vector, which needs no pooling {pooling.partition('[')[0]}: leave it out")
        return x
    if pooling == "flatten":
        return ops.reshape(x, [0, -1], True)
    if axes == 3 and pooling == "cls":
        return ops.gather(x, 0, 1)
    if axes == 3 and (found := re.fullmatch(r"mean\[(\d+):\]", pooling)):
        first = int(found[1])
        if first >= (sides[1] or 0):
            raise UserError(f"{what}: there are no tokens beyond the first {first}")
        kept = ops.slice(x, [first], [sides[1]], [1], [1]) if first else x
        return ops.reduce_mean(kept, [1], False)
    if axes == 4 and pooling in ("avg", "max"):
        places = [2, 3] if _map_layout(sides, layout, spec.size or (1, 1), what) == "NCHW" else [1, 2]
        return ops.reduce_mean(x, places, False) if pooling == "avg" else ops.reduce_max(x, places, False)
    fits = {3: "cls, mean or flatten (tokens)", 4: "avg, max or flatten (a map)"}.get(axes, "flatten")
    raise UserError(f"{what}: pooling {pooling.partition('[')[0]} does not fit, give POOLING={fits}")


def _map_layout(sides: tuple[int | None, ...], layout: str, size: tuple[int, int], what: str) -> str:
    """Whether a map is NCHW or NHWC: its height and width are in the proportion of the input's.

    Where both orders are, it is that of the input, as is announced.
    """
    height, width = size

    def alike(rows: int, columns: int) -> bool:  # as many as some stride leaves, whichever way it rounds
        return abs(rows * width - columns * height) < max(height, width)

    _, one, two, three = (side or 0 for side in sides)
    possible = [name for name, fits in (("NCHW", alike(two, three)), ("NHWC", alike(one, two))) if fits]
    if len(possible) == 1:
        return possible[0]
    log.info("%s; its channels are taken to be where the input has them, %s", what, layout)
    return layout


def _takes_batches(model: Any) -> bool:
    """Whether a graph whose input says so takes several pictures at once: some have the shape of one built in."""
    trial = model.clone()
    _, *sides = _sides(model.input(0).get_partial_shape()) or ()
    try:
        trial.reshape([2, *sides])
    except RuntimeError:
        return False
    before, after = (_sides(one.output(0).get_partial_shape()) or () for one in (model, trial))
    return (2, *before[1:]) == after
