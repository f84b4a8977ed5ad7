"""A small dense network as a scikit-learn estimator: trained with Keras, kept and applied as plain arrays.

A fitted `DenseClassifier` holds no Keras object: predicting and loading it need neither Keras nor TensorFlow.
"""

from typing import ClassVar

import numpy as np

from cache.stored_rows import Rows, StoredRows
from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    FLAG,
    FOLDER,
    NORMALIZE,
    RANDOM_STATE,
    Allowed,
    ClassWeight,
    Labels,
    LayeredHead,
    Seed,
    generator,
    number,
    or_none,
    whole,
)
from classify.heads.head_arrays import ArrayHead
from classify.heads.streaming import mapped, mean_square


class DenseClassifier(LayeredHead):
    """Softmax regression, or a network with one hidden layer of ReLU units, by Keras and Adam.

    hidden: units of the hidden layer, None for no hidden layer. dropout: share of the last layer's inputs dropped.
    batch_norm: normalise the hidden layer's outputs, or without one the features, by batch. weight_decay: decoupled, as
    in AdamW. epochs: the most that are run. patience: epochs without a lower validation loss after which training
    stops; the weights of the best epoch are kept. validation_fraction: share of each class held out for that, rounded,
    copies of a picture together; 0 trains on everything for all epochs. class_weight: `balanced` or {class: weight},
    whose scale has no meaning. random_state: with a number or a RandomState, two fits on one machine give the same
    weights; None draws new ones each time. No global generator is touched. verbose: 1 logs each epoch. tensorboard: a
    folder for its events, those of each fit in a folder of their own.

    An epoch shows each picture once, the next one of its K views: K epochs show them all. What is held out is decided
    by the mean of the views' logits.

    Rows that stay on the disk are read once for their size, once for those held out (no more than are read at once),
    and then once an epoch; once more before all that with `normalize="standard"`.

    Fitted: `coefs_`, `intercepts_` (lists of float32 arrays, one a layer), `history_` (loss, accuracy, val_loss,
    val_accuracy by epoch), `n_iter_` (epochs run), `best_epoch_`.
    """

    allowed: ClassVar[dict[str, Allowed]] = {
        "hidden": or_none(whole(1)),
        "dropout": number(0, below=1),
        "batch_norm": FLAG,
        "learning_rate": number(0, open_end=True),
        "weight_decay": number(0),
        "epochs": whole(1),
        "batch_size": whole(1),
        "patience": whole(1),
        "validation_fraction": number(0, below=1),
        "class_weight": CLASS_WEIGHT,
        "normalize": NORMALIZE,
        "random_state": RANDOM_STATE,
        "verbose": whole(0),
        "tensorboard": or_none(FOLDER),
    }

    def __init__(
        self,
        hidden: int | None = None,
        dropout: float = 0.5,
        batch_norm: bool = False,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.0,
        epochs: int = 100,
        batch_size: int = 32,
        patience: int = 10,
        validation_fraction: float = 0.1,
        class_weight: ClassWeight = None,
        normalize: str = "l2",
        random_state: Seed = None,
        verbose: int = 0,
        tensorboard: str | None = None,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.normalize = normalize
        self.random_state = random_state
        self.verbose = verbose
        self.tensorboard = tensorboard

    def _fit(self, pictures: Rows, labels: Labels, groups: Indices) -> None:
        # Only training needs Keras.
        from classify.heads.dense.dense_training import Plan, build_network, plain_layers, train_network

        random = generator(self.random_state)
        plan = Plan(
            classes=len(self.classes_),
            hidden=self.hidden,
            dropout=self.dropout,
            batch_norm=self.batch_norm,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch_size=self.batch_size,
            patience=self.patience,
            verbose=self.verbose,
            tensorboard=self.tensorboard,
        )
        # Adam's steps are of one size whatever the inputs are, so these are brought to a root mean square of 1; the
        # one number is then folded into the first layer.
        size = float(np.sqrt(mean_square(pictures))) or 1.0
        weights = self._row_weights(self.class_weight, labels)
        weights /= weights.mean()  # Adam's steps do not depend on it, and losses are then those of one picture
        fraction = self.validation_fraction
        if isinstance(pictures, StoredRows):  # what is held out is held in memory
            fraction = min(fraction, pictures.rows_at_once / len(pictures))
        held_out = held_out_rows(labels, groups, fraction, random)
        network = build_network(plan, pictures.shape[-1], random)
        self.history_, self.best_epoch_ = train_network(
            network, plan, mapped(pictures, lambda block: block / np.float32(size)), labels, weights, held_out, random
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
