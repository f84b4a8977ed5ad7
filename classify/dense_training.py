"""Train a dense network with Keras and hand it back as plain arrays.

The epochs run in a loop of our own: `Model.fit` builds a new input pipeline for each epoch, which for a few hundred
rows takes ten times as long as the training itself (0.2 s instead of 0.02 s an epoch, measured), and it shuffles with
TensorFlow's global seed.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.errors import UserError
from classify.base import Labels
from classify.numerics import Floats, Layers
from featurize.quiet import import_keras

log = logging.getLogger("bottleneck")

History = dict[str, list[float]]


@dataclass(frozen=True)
class Plan:
    """The network and how to train it; the fields are the parameters of `DenseClassifier`."""

    classes: int
    hidden: int | None
    dropout: float
    batch_norm: bool
    learning_rate: float
    weight_decay: float
    epochs: int
    batch_size: int
    patience: int
    verbose: int


def build_network(plan: Plan, features: int, random: np.random.RandomState) -> Any:
    """The untrained Keras network from `features` inputs to `plan.classes` logits.

    Every layer has a seed of its own, so that no global generator is drawn from.
    """
    keras = import_keras()

    layers = [keras.Input((features,))]
    if plan.hidden is not None:
        initial = keras.initializers.GlorotUniform(seed=random.randint(2**31 - 1))
        layers.append(keras.layers.Dense(plan.hidden, kernel_initializer=initial))
    if plan.batch_norm:
        # Keras' momentum of 0.99 needs hundreds of steps to forget the first guess; a small set has a few an epoch.
        layers.append(keras.layers.BatchNormalization(momentum=0.9))
    if plan.hidden is not None:
        layers.append(keras.layers.ReLU())
    if plan.dropout > 0:
        layers.append(keras.layers.Dropout(plan.dropout, seed=random.randint(2**31 - 1)))
    layers.append(keras.layers.Dense(plan.classes, kernel_initializer="zeros"))
    return keras.Sequential(layers)


def train_network(
    network: Any,
    plan: Plan,
    rows: Floats,
    labels: Labels,
    weights: Floats,
    held_out: np.ndarray,
    random: np.random.RandomState,
) -> tuple[History, int]:
    """Fit `network` in place with Adam on cross-entropy; returns the history and the number of the best epoch from 1.

    rows (n, d) float32, labels (n,), weights (n,), held_out (n,) bool. Where anything is held out, training stops
    after `plan.patience` epochs without a lower loss on it, and the weights of the best epoch come back; otherwise
    all epochs are run. The weights of rows count in every loss, not in accuracy. Raises UserError where the loss
    grows beyond all bounds.
    """
    keras = import_keras()
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(plan.learning_rate, weight_decay=plan.weight_decay or None)
    optimizer.build(network.trainable_variables)

    def losses(logits: Any, labels: Any, weights: Any) -> Any:
        return weights * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def right(logits: Any, labels: Any) -> Any:
        return tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == labels, tf.float32)

    # One function for the whole epoch: tracing it is the greater part of a small fit.
    @tf.function
    def run_epoch(training: Any, validation: Any, order: Any, edges: Any) -> Any:
        total = tf.zeros(2)
        for i in tf.range(tf.shape(edges)[0] - 1):
            chosen = order[edges[i] : edges[i + 1]]
            inputs, labels, weights = (tf.gather(part, chosen) for part in training)
            with tf.GradientTape() as tape:
                logits = network(inputs, training=True)
                each = losses(logits, labels, weights)
                loss = tf.reduce_mean(each)
            gradients = tape.gradient(loss, network.trainable_variables)
            optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
            total += tf.stack([tf.reduce_sum(each), tf.reduce_sum(right(logits, labels))])
        total /= tf.cast(tf.shape(order)[0], tf.float32)
        if validation is None:
            return total
        inputs, labels, weights = validation
        logits = network(inputs, training=False)
        return tf.stack(
            [*tf.unstack(total), tf.reduce_mean(losses(logits, labels, weights)), tf.reduce_mean(right(logits, labels))]
        )

    def on_device(chosen: np.ndarray) -> tuple[Any, Any, Any]:
        return (
            tf.constant(rows[chosen], tf.float32),
            tf.constant(labels[chosen], tf.int32),
            tf.constant(weights[chosen], tf.float32),
        )

    training, validation = on_device(~held_out), on_device(held_out) if held_out.any() else None
    count = int((~held_out).sum())
    # Batches of equal size, within one: a last batch of a single row would throw batch normalisation off.
    batches = -(-count // plan.batch_size)
    edges = tf.constant(np.arange(batches + 1) * count // batches, tf.int32)
    history: History = {"loss": [], "accuracy": []}
    if validation is not None:
        history |= {"val_loss": [], "val_accuracy": []}
    best_epoch, best_loss, best_weights = 0, np.inf, None
    for epoch in range(1, plan.epochs + 1):
        order = tf.constant(random.permutation(count), tf.int32)
        for values, value in zip(
            history.values(), run_epoch(training, validation, order, edges).numpy().tolist(), strict=True
        ):
            values.append(value)
        if not np.isfinite(history["loss"][-1]):
            raise UserError(f"training diverged in epoch {epoch}: give a learning_rate below {plan.learning_rate:g}")
        if plan.verbose:
            shown = " ".join(f"{name} {values[-1]:.4f}" for name, values in history.items())
            log.info("epoch %d/%d %s", epoch, plan.epochs, shown)
        if validation is None:
            best_epoch = epoch
        elif history["val_loss"][-1] < best_loss:
            best_epoch, best_loss, best_weights = epoch, history["val_loss"][-1], network.get_weights()
        elif epoch - best_epoch >= plan.patience:
            break
    if best_weights is not None:
        network.set_weights(best_weights)
    return history, best_epoch


def plain_layers(network: Any) -> Layers:
    """(kernel, bias) of each dense layer of a trained network, with batch normalisation folded in, float32.

    The network is then: between the layers ReLU, after the last one softmax. Batch normalisation after a dense layer
    scales that layer's outputs, before the first one it scales its inputs.
    """
    keras = import_keras()
    folded: Layers = []
    scale = shift = None
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dense):
            kernel, bias = (array.astype(np.float64) for array in layer.get_weights())
            if scale is not None:
                kernel, bias = scale[:, None] * kernel, bias + shift @ kernel
            folded.append((kernel, bias))
            scale = shift = None
        elif isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (array.astype(np.float64) for array in layer.get_weights())
            scale = gamma / np.sqrt(variance + layer.epsilon)
            shift = beta - mean * scale
            if folded:
                kernel, bias = folded.pop()
                folded.append((kernel * scale, bias * scale + shift))
                scale = shift = None
    return folded
