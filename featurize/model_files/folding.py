"""What is folded into the graph of a model file: the preprocessing before its input, the pooling after its output."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.errors import UserError, log
from featurize.engines.silent_openvino import import_openvino
from featurize.model_files.outline import Port, Shape
from featurize.model_files.recipe import Numbers

PIXELS = {"u8": (0, 255), "i8": (-128, 127)}  # types of an input that takes whole numbers, and these


@dataclass(frozen=True)
class Images:
    """What the input of a network takes. layout: NCHW or NHWC. size: (height, width) in pixels."""

    layout: str
    batch: int
    size: tuple[int, int]

    @property
    def shape(self) -> list[int]:
        """That of a batch."""
        return [self.batch, 3, *self.size] if self.layout == "NCHW" else [self.batch, *self.size, 3]


def port_of(tensor: Any) -> Port:
    """A tensor of an openvino.Model (an output of a node) as outlines have it; its type by OpenVINO's name, as f32."""
    names = sorted(tensor.get_names())
    name = names[0] if names else tensor.get_node().get_friendly_name()
    return Port(name, sides_of(tensor.get_partial_shape()), tensor.get_element_type().get_type_name())


def sides_of(shape: Any) -> Shape:
    """The sides of an openvino.PartialShape."""
    if shape.rank.is_dynamic:
        return None
    return tuple(side.get_length() if side.is_static else None for side in shape)


def fold_numbers(name: str, parameter: Any, images: Images, numbers: Numbers) -> Any:
    """Put (pixels * scale - mean) / std before the input `parameter`, which then has no use.

    Returns the parameter of the pixels, (n, height, width, 3) float32. Raises UserError where they do not become what
    an input of whole numbers takes.
    """
    openvino = import_openvino()
    ops, kind = openvino.opset13, port_of(parameter.output(0)).kind
    slope = np.array([numbers.scale / std for std in numbers.std], np.float32)
    shift = np.array([-mean / std for mean, std in zip(numbers.mean, numbers.std, strict=True)], np.float32)
    if kind in PIXELS:
        least, most = PIXELS[kind]
        whole = (slope == 1).all() and (shift == shift.round()).all()
        if not whole or shift.min() < least or shift.max() + 255 > most:
            raise UserError(
                f"{name} takes whole numbers ({kind}), which the preprocessing does not give: "
                f"scale=1, std=1 and mean={-least} would (--scale, --std, --mean)"
            )
    pixels = ops.parameter([images.batch, *images.size, 3], openvino.Type.f32, name="pixels")
    x = ops.gather(pixels, [2, 1, 0], 3) if numbers.bgr else pixels
    if (slope != 1).any() or shift.any():
        x = ops.add(ops.multiply(x, ops.constant(slope)), ops.constant(shift))
    if images.layout == "NCHW":
        x = ops.transpose(x, [0, 3, 1, 2])
    if kind != "f32":
        x = ops.convert(x, kind)
    for user in parameter.output(0).get_target_inputs():
        user.replace_source_output(x.output(0))
    return pixels


def fold_pooling(name: str, tensor: Any, images: Images, pooling: str) -> Any:
    """The rows (n, ...) float32 of a tensor: maps of four axes, tokens of three, vectors of two.

    pooling: the field of a spec. Raises UserError for a tensor without a row for each picture, and for a pooling that
    does not fit it.
    """
    openvino = import_openvino()
    ops, port, sides = openvino.opset13, port_of(tensor), sides_of(tensor.get_partial_shape())
    what, asked = f"{name}: output {port}", pooling.partition("[")[0]
    if not tensor.get_element_type().is_real():
        raise UserError(f"{what} are no features: name another one with LAYER=")
    if sides is None or len(sides) < 2 or None in sides or sides[0] != images.batch:
        raise UserError(f"{what} is no row of a fixed shape for each picture: name another one with LAYER=")
    x = tensor if port.kind == "f32" else ops.convert(tensor, "f32").output(0)
    axes = len(sides)
    if axes == 2 and asked in ("cls", "mean"):
        raise UserError(f"{what}, a vector, needs no pooling {asked}: leave it out")
    if axes == 2 or pooling == "none":
        return x
    if pooling == "flatten":
        return ops.reshape(x, [0, -1], True)
    if axes == 3 and pooling == "cls":
        return ops.gather(x, 0, 1)
    if axes == 3 and (found := re.fullmatch(r"mean\[(\d{1,5}):\]", pooling)):
        first, tokens = int(found[1]), sides[1] or 0
        if first >= tokens:
            raise UserError(f"{what}: there are no tokens beyond the first {first}")
        return ops.reduce_mean(ops.slice(x, [first], [tokens], [1], [1]), [1], False)
    if axes == 4 and pooling in ("avg", "max"):
        places = [2, 3] if _map_layout(what, sides, images) == "NCHW" else [1, 2]
        return ops.reduce_mean(x, places, False) if pooling == "avg" else ops.reduce_max(x, places, False)
    fitting = {3: "cls, mean or flatten (tokens)", 4: "avg, max or flatten (a map)"}.get(axes, "flatten")
    raise UserError(f"{what}: pooling {asked} does not fit, give POOLING={fitting}")


def _map_layout(what: str, sides: tuple[int | None, ...], images: Images) -> str:
    """Whether a map is NCHW or NHWC: its height and width are in the proportion of the input's.

    Where both orders are, or none, it is that of the input, as is announced.
    """
    height, width = images.size

    def alike(rows: int, columns: int) -> bool:  # as many as some stride leaves, whichever way it rounds
        return abs(rows * width - columns * height) < max(height, width)

    _, one, two, three = (side or 0 for side in sides)
    possible = [layout for layout, fits in (("NCHW", alike(two, three)), ("NHWC", alike(one, two))) if fits]
    if len(possible) == 1:
        return possible[0]
    log.info("%s; its channels are taken to be where the input has them, %s", what, images.layout)
    return images.layout
