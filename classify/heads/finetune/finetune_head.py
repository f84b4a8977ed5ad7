"""Fine-tuning from the cache as a scikit-learn estimator: a linear head, and the layers of the backbone below it.

The rows are the maps at a cut; see `featurize.backbones.tail` for what lies above it, and
`classify.heads.finetune.finetune_training` for how it is trained. A fitted head holds arrays and no Keras object.
"""

import logging
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, column_or_1d

from cache.errors import UserError
from classify.data.split import Indices, copies_by_first
from classify.heads.base import (
    CLASS_WEIGHT,
    FLAG,
    FOLDER,
    RANDOM_STATE,
    Allowed,
    ClassWeight,
    Head,
    Labels,
    Seed,
    generator,
    number,
    or_none,
    whole,
)
from classify.heads.dense.dense_head import held_out_rows
from classify.heads.finetune.finetune_training import History, Pictures, Plan, train_tail
from classify.heads.finetune.linear_start import best_C, linear_start
from classify.heads.finetune.tail_trainer import Trainer, trainer
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.numerics import Floats
from featurize.backbones.tail import Tail
from featurize.backbones.tuned_weights import Tuned

log = logging.getLogger("bottleneck")

TAIL = Allowed(lambda value: isinstance(value, Tail), "a featurize.backbones.tail.Tail: what lies above the cut")


class FineTuneHead(Head):
    """The layers above a cut and a linear head, trained together on cached maps, from the pretrained weights on.

    It starts from a logistic regression on the pooled features, and goes on with Adam at a low rate that
    falls as a cosine. Each epoch shows each picture once, in one of its views.

    tail: what lies above the cut, see `featurize.backbones.tail.Tail.of`. C: of the logistic regression; None for the
    best of those that a search of `logreg` tries, see `classify.heads.finetune.linear_start`. learning_rate: the
    highest. epochs: the most that are run. patience: epochs without a lower loss on the pictures held out after which
    training stops, None for half of `epochs`. It is then done once more on all pictures, for twice as many epochs as
    were best where it was stopped, else for all. validation_fraction: share of each class held out for that, rounded,
    copies of a picture together; 0 trains once, on everything, for all epochs. batch_norm: whether batch normalisation
    learns from batches, dropout being on then; else both stay in inference mode. class_weight: as that of `logreg`; its
    scale counts for the start alone. verbose: 1 logs each epoch. tensorboard: a folder for its events, those of each
    fit in a folder of their own. random_state: as that of `dense`.

    Fitted: `tail_` (p,) float32, all weights of the tail in the order of `model.weights`; `kernel_` (d, k), `bias_`
    (k,); `history_` (seconds, loss, accuracy, val_loss, val_accuracy by epoch), `n_iter_` (epochs run),
    `best_epoch_` (0: nothing was better than the start), `C_` (of the start).
    """

    allowed: ClassVar[dict[str, Allowed]] = {
        "tail": or_none(TAIL),
        "C": or_none(number(0, open_end=True)),
        "learning_rate": number(0, open_end=True),
        "epochs": whole(1),
        "batch_size": whole(1),
        "patience": or_none(whole(1)),
        "validation_fraction": number(0, below=1),
        "batch_norm": FLAG,
        "class_weight": CLASS_WEIGHT,
        "random_state": RANDOM_STATE,
        "verbose": whole(0),
        "tensorboard": or_none(FOLDER),
    }

    _predictor: TunedHead | None = None

    def __init__(
        self,
        tail: Tail | None = None,
        C: float | None = None,
        learning_rate: float = 1e-4,
        epochs: int = 24,
        batch_size: int = 32,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        batch_norm: bool = False,
        class_weight: ClassWeight = None,
        random_state: Seed = None,
        verbose: int = 1,
        tensorboard: str | None = None,
    ) -> None:
        self.tail = tail
        self.C = C
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.batch_norm = batch_norm
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose
        self.tensorboard = tensorboard

    def fit(self, X: ArrayLike, y: Any, groups: ArrayLike | None = None) -> Self:
        """Learn from maps X (n, h, w, c), or of several views (n, K, h, w, c), and labels y (n,).

        groups: (n,), equal values for copies of one picture, which are held out together. Raises UserError for an
        invalid parameter, fewer than two classes, maps of another shape than those at the cut, and where training
        diverges, and ValueError for groups of another length.
        """
        self.check_parameters()
        if self.tail is None:
            raise UserError(
                "tail=None: give a featurize.backbones.tail.Tail, what lies above the cut that the maps come from"
            )
        y = column_or_1d(y)
        labels = self._encoded(y)
        with trainer(self.tail, len(self.classes_), self.batch_norm) as shared:
            self._fit_with(shared, X, y, labels, copies_by_first(groups, len(labels)))
        return self

    def _fit_with(self, shared: Trainer, X: ArrayLike, y: NDArray[Any], labels: Labels, groups: Indices) -> None:
        maps = with_views(np.asarray(X), shared.tail.input_shape[1:])
        self.map_shape_ = maps.shape[2:]
        features = shared.pretrained_features(maps.reshape(-1, *self.map_shape_)).reshape(*maps.shape[:2], -1)
        random = generator(self.random_state)
        weights = self._row_weights(self.class_weight, labels)
        pictures = Pictures(maps, labels, weights / weights.mean())  # Adam's steps do not depend on the mean
        plan = Plan(
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            patience=self.patience or -(-self.epochs // 2),
            verbose=self.verbose,
            tensorboard=self.tensorboard,
        )

        def train(plan: Plan, training: np.ndarray, held_out: np.ndarray) -> tuple[History, int]:
            shared.start(*linear_start(features[training], y[training], self.C_, self.class_weight))
            return train_tail(shared, plan, pictures.of(training), pictures.of(held_out), random)

        held_out = held_out_rows(labels, groups, self.validation_fraction, random)
        kept, everything = ~held_out, np.ones(len(labels), bool)
        self.C_ = best_C(features[kept, 0], y[kept], groups[kept], self.class_weight) if self.C is None else self.C
        if self.verbose:
            log.info("start: logistic regression with C=%g", self.C_)
        self.history_, self.best_epoch_ = train(plan, kept, held_out)
        self.n_iter_ = len(self.history_["loss"])
        if held_out.any():
            # A run whose rate falls to 0 goes in two epochs as far as one that was stopped near its highest in one.
            epochs = self.epochs if self.n_iter_ == self.epochs else min(2 * self.best_epoch_, self.epochs)
            train(replace(plan, epochs=epochs), everything, ~everything)
        self.tail_, self.kernel_, self.bias_ = shared.learnt()
        self._predictor = None

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities (n, k) float64 for maps X (n, h, w, c); the mean of those of the views of (n, M, h, w, c)."""
        check_is_fitted(self)
        if self._predictor is None:
            self._predictor = self.arrays()
        return self._predictor.predict_proba(X)

    def __getstate__(self) -> dict[str, Any]:
        """Without the network that predicts: it is made anew from the arrays."""
        return super().__getstate__() | {"_predictor": None}

    def arrays(self) -> TunedHead:
        """What predicts the same without scikit-learn."""
        return TunedHead(self.classes_, Tuned(self.tail_, self.kernel_, self.bias_), self.tail)


def with_views(maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Maps (n, h, w, c) or (n, K, h, w, c) as (n, K, h, w, c), a rendering of each being of `shape`.

    Raises UserError for others.
    """
    if maps.ndim == len(shape) + 1:
        maps = maps[:, None]
    if maps.ndim != len(shape) + 2 or maps.shape[2:] != tuple(shape):
        raise UserError(f"rows of shape {maps.shape[1:]}: the layers above the cut take maps of shape {tuple(shape)}")
    return maps
