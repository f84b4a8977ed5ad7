"""EfficientNet-Lite as published: EfficientNet without squeeze-and-excite, with ReLU6, its stem and head never scaled.

Layers are named as in Keras' EfficientNet. The weights are those of torch files, see
`featurize.backbones.torch_file` and LITE.md.
"""

from math import ceil
from typing import Any

import numpy as np

from cache.errors import UserError
from featurize.backbones.torch_file import read_torch_file

STEM, HEAD = 32, 1280  # channels
# Repeats, kernel, stride of the first repeat, expansion, channels; the repeats of the outer two are never scaled.
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip
EPSILON = 1e-3  # of the batch normalisation

# What the layers of a block are called here and in the file.
IN_BLOCK = {
    "expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "bn": "_bn1",
    "project_conv": "_project_conv", "project_bn": "_bn2",
}  # fmt: skip
AROUND = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
TOP = ("_fc.weight", "_fc.bias")  # the classes of ImageNet, which features do without
STATISTICS = ("weight", "bias", "running_mean", "running_var")  # of a normalisation, in the order of Keras


def build_lite(keras: Any, size: tuple[int, int], width: float, depth: float) -> Any:
    """The network without its top, initialised at random: pixels (n, height, width, 3) 0..255 -> its last map.

    keras.Model; its last layer is `top_activation`. `width` scales the channels, `depth` the repeats.
    """
    layers = keras.layers

    def convolve(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
        return layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)(x)

    def normalise(x: Any, name: str) -> Any:
        return layers.BatchNormalization(epsilon=EPSILON, name=name)(x)

    def activate(x: Any, name: str) -> Any:
        return layers.ReLU(6.0, name=name)(x)

    def block(x: Any, name: str, kernel: int, stride: int, expansion: int, channels: int) -> Any:
        start = x
        if expansion > 1:
            x = convolve(x, expansion * x.shape[-1], 1, 1, f"{name}_expand_conv")
            x = activate(normalise(x, f"{name}_expand_bn"), f"{name}_expand_activation")
        x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_dwconv")(x)
        x = activate(normalise(x, f"{name}_bn"), f"{name}_activation")
        x = normalise(convolve(x, channels, 1, 1, f"{name}_project_conv"), f"{name}_project_bn")
        return layers.Add(name=f"{name}_add")([x, start]) if x.shape == start.shape else x

    pixels = keras.Input((*size, 3), name="pixels")
    x = layers.Rescaling(1 / 128, -127 / 128, name="rescaling")(pixels)
    x = activate(normalise(convolve(x, STEM, 3, 2, "stem_conv"), "stem_bn"), "stem_activation")
    for number, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES, 1):
        scaled = int(channels * width + 4) // 8 * 8
        for repeat in range(ceil(repeats * depth) if 1 < number < len(STAGES) else repeats):
            name = f"block{number}{'abcdefgh'[repeat]}"
            x = block(x, name, kernel, 1 if repeat else stride, expansion, scaled)
    x = activate(normalise(convolve(x, HEAD, 1, 1, "top_conv"), "top_bn"), "top_activation")
    return keras.Model(pixels, x, name="efficientnet_lite")


def load_lite(network: Any, path: str, sha256: str | None = None) -> None:
    """Set the weights of a network of `build_lite` to those at `path`; with a `sha256` only of that very file.

    Raises UserError where the file is damaged or of another network.
    """
    tensors = read_torch_file(path, sha256)
    left = {name for name in tensors if not name.endswith("num_batches_tracked")}.difference(TOP)
    blocks = [layer.name.partition("_")[0] for layer in network.layers if layer.name.endswith("_dwconv")]
    for layer in network.layers:
        if layer.weights:
            block, _, part = layer.name.partition("_")
            name = AROUND.get(layer.name) or f"_blocks.{blocks.index(block)}.{IN_BLOCK[part]}"
            stored = [f"{name}.{part}" for part in (STATISTICS if layer.name.endswith("bn") else ("weight",))]
            try:
                layer.set_weights([_as_in_keras(layer.name, tensors[one]) for one in stored])
            except (KeyError, ValueError) as error:
                raise UserError(f"weights {path} are of another network: no {name} as {layer.name} needs it") from error
            left.difference_update(stored)
    if left:
        raise UserError(f"weights {path} are of another network: there is no place for {min(left):.80}")


def _as_in_keras(layer: str, tensor: np.ndarray) -> np.ndarray:
    """A kernel (out, in, height, width) as (height, width, in, out), a depthwise one as (height, width, out, in)."""
    if tensor.ndim != 4:
        return tensor
    return tensor.transpose(2, 3, 0, 1) if layer.endswith("dwconv") else tensor.transpose(2, 3, 1, 0)
