"""A small dense network as a scikit-learn estimator: trained with Keras, kept and applied as plain arrays.

A fitted `DenseClassifier` holds no Keras object: predicting and loading it need neither Keras nor TensorFlow.

The epochs run in a loop of our own: `Model.fit` builds a new input pipeline for each epoch, which for a few hundred
rows takes ten times as long as the training itself (0.2 s instead of 0.02 s an epoch, measured), and it shuffles with
TensorFlow's global seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.arguments import number, or_none, whole
from cache.stored_rows import Rows, StoredRows
from classify.data.inner_split import held_out_rows
from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    FLAG,
    FOLDER,
    NORMALIZE,
    RANDOM_STATE,
    ClassWeight,
    Examples,
    FeatureHead,
    Seed,
    generator,
    parameter,
)
from classify.heads.dense.epochs import Measured, run_epochs
from classify.heads.dense.tensorboard import History
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Layers, as_rows
from classify.heads.streaming import chunks, mapped, mean_square
from featurize.engines.keras_import import import_keras

Batch = tuple[Any, Any, Any]  # tensors: rows (m * K, d) float32 of m pictures, labels (m,) int32, weights (m,) float32


@dataclass(eq=False, repr=False)
class DenseClassifier(FeatureHead):
    """Softmax regression, or a network with one hidden layer of ReLU units, by Keras and Adam.

    An epoch shows each picture once, the next one of its K views: K epochs show them all. Held-out pictures are decided
    by the mean of the logits of their views. Stored rows are read once for their size, once for those held out (no more
    than are read at once), and then once an epoch; once more before all that with `normalize="standard"`.

    Parameters
    ----------
    hidden : int, optional
        Units of the hidden layer, None for no hidden layer.
    dropout : float
        Share of the last layer's inputs that are dropped.
    batch_norm : bool
        Normalise by batch the hidden layer's outputs, or without one the features.
    learning_rate : float
    weight_decay : float
        Decoupled, as in AdamW.
    epochs : int
        The most epochs.
    batch_size : int
    patience : int
        Epochs without a lower validation loss after which training stops; the weights of the best epoch are kept.
    validation_fraction : float
        Share of each class that is held out for that, rounded, copies of a picture together. 0 trains on everything for
        all epochs. Without meaning where `fit` is given held-out pictures.
    class_weight : "balanced", dict of class: weight, optional
        Its scale has no meaning.
    normalize : {"l2", "standard", "none"}
        What is done to a row first: length 1, mean 0 and deviation 1 of each feature, or nothing.
    random_state : int or numpy RandomState, optional
        With one, two fits on one machine give the same weights; None draws new ones each time. No global generator is
        touched.
    verbose : int
        1 logs each epoch.
    tensorboard : str, optional
        A folder for the curves, those of each fit in a folder of their own.

    Attributes
    ----------
    coefs_, intercepts_ : lists of float32 arrays
        One a layer.
    history_ : dict of lists
        loss, accuracy, val_loss and val_accuracy by epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run, and the best of them.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> head = DenseClassifier(epochs=20, learning_rate=0.01, random_state=0).fit(X[:1000], y[:1000])
    >>> head.score(X[1000:], y[1000:]) > 0.85
    True
    """

    hidden: int | None = parameter(None, or_none(whole(1)))
    dropout: float = parameter(0.5, number(0, below=1))
    batch_norm: bool = parameter(False, FLAG)
    learning_rate: float = parameter(3e-4, number(0, open_end=True))
    weight_decay: float = parameter(0.0, number(0))
    epochs: int = parameter(100, whole(1))
    batch_size: int = parameter(32, whole(1))
    patience: int = parameter(10, whole(1))
    validation_fraction: float = parameter(0.1, number(0, below=1))
    class_weight: ClassWeight = parameter(None, CLASS_WEIGHT)
    normalize: str = parameter("l2", NORMALIZE)
    random_state: Seed = parameter(None, RANDOM_STATE)
    verbose: int = parameter(0, whole(0))
    tensorboard: str | None = parameter(None, or_none(FOLDER))

    @property
    def validates(self) -> str | None:
        return "early stopping" if self.validation_fraction else None

    def _fit(self, training: Examples, groups: Indices, validation: Examples | None) -> None:
        random = generator(self.random_state)
        pictures: Rows = training.pictures
        labels = training.labels
        # Adam's steps are of one size whatever the inputs are, so these are brought to a root mean square of 1; the
        # one number is then folded into the first layer.
        size = float(np.sqrt(mean_square(pictures))) or 1.0
        weights = self._row_weights(self.class_weight, labels, training.weights)
        mean = weights.mean()  # Adam's steps do not depend on it, and losses are then those of one picture
        scaled = Examples(mapped(pictures, lambda block: block / np.float32(size)), labels, weights / mean)
        if validation:
            inputs = mapped(validation.pictures, lambda block: block / np.float32(size))
            of_validation = self._validation_weights(self.class_weight, training, validation) / mean
            watched = Examples(inputs, validation.labels, of_validation)
        else:
            fraction = self.validation_fraction
            if isinstance(pictures, StoredRows):  # what is held out is held in memory
                fraction = min(fraction, pictures.rows_at_once / len(pictures))
            held_out = held_out_rows(labels, groups, fraction, random)
            scaled, watched = scaled.of(~held_out), scaled.of(held_out)
        network = build_network(self, pictures.shape[-1], random)
        self.history_, self.best_epoch_ = train_network(network, self, scaled, watched, random)
        self.n_iter_ = len(self.history_["loss"])
        layers = plain_layers(network)
        layers[0] = layers[0][0] / size, layers[0][1]
        self.coefs_ = [kernel.astype(np.float32) for kernel, _ in layers]
        self.intercepts_ = [bias.astype(np.float32) for _, bias in layers]

    def arrays(self) -> ArrayHead:
        return self._array_head(list(zip(self.coefs_, self.intercepts_, strict=True)))


def build_network(head: DenseClassifier, features: int, random: np.random.RandomState) -> Any:
    """The untrained Keras network from `features` inputs to a logit a class.

    Every layer has a seed of its own, so that no global generator is drawn from.
    """
    keras = import_keras()

    layers = [keras.Input((features,))]
    if head.hidden is not None:
        initial = keras.initializers.GlorotUniform(seed=random.randint(2**31 - 1))
        layers.append(keras.layers.Dense(int(head.hidden), kernel_initializer=initial))
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
    head: DenseClassifier,
    training: Examples,
    watched: Examples,
    random: np.random.RandomState,
) -> tuple[History, int]:
    """Fit `network` in place with Adam on cross-entropy; returns what `run_epochs` does.

    Pictures (n, d) or (n, K, d) float32. An epoch shows one view of each picture in `training`; those of `watched`,
    which may be none, are decided by the mean of the logits of their views, and stop the training. The weights of
    pictures count in every loss, not in accuracy. Stored rows are in memory a chunk at a time.
    """
    import tensorflow as tf

    run_chunk, measure = _compiled(network, head, training.pictures.shape[-1])

    def batches_of(examples: Examples, random: np.random.RandomState | None = None) -> Iterator[Batch]:
        for members, block in chunks(examples.pictures, random):
            yield (
                tf.constant(as_rows(block), tf.float32),
                tf.constant(examples.labels[members], tf.int32),
                tf.constant(examples.weights[members], tf.float32),
            )

    # Of a single chunk, as every array is, the tensors stay.
    resident = [*batches_of(training, random)] if isinstance(training.pictures, np.ndarray) else None
    few = isinstance(watched.pictures, np.ndarray) or len(watched.labels) <= watched.pictures.rows_at_once
    held = [*batches_of(watched)] if few else None

    def train(epoch: int) -> Measured:
        total = np.zeros(2)
        for chunk in resident or batches_of(training, random):
            count = len(chunk[1])
            views = len(chunk[0]) // count
            order = random.permutation(count)
            shown = order * views + (order + epoch) % views
            # Batches of equal size, within one: a last batch of a single row would throw batch normalisation off.
            batches = -(-count // head.batch_size)
            edges = tf.constant(np.arange(batches + 1) * count // batches, tf.int32)
            total += run_chunk(chunk, tf.constant(order, tf.int32), tf.constant(shown, tf.int32), edges).numpy()
        return dict(zip(("loss", "accuracy"), (total / len(training.labels)).tolist(), strict=True))

    def validate() -> Measured:
        sums = np.sum([measure(*chunk).numpy() for chunk in held or batches_of(watched)], axis=0)
        return dict(zip(("val_loss", "val_accuracy"), (sums / len(watched.labels)).tolist(), strict=True))

    watching = validate if len(watched.labels) else None
    return run_epochs(head, head.epochs, head.patience, train, watching, network.weights)


def _compiled(network: Any, head: DenseClassifier, features: int) -> tuple[Any, Any]:
    """Two functions of a `Batch` on the device, its rows (m * K, features): train on it, measure it.

    Training takes an order of the pictures (m,), the row that is shown of each (m,) and the edges of the batches as
    well. Both give the sums of loss and right answers.
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
        return tf.stack([tf.reduce_sum(losses(logits, labels, weights)), tf.reduce_sum(right(logits, labels))])

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
