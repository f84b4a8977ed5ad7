"""A tail with hyperplanes after it, and the compiled functions that train both: made once, used by many fits.

Compiling takes seconds, and TensorFlow never gives back what it takes in memory (30 MB a time, measured), so folds,
searches and the two runs of a fit share one trainer.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np

from classify.heads.finetune.adam import Adam
from classify.heads.finetune.quick_tail import quick_tail
from classify.heads.numerics import Floats
from featurize.backbones.tail import Tail, pooled_features, weights_vector
from featurize.engines.engine import check_tensorflow
from featurize.engines.keras_import import import_keras

_lock = Lock()


class Trainer:
    """A tail with hyperplanes, their optimizer, and compiled functions of maps (m, h, w, c) float32.

    step(maps, labels (m,), weights (m,), rate) learns from a batch and gives (sum of losses, right answers).
    probabilities(maps) gives (m, k).
    """

    def __init__(self, place: Tail, classes: int, batch_norm: bool, precision: str, parts: int):
        """batch_norm: whether batch normalisation learns from batches, in float32; else it stays in inference mode.

        precision: float32 or bf16, see `quick_tail`. parts: of a batch, which TensorFlow may compute side by side;
        their gradients are added. Batch normalisation that learns sees the batch as a whole.
        """
        import_keras()
        import tensorflow as tf

        tail = place.build()
        self._pretrained = [variable.numpy() for variable in tail.variables]  # with the states of dropout
        tail.trainable = True
        quick = quick_tail(tail, precision)
        learns, parts = (tail, 1) if batch_norm else (quick, parts)
        planes = [tf.Variable(tf.zeros((tail.output_shape[-1], classes))), tf.Variable(tf.zeros(classes))]
        learning = [*(variable.value for variable in tail.trainable_variables), *planes]
        optimizer = Adam(learning)

        def decisions(features: Any) -> Any:
            return tf.math.l2_normalize(features, axis=1) @ planes[0] + planes[1]

        def in_parts(maps: Any) -> Any:
            ends = [tf.shape(maps)[0] * number // parts for number in range(parts + 1)]
            each = [maps[start:end] for start, end in pairwise(ends)]
            return tf.concat([learns(part, training=batch_norm) for part in each], axis=0)

        some_maps = tf.TensorSpec((None, *tail.input_shape[1:]), tf.float32)
        numbers = [
            tf.TensorSpec(shape, dtype) for shape, dtype in (((None,), "int64"), ((None,), "float32"), ((), "float32"))
        ]

        @tf.function(input_signature=[some_maps, *numbers])
        def step(maps: Any, labels: Any, weights: Any, rate: Any) -> Any:
            with tf.GradientTape() as tape:
                found = decisions(in_parts(maps))
                each = weights * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, found)
                loss = tf.reduce_mean(each)
            optimizer.apply(tape.gradient(loss, learning), rate)
            right = tf.cast(tf.argmax(found, axis=1, output_type=labels.dtype) == labels, tf.float32)
            return tf.stack([tf.reduce_sum(each), tf.reduce_sum(right)])

        @tf.function(input_signature=[some_maps])
        def probabilities(maps: Any) -> Any:
            return tf.nn.softmax(decisions(quick(maps, training=False)))

        self.tail, self.planes, self.step, self.probabilities = tail, planes, step, probabilities
        self._optimizer, self._quick = optimizer, quick

    def start(self, kernel: Floats, bias: Floats) -> None:
        """Reset to the pretrained weights, these hyperplanes (d, k) and (k,), and an optimizer without state."""
        self._reset_tail()
        for variable, value in zip(self.planes, (kernel, bias), strict=True):
            variable.assign(np.asarray(value, np.float32))
        self._optimizer.reset()

    def pretrained_features(self, maps: np.ndarray) -> np.ndarray:
        """Features (n, d) float32 of maps (n, h, w, c) before anything is learnt."""
        self._reset_tail()
        return pooled_features(self._quick, maps)

    def _reset_tail(self) -> None:
        for variable, value in zip(self.tail.variables, self._pretrained, strict=True):
            variable.assign(value)

    @property
    def variables(self) -> list[Any]:
        """All weights: of the tail, then kernel and bias."""
        return [*self.tail.weights, *self.planes]

    def learnt(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(all weights of the tail as one vector (p,), kernel (d, k), bias (k,)), float32."""
        return weights_vector(self.tail), *(variable.numpy() for variable in self.planes)


@contextmanager
def trainer(place: Tail, classes: int, batch_norm: bool, precision: str, parts: int) -> Iterator[Trainer]:
    """The trainer of these arguments of `Trainer`, for one fit at a time: others wait. Raises as `Tail.build`."""
    check_tensorflow()  # before the lock, which a forked process may have inherited locked
    with _lock:
        yield _made(place, classes, batch_norm, precision, parts, _stamp(place.weights.path))


@lru_cache(maxsize=1)
def _made(place: Tail, classes: int, batch_norm: bool, precision: str, parts: int, _stamp: tuple[int, ...]) -> Trainer:
    return Trainer(place, classes, batch_norm, precision, parts)


def _stamp(path: str) -> tuple[int, ...]:
    """Modification time, size and inode of the file of the weights; () where there is none."""
    if not os.path.exists(path):
        return ()
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino
