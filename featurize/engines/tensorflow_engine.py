"""A network as a frozen TensorFlow graph.

Variables become constants, so TensorFlow folds batch norm into the convolutions; nothing in it can train.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from featurize.engines.engine import Request


class TensorFlowGraph:
    """`network`: keras.Model, pixels 0..255 RGB in, features (n, ...) float32 out.

    From files to features with MobileNetV2 at 224 on 2 cores: 122 pictures a second in batches of 2, 142 of 8, 122 of
    32. On a GPU the batches are large: the more pictures at once, the less it waits for the next ones.
    """

    name = "tensorflow"
    libraries: tuple[str, ...] = ("tensorflow", "keras")

    def __init__(self, network: Any):
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)  # a GPU would take 10 of 23 bits, unasked
        self.batch = 64 if tf.config.list_physical_devices("GPU") else 8
        self.size: tuple[int, int] = tuple(network.input_shape[1:3])
        self.row_shape: tuple[int, ...] = tuple(network.output_shape[1:])
        self._network = network

    def compile(self, count: int, dtype: str) -> Callable[[], Request]:
        """What makes requests for batches of `count` pictures of that type; TensorFlow optimises at the first one."""
        frozen = _frozen(self._network, (count, *self.size, 3), dtype)
        return lambda: partial(_outputs, frozen)


def _outputs(function: Any, pixels: np.ndarray) -> list[np.ndarray]:
    import tensorflow as tf

    return [output.numpy() for output in function(tf.constant(pixels))]


def _frozen(network: Any, shape: tuple[int, ...], dtype: str) -> Any:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda pixels: network(tf.cast(pixels, tf.float32), training=False))
    return convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec(shape, dtype)))
