"""Adam in one operation a variable. That of Keras takes a dozen, of which each passes over the whole variable."""

from collections.abc import Sequence
from typing import Any

import numpy as np

MOMENTUM, SQUARES, EPSILON = 0.9, 0.999, 1e-7  # the defaults of Keras


class Adam:
    """Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, for TensorFlow variables in float32."""

    def __init__(self, learning: Sequence[Any]):
        import tensorflow as tf

        self._learning = learning
        self._means = [tf.Variable(tf.zeros(variable.shape)) for variable in learning]
        self._squares = [tf.Variable(tf.zeros(variable.shape)) for variable in learning]
        self._powers = [tf.Variable(1.0), tf.Variable(1.0)]  # of MOMENTUM and SQUARES, by the number of steps

    def apply(self, gradients: Sequence[Any], rate: Any) -> None:
        """One step at a rate, a scalar. None as a gradient leaves its variable as it is."""
        import tensorflow as tf

        powers = [power.assign(power * base) for power, base in zip(self._powers, (MOMENTUM, SQUARES), strict=True)]
        for variable, mean, square, gradient in zip(self._learning, self._means, self._squares, gradients, strict=True):
            if gradient is not None:
                tf.raw_ops.ResourceApplyAdam(
                    var=variable.handle,
                    m=mean.handle,
                    v=square.handle,
                    beta1_power=powers[0],
                    beta2_power=powers[1],
                    lr=rate,
                    beta1=MOMENTUM,
                    beta2=SQUARES,
                    epsilon=EPSILON,
                    grad=gradient,
                )

    def reset(self) -> None:
        """Back to the state before the first step."""
        for variable in (*self._means, *self._squares):
            variable.assign(np.zeros(variable.shape, np.float32))
        for power in self._powers:
            power.assign(1.0)
