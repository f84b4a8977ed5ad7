"""The architecture of the project's own small network, `nano`: about a million parameters for 96 pixels.

A residual network without batch normalisation: dense 3x3 convolutions where the picture is large, depthwise ones where
it is small. Dense convolutions run on a processor at several times the multiplications per second of depthwise ones,
and to train with normalisation takes as much time as all the convolutions together (measured).
"""

import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from cache.errors import UserError

SIZE = 96
CHANNELS = 1280  # of the feature map, those of the teacher that it was distilled from
MEAN, SPREAD = 118.0, 60.0  # of the pixels of photographs, roughly

Convolution = Callable[..., Callable[[Any], Any]]


def build_nano(keras: Any, size: tuple[int, int], channels: int = CHANNELS) -> Any:
    """The network, initialised at random: pixels (n, height, width, 3) 0..255 -> (n, ~height/16, ~width/16, channels).

    keras.Model; its last layer, `features`, ends in a ReLU.
    """

    def convolution(name: str, filters: int, kernel: int = 3, stride: int = 1, gain: float = 1.0) -> Any:
        del gain  # counts at the start of a training only
        if filters:
            return keras.layers.Conv2D(filters, kernel, stride, padding="same", name=name)
        return keras.layers.DepthwiseConv2D(kernel, stride, padding="same", name=name)

    pixels = keras.Input((*size, 3), name="pixels")
    trunk = nano_trunk(keras, pixels, convolution)
    return keras.Model(pixels, keras.layers.ReLU(name="features")(convolution("head", channels, 1)(trunk)), name="nano")


def load_nano(network: Any, path: str) -> None:
    """Set the weights of a network of `build_nano` to those at `path`, as `save_nano` writes them.

    Raises UserError where they are damaged or of another network.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            for layer in network.layers:
                if layer.weights:
                    layer.set_weights(
                        [stored[f"{layer.name}/{name}"].astype(np.float32) for name in ("kernel", "bias")]
                    )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"weights {path} cannot be used ({error}): install the project again") from error


def save_nano(network: Any, path: str) -> None:
    """Write the weights of a network of `build_nano` to `path` (.npz): float16 arrays LAYER/kernel and LAYER/bias."""
    arrays: dict[str, Any] = {}
    for layer in network.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            arrays |= {f"{layer.name}/kernel": kernel.astype(np.float16), f"{layer.name}/bias": bias.astype(np.float16)}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def nano_trunk(keras: Any, pixels: Any, convolution: Convolution) -> Any:
    """All of the network but its last 1x1 convolution, activated.

    `convolution(name, filters, kernel, stride, gain)` makes a convolution layer, a depthwise one where `filters` is 0;
    `gain` is how much larger or smaller its output should be at the start of a training.
    """

    relu = keras.ops.relu  # not a layer: that would bring lower precisions back to its own

    def positive(x: Any) -> Any:
        # Also ReLU, of sums: TensorFlow 2.21 fails to fuse what it knows as one with a sum that is used twice.
        return keras.ops.maximum(x, 0.0)

    def dense(name: str, x: Any) -> Any:
        y = convolution(f"{name}_a", x.shape[-1])(positive(x))
        return x + convolution(f"{name}_b", x.shape[-1], gain=0.2)(relu(y))

    def bottleneck(name: str, x: Any) -> Any:
        y = convolution(f"{name}_reduce", x.shape[-1] // 2, 1)(positive(x))
        y = convolution(f"{name}_convolve", x.shape[-1] // 2)(relu(y))
        return x + convolution(f"{name}_restore", x.shape[-1], 1, gain=0.2)(relu(y))

    def inverted(name: str, x: Any) -> Any:
        y = convolution(f"{name}_expand", 4 * x.shape[-1], 1)(positive(x))
        y = convolution(f"{name}_depthwise", 0)(relu(y))
        return x + convolution(f"{name}_project", x.shape[-1], 1, gain=0.2)(relu(y))

    x = keras.layers.Rescaling(1 / SPREAD, -MEAN / SPREAD)(pixels)
    x = convolution("down2", 16, stride=2)(x)
    x = convolution("down4", 32, stride=2)(positive(x))
    x = dense("block4", x)
    x = convolution("down8", 96, stride=2)(positive(x))
    x = bottleneck("block8_1", x)
    x = bottleneck("block8_2", x)
    x = convolution("down16", 160, stride=2)(positive(x))
    for number in (1, 2, 3):
        x = inverted(f"block16_{number}", x)
    return positive(x)
