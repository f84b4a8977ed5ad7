"""What a model file says of itself before any engine reads it: inputs, outputs, further files; hostile ones refused.

Read without OpenVINO, so that cached rows of a model are found without it.
"""

import math
from dataclasses import dataclass

from cache.errors import UserError

Shape = tuple[int | None, ...] | None  # None: unknown; a side of None: free

MOST_ELEMENTS = 2**29  # of a tensor: 2 GiB in float32


@dataclass(frozen=True)
class Port:
    """An input or output. kind: type of its numbers in lower case, such as float32; "" where that is not said."""

    name: str
    shape: Shape = None
    kind: str = ""

    def __str__(self) -> str:
        sides = "x".join("?" if side is None else str(side) for side in self.shape) if self.shape is not None else "?"
        return f"{self.name} {f'{self.kind} ' if self.kind else ''}{sides}"


@dataclass(frozen=True)
class Outline:
    """`external`: paths, relative to the model's folder, of the files that hold its weights."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    external: tuple[str, ...] = ()


def elements(shape: Shape) -> int:
    """How many numbers a tensor of that shape has; free sides count as 1."""
    return math.prod(side or 1 for side in shape or ())


def image_input(path: str, outline: Outline) -> Port:
    """The only input that takes images. Raises UserError, naming the inputs, where there is none or several."""
    images = [port for port in outline.inputs if is_image(port)]
    if len(images) != 1:
        found = ", ".join(map(str, outline.inputs))
        what = "no input of images (n, 3, height, width) or (n, height, width, 3)" if not images else "several inputs"
        raise UserError(f"backbone {path} has {what}: {found}; export the part that takes images alone")
    return images[0]


def is_image(port: Port) -> bool:
    """Whether a port may take images: four axes, one of them, or a free one, for three channels."""
    if port.shape is None:
        return port.kind.startswith("float")
    return len(port.shape) == 4 and any(side in (3, None) for side in (port.shape[1], port.shape[3]))


def layouts(shape: Shape) -> list[str]:
    """The orders of axes that images may have in an input of that shape: NCHW, NHWC, or both."""
    if shape is None:
        return ["NCHW", "NHWC"]
    sure = [layout for layout, axis in (("NCHW", 1), ("NHWC", 3)) if shape[axis] == 3]
    return sure or [layout for layout, axis in (("NCHW", 1), ("NHWC", 3)) if shape[axis] is None]


def fixed_size(shape: Shape) -> tuple[int | None, int | None]:
    """(height, width) of the images that an input of that shape takes, None where it is free or not certain."""
    possible = layouts(shape)
    if shape is None or len(possible) != 1:
        return None, None
    return (shape[2], shape[3]) if possible == ["NCHW"] else (shape[1], shape[2])
