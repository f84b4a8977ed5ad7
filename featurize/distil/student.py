"""The student while it is trained: the architecture of `nano` with kernels that are standardised at every step.

Standardised kernels take the place of batch normalisation (Brock, De, Smith: "Characterizing signal propagation to
close the performance gap in unnormalized ResNets", 2021): every output channel's kernel has mean 0 and a length that
keeps the size of the activations, times a learnt gain. Nothing depends on the batch. After the training the
standardised kernels become plain ones.
"""

from typing import Any

import numpy as np

from featurize.backbones.nano import build_nano, nano_trunk
from featurize.engines.keras_import import import_keras

keras = import_keras()  # before TensorFlow: it silences the messages of its start

import tensorflow as tf  # noqa: E402

RELU_GAIN = 1.7139588594436646  # sqrt(2 / (1 - 1 / pi)): what a ReLU takes from the spread of a normal variable


class StandardisedConv(keras.layers.Layer):  # type: ignore[name-defined]
    """A convolution (depthwise where `filters` is 0) in `compute_dtype`, whose variables are always float32."""

    def __init__(self, name: str, filters: int, kernel: int = 3, stride: int = 1, gain: float = 1.0):
        super().__init__(name=name, dtype=keras.DTypePolicy("mixed_bfloat16"))
        self._filters, self._side, self._stride, self._gain = filters, kernel, stride, gain

    def build(self, shape: tuple[int | None, ...]) -> None:
        inputs = shape[-1]
        self.depthwise = self._filters == 0
        outputs = inputs if self.depthwise else self._filters
        kernel = (self._side, self._side, inputs, 1 if self.depthwise else outputs)
        normal, constant = keras.initializers.RandomNormal(stddev=1.0), keras.initializers.Constant
        self.kernel = self.add_weight(shape=kernel, initializer=normal, autocast=False, name="kernel")
        self.gain = self.add_weight(shape=(outputs,), initializer=constant(self._gain), autocast=False, name="gain")
        self.bias = self.add_weight(shape=(outputs,), initializer="zeros", autocast=False, name="bias")

    def plain_kernel(self) -> tf.Tensor:
        """The kernel as a plain convolution would have it: float32 of the shape of `kernel`."""
        raw = tf.convert_to_tensor(self.kernel.value)
        axes = [0, 1] if self.depthwise else [0, 1, 2]
        mean, variance = tf.nn.moments(raw, axes, keepdims=True)
        fan_in = np.prod([raw.shape[axis] for axis in axes])
        gain = RELU_GAIN * tf.convert_to_tensor(self.gain.value)
        gain = gain[:, None] if self.depthwise else gain
        return (raw - mean) * tf.math.rsqrt(tf.maximum(fan_in * variance, 1e-4)) * gain

    def call(self, x: Any) -> Any:
        kernel = tf.cast(self.plain_kernel(), self.compute_dtype)
        if self.depthwise:
            y = tf.nn.depthwise_conv2d(x, kernel, [1, self._stride, self._stride, 1], "SAME")
        else:
            y = tf.nn.conv2d(x, kernel, self._stride, "SAME")
        return y + tf.cast(self.bias.value, self.compute_dtype)


def build_student(channels: int, local_channels: int) -> Any:
    """keras.Model: pixels (n, h, w, 3) 0..255 -> [features (n, h/16, w/16, channels), local (..., local_channels)].

    `features` imitates what the teacher pools, `local` the teacher's cached map. Only the training needs `local`.
    """
    pixels = keras.Input((None, None, 3), name="pixels")
    trunk = nano_trunk(keras, pixels, StandardisedConv)
    features = keras.ops.relu(StandardisedConv("head", channels, 1)(trunk))
    return keras.Model(pixels, [features, StandardisedConv("local", local_channels, 1)(trunk)], name="student")


def plain_student(student: Any, size: tuple[int, int]) -> Any:
    """The network `nano` that computes what `student` does: keras.Model, without the local output."""
    plain = build_nano(keras, size, student.get_layer("head").bias.shape[0])
    for layer in plain.layers:
        if layer.weights:
            trained = student.get_layer(layer.name)
            layer.set_weights([trained.plain_kernel().numpy(), trained.bias.numpy()])
    return plain
