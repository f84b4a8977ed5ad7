"""Train a dense network with Keras and hand it back as plain arrays.

The epochs run in a loop of our own: `Model.fit` builds a new input pipeline for each epoch, which for a few hundred
rows takes ten times as long as the training itself (0.2 s instead of 0.02 s an epoch, measured), and it shuffles with
TensorFlow's global seed.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.stored_rows import Rows
from classify.heads.base import Labels
from classify.heads.dense.epochs import Measured, run_epochs
from classify.heads.dense.tensorboard import History
from classify.heads.numerics import Floats, Layers, as_rows
from classify.heads.streaming import chunks
from featurize.engines.keras_import import import_keras

if TYPE_CHECKING:
    from classify.heads.dense.dense_head import DenseClassifier

Batch = tuple[Any, Any, Any]  # tensors: rows (m * K, d) float32 of m pictures, labels (m,) int32, weights (m,) float32


def build_network(head: "DenseClassifier", features: int, random: np.random.RandomState) -> Any:
    """The untrained Keras network from `features` inputs to a logit a class.

    Every layer has a seed of its own, so that no global generator is drawn from.
    """
    keras = import_keras()

    layers = [keras.Input((features,))]
    if head.hidden is not None:
        initial = keras.initializers.GlorotUniform(seed=random.randint(2**31 - 1))
        layers.append(keras.layers.Dense(head.hidden, kernel_initializer=initial))
    if head.batch_norm:
        # Keras' momentum of 0.99 needs hundreds of steps to forget the first guess; a small set has a few an epoch.
        layers.append(keras.layers.BatchNormalization(momentum=0.9))
    if head.hidden is not None:
        layers.append(keras.layers.ReLU())
    if head.dropout > 0:
        layers.append(keras.layers.Dropout(head.dropout, seed=random.randint(2**31 - 1)))
    layers.append(keras.layers.Dense(len(head.classes_), kernel_initializer="zeros"))
    return keras.Sequential(layers)


def train_network(
    network: Any,
    head: "DenseClassifier",
    pictures: Rows,
    labels: Labels,
    weights: Floats,
    held_out: np.ndarray,
    random: np.random.RandomState,
) -> tuple[History, int]:
    """Fit `network` in place with Adam on cross-entropy; returns what `run_epochs` does.

    pictures (n, d) or (n, K, d) float32, labels (n,), weights (n,), held_out (n,) bool. An epoch shows one view of each
    picture; those held out are decided by the mean of the logits of their views, and stop the training. The weights of
    pictures count in every loss, not in accuracy. Of stored rows those held out are in memory, and of the others a
    chunk at a time.
    """
    import tensorflow as tf

    run_chunk, measure = _compiled(network, head, pictures.shape[-1])
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

    def train(epoch: int) -> Measured:
        total = np.zeros(2)
        for chunk in resident or training_chunks():
            count = len(chunk[1])
            views = len(chunk[0]) // count
            order = random.permutation(count)
            shown = order * views + (order + epoch) % views
            # Batches of equal size, within one: a last batch of a single row would throw batch normalisation off.
            batches = -(-count // head.batch_size)
            edges = tf.constant(np.arange(batches + 1) * count // batches, tf.int32)
            total += run_chunk(chunk, tf.constant(order, tf.int32), tf.constant(shown, tf.int32), edges).numpy()
        return dict(zip(("loss", "accuracy"), (total / len(trained)).tolist(), strict=True))

    validate = None
    if held_out.any():
        watched = pictures[held_out]
        validation = on_device(watched if isinstance(watched, np.ndarray) else watched.read(), held_out)

        def validate() -> Measured:
            return dict(zip(("val_loss", "val_accuracy"), measure(*validation).numpy().tolist(), strict=True))

    return run_epochs(head, head.epochs, head.patience, train, validate, network.weights)


def _compiled(network: Any, head: "DenseClassifier", features: int) -> tuple[Any, Any]:
    """Two functions of a `Batch` on the device, its rows (m * K, features): train on it, measure it.

    Training takes an order of the pictures (m,), the row that is shown of each (m,) and the edges of the batches as
    well, and gives the sums of loss and right answers; measuring gives their means.
    """
    keras = import_keras()
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(head.learning_rate, weight_decay=head.weight_decay or None)
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
    def measure(inputs: Any, labels: Any, weights: Any) -> Any:
        logits = network(inputs, training=False)
        logits = tf.reduce_mean(tf.reshape(logits, (tf.size(labels), -1, len(head.classes_))), axis=1)
        return tf.stack([tf.reduce_mean(losses(logits, labels, weights)), tf.reduce_mean(right(logits, labels))])

    return run_chunk, measure


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
