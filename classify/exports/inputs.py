"""What an exported graph takes: one input for each size and way of resizing that its backbones want."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from classify.heads.numerics import Floats
from featurize.engines.engine import Cost

if TYPE_CHECKING:
    from classify.saved.classifier import Classifier
    from featurize.extract.forward import Picture

INPUT = "pixels"  # float32, N x height x width x 3, RGB, 0 to 255


@dataclass(frozen=True)
class Input:
    """One input of an export.

    size: (height, width) of the pictures that it takes, in pixels. resize: how they are brought to that size, see
    `featurize.decoding.decode`.
    """

    name: str
    size: tuple[int, int]
    resize: str


def inputs_of(classifier: "Classifier") -> list[Input]:
    """The input of each backbone of a model; backbones that take the same pixels have the same one.

    The first is "pixels", another one "pixels_260x260", or "pixels_260x260_nearest" beside one of its size.
    """
    parts = [part.input(Cost()) for part in classifier.of_pixels.parts]
    wanted = [((one.size[0], one.size[1]), one.resize) for one in parts]
    kinds = list(dict.fromkeys(wanted))
    sizes = [size for size, _ in kinds]
    named = {kinds[0]: Input(INPUT, *kinds[0])}
    for (height, width), resize in kinds[1:]:
        name = f"{INPUT}_{height}x{width}"
        if sizes.count((height, width)) > 1:
            name += f"_{resize.replace('-', '_')}"  # LiteRT takes names as Python does
        named[(height, width), resize] = Input(name, (height, width), resize)
    return [named[kind] for kind in wanted]


def pixels_of(of_parts: Sequence[Input], pictures: Sequence["Picture"]) -> dict[str, Floats]:
    """What each input takes of decoded pictures, in their first view: name -> (n, height, width, 3) float32.

    of_parts: what `inputs_of` says of the model that they were decoded for.
    """
    return {
        one.name: np.stack([np.asarray(picture.decoded[part].pixels[0], np.float32) for picture in pictures])
        for part, one in enumerate(of_parts)
        if one not in of_parts[:part]
    }
