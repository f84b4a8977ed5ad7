"""Train a dense network with Keras and hand it back as plain arrays.

The epochs run in a loop of our own: `Model.fit` builds a new input pipeline for each epoch, which for a few hundred
rows takes ten times as long as the training itself (0.2 s instead of 0.02 s an epoch, measured), and it shuffles with
TensorFlow's global seed.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.stored_rows import Rows
from classify.heads.base import Labels
from classify.heads.dense.tensorboard import History, curve_writer
from classify.heads.numerics import Floats, Layers
from classify.heads.streaming import chunks, in_memory
from classify.heads.view_axis import as_rows
from featurize.engines.keras_import import import_keras

log = logging.getLogger("bottleneck")

Batch = tuple[Any, Any, Any]  # tensors: rows (m * K, d) float32 of m pictures, labels (m,) int32, weights (m,) float32


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
    tensorboard: str | None = None


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
    pictures: Rows,
    labels: Labels,
    weights: Floats,
    held_out: np.ndarray,
    random: np.random.RandomState,
) -> tuple[History, int]:
    """Fit `network` in place with Adam on cross-entropy; returns the history and the number of the best epoch from 1.

    pictures (n, d) or (n, K, d) float32, labels (n,), weights (n,), held_out (n,) bool. An epoch shows one view of each
    picture; those held out are decided by the mean of the logits of their views. Where anything is held out, training
    stops after `plan.patience` epochs without a lower loss on it, and the weights of the best epoch come back;
    otherwise all epochs are run. The weights of pictures count in every loss, not in accuracy. Of stored rows those
    held out are in memory, and of the others a chunk at a time. Raises UserError where the loss grows without bounds.
    """
    import tensorflow as tf

    run_chunk, validate = _compiled(network, plan, pictures.shape[-1])
    trained = np.flatnonzero(~held_out)
    training = pictures[trained]

    def on_device(block: Floats, chosen: np.ndarray) -> Batch:
        return (
            tf.constant(as_rows(block), tf.float32),
            tf.constant(labels[chosen], tf.int32),
            tf.constant(weights[chosen], tf.float32),
        )

    def training_chunks() -> Iterator[Batch]:
        for members, block in chunks(training, random):
            yield on_device(block, trained[members])

    # An array is one chunk, and stays where it is.
    resident = list(training_chunks()) if isinstance(pictures, np.ndarray) else None

    def run_epoch(epoch: int) -> np.ndarray:
        total = np.zeros(2)
        for chunk in resident or training_chunks():
            count = len(chunk[1])
            views = len(chunk[0]) // count
            order = random.permutation(count)
            shown = order * views + (order + epoch) % views
            # Batches of equal size, within one: a last batch of a single row would throw batch normalisation off.
            batches = -(-count // plan.batch_size)
            edges = tf.constant(np.arange(batches + 1) * count // batches, tf.int32)
            total += run_chunk(chunk, tf.constant(order, tf.int32), tf.constant(shown, tf.int32), edges).numpy()
        return total / len(trained)

    history: History = {"loss": [], "accuracy": []}
    validation = None
    if held_out.any():
        validation = on_device(in_memory(pictures[held_out]), held_out)
        history |= {"val_loss": [], "val_accuracy": []}
    write = curve_writer(plan.tensorboard)
    best_epoch, best_loss, best_weights = 0, np.inf, None
    for epoch in range(1, plan.epochs + 1):
        measured = run_epoch(epoch).tolist()
        if validation is not None:
            measured += validate(*validation).numpy().tolist()
        for values, value in zip(history.values(), measured, strict=True):
            values.append(value)
        if not np.isfinite(history["loss"][-1]):
            raise UserError(f"training diverged in epoch {epoch}: give a learning_rate below {plan.learning_rate:g}")
        write(epoch, history)
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


def _compiled(network: Any, plan: Plan, features: int) -> tuple[Any, Any]:
    """Two functions of a `Batch` on the device, its rows (m * K, features): train on it, validate on it.

    Training takes an order of the pictures (m,), the row that is shown of each (m,) and the edges of the batches as
    well, and gives the sums of loss and right answers; validating gives their means.
    """
    keras = import_keras()
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(plan.learning_rate, weight_decay=plan.weight_decay or None)
    optimizer.build(network.trainable_variables)
    batch = (tf.TensorSpec((None, features)), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,)))
    numbers = tf.TensorSpec((None,), tf.int32)

    def losses(logits: Any, labels: Any, weights: Any) -> Any:
        return weights * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def right(logits: Any, labels: Any) -> Any:
        return tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == labels, tf.float32)

    # One function for all batches of a chunk: tracing it is the greater part of a small fit.
    @tf.function(input_signature=(batch, numbers, numbers, numbers))
    def run_chunk(chunk: Any, order: Any, shown: Any, edges: Any) -> Any:
        rows, labels_of, weights_of = chunk
        total = tf.zeros(2)
        for i in tf.range(tf.shape(edges)[0] - 1):
            chosen = order[edges[i] : edges[i + 1]]
            inputs = tf.gather(rows, shown[edges[i] : edges[i + 1]])
            labels, weights = tf.gather(labels_of, chosen), tf.gather(weights_of, chosen)
            with tf.GradientTape() as tape:
                logits = network(inputs, training=True)
                each = losses(logits, labels, weights)
                loss = tf.reduce_mean(each)
            gradients = tape.gradient(loss, network.trainable_variables)
            optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
            total += tf.stack([tf.reduce_sum(each), tf.reduce_sum(right(logits, labels))])
        return total

    @tf.function(input_signature=batch)
    def validate(inputs: Any, labels: Any, weights: Any) -> Any:
        logits = network(inputs, training=False)
        logits = tf.reduce_mean(tf.reshape(logits, (tf.size(labels), -1, plan.classes)), axis=1)
        return tf.stack([tf.reduce_mean(losses(logits, labels, weights)), tf.reduce_mean(right(logits, labels))])

    return run_chunk, validate


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
