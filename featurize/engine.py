"""The compiled forward pass: a headless network, frozen, on batches of fixed shape.

Variables become constants, so TensorFlow folds batch norm into the convolutions; nothing in it can train. Two
batch shapes only, one picture and `BATCH` pictures (padded): a row does not depend on how many came with it, but
for the rounding between these two.
"""

import time
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np

BATCH = 32


class Engine:
    """Forward passes of `network` (keras.Model: pixels 0..255 RGB in, features (n, d) float32 out), given as `dtype`.

    `forward_passes` counts the pictures that went through the network, padding excluded; `dimension` is d;
    `startup_seconds` is the time that went into compiling, and into `network` as far as its builder adds it.
    """

    def __init__(self, network: Any, dtype: np.dtype | type = np.float32):
        self.size: tuple[int, int] = tuple(network.input_shape[1:3])
        self.dimension: int = network.output_shape[1]
        self.forward_passes = 0
        self.startup_seconds = 0.0
        self._network = network
        self._dtype = dtype
        self._compiled: dict[tuple[int, str], Any] = {}

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Features (n, d) of `pixels` (n, height, width, 3) RGB, uint8 or float32 in 0..255."""
        rows = [self._batch(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        self.forward_passes += len(pixels)
        return np.concatenate(rows) if rows else np.empty((0, self.dimension), self._dtype)

    def _batch(self, pixels: np.ndarray) -> np.ndarray:
        count = len(pixels)
        shape = 1 if count == 1 else BATCH
        if count < shape:
            padding = np.zeros((shape - count, *pixels.shape[1:]), pixels.dtype)
            pixels = np.concatenate([pixels, padding])
        key = (shape, pixels.dtype.name)
        if key not in self._compiled:
            start = time.perf_counter()
            self._compiled[key] = _compile(self._network, (shape, *self.size, 3), pixels.dtype.name)
            self.startup_seconds += time.perf_counter() - start
        return self._compiled[key](pixels)[:count].astype(self._dtype, copy=False)

    @property
    def provenance(self) -> dict[str, str]:
        """What may change features by rounding: the engine and the versions of the libraries."""
        libraries = ("tensorflow", "keras", "numpy", "pillow")
        return {"engine": "tensorflow"} | {library: version(library) for library in libraries}


@lru_cache(maxsize=8)  # both shapes of the networks that are kept, see featurize/extract.py
def _compile(network: Any, shape: tuple[int, ...], dtype: str) -> Any:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda pixels: network(tf.cast(pixels, tf.float32), training=False))
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec(shape, dtype)))

    def run(pixels: np.ndarray) -> np.ndarray:
        (features,) = frozen(tf.constant(pixels))
        return features.numpy()

    run(np.zeros(shape, dtype))  # TensorFlow optimises the graph at its first run
    return run
