"""A small dense network as a scikit-learn estimator: trained with Keras, kept and applied as plain arrays.

A fitted `DenseClassifier` holds no Keras object: predicting and loading it need neither Keras nor TensorFlow.
"""

from dataclasses import dataclass

import numpy as np

from cache.stored_rows import Rows, StoredRows
from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    FLAG,
    FOLDER,
    NORMALIZE,
    RANDOM_STATE,
    ClassWeight,
    FeatureHead,
    Labels,
    Seed,
    generator,
    number,
    or_none,
    parameter,
    whole,
)
from classify.heads.head_arrays import ArrayHead
from classify.heads.streaming import mapped, mean_square


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
        all epochs.
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

    def _fit(self, pictures: Rows, labels: Labels, groups: Indices) -> None:
        # Only training needs Keras.
        from classify.heads.dense.dense_training import build_network, plain_layers, train_network

        random = generator(self.random_state)
        # Adam's steps are of one size whatever the inputs are, so these are brought to a root mean square of 1; the
        # one number is then folded into the first layer.
        size = float(np.sqrt(mean_square(pictures))) or 1.0
        weights = self._row_weights(self.class_weight, labels)
        weights /= weights.mean()  # Adam's steps do not depend on it, and losses are then those of one picture
        fraction = self.validation_fraction
        if isinstance(pictures, StoredRows):  # what is held out is held in memory
            fraction = min(fraction, pictures.rows_at_once / len(pictures))
        held_out = held_out_rows(labels, groups, fraction, random)
        network = build_network(self, pictures.shape[-1], random)
        self.history_, self.best_epoch_ = train_network(
            network, self, mapped(pictures, lambda block: block / np.float32(size)), labels, weights, held_out, random
        )
        self.n_iter_ = len(self.history_["loss"])
        layers = plain_layers(network)
        layers[0] = layers[0][0] / size, layers[0][1]
        self.coefs_ = [kernel.astype(np.float32) for kernel, _ in layers]
        self.intercepts_ = [bias.astype(np.float32) for _, bias in layers]

    def arrays(self) -> ArrayHead:
        return self._array_head(list(zip(self.coefs_, self.intercepts_, strict=True)))


def held_out_rows(labels: Labels, groups: Indices, fraction: float, random: np.random.RandomState) -> np.ndarray:
    """Mask (n,) of the validation pictures: a share of each class, rounded, that leaves at least one to train on.

    groups: (n,) as of `copies_by_first`. Whole ones are held out, and never more pictures than the share: one that is
    too large is passed over. Copies with different labels are trained on.
    """
    originals = np.setdiff1d(groups, groups[labels != labels[groups]])
    sizes = np.bincount(groups, minlength=len(groups))
    held_out: list[int] = []
    for label in range(labels.max() + 1):
        members = random.permutation(originals[labels[originals] == label])
        trained_on = int(sizes[members].sum())
        left = round(fraction * trained_on)
        for member, size in zip(members.tolist(), sizes[members].tolist(), strict=True):
            if size <= left and size < trained_on:
                held_out.append(member)
                left, trained_on = left - size, trained_on - size
    return np.isin(groups, held_out)
