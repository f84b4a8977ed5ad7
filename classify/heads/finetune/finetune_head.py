"""Fine-tuning from the cache as a scikit-learn estimator: a linear head, and the layers of the backbone below it.

maps at the cut -> tail -> pooled -> rows of length 1 -> hyperplanes -> softmax

See `featurize.backbones.tail` for what lies above the cut. An epoch shows every picture once, in one of its views. The
loop is our own: `Model.fit` would build a pipeline that copies all maps, and it shuffles with TensorFlow's global seed.
A fitted head holds arrays and no Keras object.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted, column_or_1d

from cache.arguments import Allowed, number, or_none, whole
from cache.errors import UserError, log
from classify.data.inner_split import held_out_rows
from classify.data.split import Indices
from classify.heads.base import (
    CLASS_WEIGHT,
    FLAG,
    FOLDER,
    RANDOM_STATE,
    ClassWeight,
    Examples,
    Head,
    Seed,
    Validation,
    choice,
    generator,
    parameter,
)
from classify.heads.dense.epochs import Measured, run_epochs
from classify.heads.dense.tensorboard import History
from classify.heads.finetune.linear_start import best_C, linear_start
from classify.heads.finetune.tail_trainer import Trainer, trainer
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.numerics import Floats
from featurize.backbones.tail import AT_ONCE, Tail, Tuned
from featurize.machine.parallel import THREADS
from featurize.machine.processor import has_bf16_matrices

# A batch is computed in parts side by side: within one operation a core waits for another that has other work to do.
PART, MOST_PARTS = 16, 2  # the fewest pictures of a part; more than two parts were not measured
WARM_UP = 0.1  # share of the steps in which the rate rises from 0, before it falls as a cosine
VALIDATION_VIEWS = 4  # of the pictures held out: fewer are noisier, all would take half as long as the training
TAIL = Allowed(lambda value: isinstance(value, Tail), "a featurize.backbones.tail.Tail: what lies above the cut")


@dataclass(eq=False, repr=False)
class FineTuneHead(Head):
    """The layers above a cut and a linear head, trained together on cached maps, from the pretrained weights on.

    Training starts from a logistic regression on the pooled features, and goes on with Adam at a low rate that falls as
    a cosine. An epoch shows each picture once, in one of its views. After early stopping a second run trains on all
    pictures, for twice as many epochs as were best, at most for `epochs`; where `fit` is given held-out pictures, the
    first run has trained on all, and its best epoch is kept.

    Parameters
    ----------
    tail : featurize.backbones.tail.Tail
        The layers above the cut, see `Tail.of`.
    C : float, optional
        Of the logistic regression; None for the best of those that a search of `logreg` tries.
    learning_rate : float
        The highest.
    epochs : int
        The most epochs.
    batch_size : int
    patience : int, optional
        Epochs without a lower loss on held-out pictures after which training stops; None for half of `epochs`.
    validation_fraction : float
        Share of each class that is held out for that, rounded, copies of a picture together. 0 trains once, on
        everything, for all epochs. Without meaning where `fit` is given held-out pictures.
    batch_norm : bool
        Whether batch normalisation learns from batches, with dropout; else both stay in inference mode.
    precision : str
        Of the products in convolutions while it trains: float32, bf16, or auto for bf16 where the processor has
        matrices of it (AMX), which is announced. With `batch_norm` it trains in float32. Weights are float32.
    class_weight : "balanced", dict of class: weight, optional
        As that of `LogRegHead`; its scale counts for the start alone.
    random_state : int or numpy RandomState, optional
        As that of `DenseClassifier`.
    verbose : int
        1 logs each epoch.
    tensorboard : str, optional
        A folder for the curves, those of each fit in a folder of their own.

    Attributes
    ----------
    tail_ : array (p,), float32
        All weights of the tail in the order of `model.weights`.
    kernel_, bias_ : arrays (d, k) and (k,)
    history_ : dict of lists
        seconds, loss, accuracy, val_loss and val_accuracy by epoch.
    n_iter_, best_epoch_ : int
        Epochs that were run, and the best of them; 0 where nothing was better than the start.
    C_ : float
        Of the start.

    Examples
    --------
    >>> import pipeline
    >>> extractor = pipeline.open_extractor(backbone="nano", layer="down16", pooling="none")  # doctest: +SKIP
    >>> outcome, maps = extractor.features(paths)  # doctest: +SKIP
    >>> head = FineTuneHead(extractor.tail(), epochs=8).fit(maps, labels)  # doctest: +SKIP
    """

    tail: Tail | None = parameter(None, or_none(TAIL))
    C: float | None = parameter(None, or_none(number(0, open_end=True)))
    learning_rate: float = parameter(3e-4, number(0, open_end=True))
    epochs: int = parameter(8, whole(1))
    batch_size: int = parameter(32, whole(1))
    patience: int | None = parameter(None, or_none(whole(1)))
    validation_fraction: float = parameter(0.1, number(0, below=1))
    batch_norm: bool = parameter(False, FLAG)
    precision: str = parameter("auto", choice("auto", "float32", "bf16"))
    class_weight: ClassWeight = parameter(None, CLASS_WEIGHT)
    random_state: Seed = parameter(None, RANDOM_STATE)
    verbose: int = parameter(1, whole(0))
    tensorboard: str | None = parameter(None, or_none(FOLDER))

    _predictor = None  # type: TunedHead | None  # no annotation: that would be a parameter

    @property
    def validates(self) -> str | None:
        return "early stopping" if self.validation_fraction else None

    def fit(
        self,
        X: ArrayLike,
        y: Any,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        validation: Validation | None = None,
    ) -> Self:
        """Learn from maps X (n, h, w, c), or of several views (n, K, h, w, c), and labels y (n,).

        The other arguments are those of `FeatureHead.fit`; the search for C does not weigh pictures. Raises UserError
        as it does, for maps of another shape than those at the cut, and where training diverges; ValueError as it does.
        """
        self.check_parameters()
        if self.tail is None:
            raise UserError(
                "tail=None: give a featurize.backbones.tail.Tail, what lies above the cut that the maps come from"
            )
        training, copies = self._counted(np.asarray(X), column_or_1d(y), groups, sample_weight)
        held_out = None if validation is None else self._held_out(np.asarray(validation[0]), validation[1])
        parts = min(THREADS, MOST_PARTS, self.batch_size // PART)
        with trainer(self.tail, len(self.classes_), self.batch_norm, self._precision(), max(parts, 1)) as shared:
            self._fit_with(shared, training, copies, held_out)
        return self

    def _fit_with(self, shared: Trainer, training: Examples, groups: Indices, validation: Examples | None) -> None:
        labels, y, expected = training.labels, self.classes_[training.labels], tuple(shared.tail.input_shape[1:])
        maps = _with_views(training.pictures, expected)
        self.map_shape_ = maps.shape[2:]
        features = shared.pretrained_features(maps.reshape(-1, *self.map_shape_)).reshape(*maps.shape[:2], -1)
        random = generator(self.random_state)
        weights = self._row_weights(self.class_weight, labels, training.weights)
        mean = weights.mean()  # Adam's steps do not depend on it
        pictures = Examples(maps, labels, weights / mean)

        def train(epochs: int, kept: np.ndarray, watched: Examples) -> tuple[History, int]:
            start = features[kept], y[kept], self.C_, self.class_weight, training.weights[kept]
            shared.start(*linear_start(*start))
            return train_tail(shared, self, epochs, pictures.of(kept), watched, random)

        everything = np.ones(len(labels), bool)
        if validation:
            held_out = ~everything
            of_validation = self._validation_weights(self.class_weight, training, validation) / mean
            watched = Examples(_with_views(validation.pictures, expected), validation.labels, of_validation)
        else:
            held_out = held_out_rows(labels, groups, self.validation_fraction, random)
            watched = pictures.of(held_out)
        kept = ~held_out
        self.C_ = best_C(features[kept, 0], y[kept], groups[kept], self.class_weight) if self.C is None else self.C
        if self.verbose:
            log.info("start: logistic regression with C=%g", self.C_)
        self.history_, self.best_epoch_ = train(self.epochs, kept, watched)
        self.n_iter_ = len(self.history_["loss"])
        if held_out.any():
            # A run whose rate falls to 0 goes in two epochs as far as one that was stopped near its highest in one.
            epochs = self.epochs if self.n_iter_ == self.epochs else min(2 * self.best_epoch_, self.epochs)
            train(epochs, everything, pictures.of(~everything))
        self.tail_, self.kernel_, self.bias_ = shared.learnt()
        self._predictor = None

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities (n, k) float64 for maps X (n, h, w, c); the mean of those of the views of (n, M, h, w, c)."""
        check_is_fitted(self)
        if self._predictor is None:
            self._predictor = self.arrays()
        return self._predictor.predict_proba(X)

    def _precision(self) -> str:
        """`precision`, auto resolved."""
        if self.precision != "auto":
            return self.precision
        if self.batch_norm or not has_bf16_matrices():
            return "float32"
        if self.verbose:
            log.info("trains with products in bfloat16, which this processor has; precision=float32 rules that out")
        return "bf16"

    def __getstate__(self) -> dict[str, Any]:
        """Without the network that predicts: it is made anew from the arrays."""
        return super().__getstate__() | {"_predictor": None}

    def arrays(self) -> TunedHead:
        """What predicts the same without scikit-learn."""
        return TunedHead(self.classes_, Tuned(self.tail_, self.kernel_, self.bias_), self.tail)


def _with_views(maps: np.ndarray, expected: tuple[int, ...]) -> np.ndarray:
    """Maps (n, views, h, w, c) of (n, h, w, c) or these. Raises UserError where (h, w, c) is not as expected."""
    if maps.ndim == len(expected) + 1:
        maps = maps[:, None]
    if maps.ndim != len(expected) + 2 or maps.shape[2:] != expected:
        raise UserError(f"rows of shape {maps.shape[1:]}: the layers above the cut take maps of shape {expected}")
    return maps


def train_tail(
    trainer: Trainer,
    head: FineTuneHead,
    epochs: int,
    training: Examples,
    held_out: Examples,
    random: np.random.RandomState,
) -> tuple[History, int]:
    """Let `trainer` learn from its present weights, with Adam on cross-entropy; returns what `run_epochs` does.

    Held-out pictures, where there are any, stop the training; the best epoch may be that before the first (0).
    """
    count = len(training.labels)
    batches = -(-count // head.batch_size)

    def train(epoch: int) -> Measured:
        start = time.perf_counter()
        total = np.zeros(2)
        order = random.permutation(count)
        for batch in range(batches):
            chosen = order[batch * count // batches : (batch + 1) * count // batches]
            rate = head.learning_rate * _schedule(((epoch - 1) * batches + batch + 1) / (epochs * batches))
            total += trainer.step(*_batch(training, chosen, random), np.float32(rate)).numpy()
        loss, accuracy = (total / count).tolist()
        return {"seconds": time.perf_counter() - start, "loss": loss, "accuracy": accuracy}

    patience = head.patience or -(-head.epochs // 2)
    if not len(held_out.labels):
        return run_epochs(head, epochs, patience, train, None, trainer.variables)
    validate = partial(_validate, trainer.probabilities, held_out)
    return run_epochs(head, epochs, patience, train, validate, trainer.variables, validate()["val_loss"])


def _batch(
    pictures: Examples, chosen: np.ndarray, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(maps (m, h, w, c), labels (m,), weights (m,)) of the pictures `chosen`, each in one of its views."""
    views = random.randint(pictures.pictures.shape[1], size=len(chosen))
    maps = pictures.pictures[chosen, views].astype(
        np.float32
    )  # in numpy: TensorFlow says things about float16 on stderr
    return maps, pictures.labels[chosen], pictures.weights[chosen].astype(np.float32)


def _validate(probabilities: Callable[..., Any], held_out: Examples) -> Measured:
    """Mean loss and accuracy of the pictures held out, each decided by the mean over its first views."""
    views = held_out.pictures[:, :VALIDATION_VIEWS]
    parts = [
        np.mean([probabilities(some[:, view].astype(np.float32)).numpy() for view in range(views.shape[1])], axis=0)
        for some in np.array_split(views, -(-len(views) // AT_ONCE))
    ]
    found = np.concatenate(parts)
    true = found[np.arange(len(found)), held_out.labels]
    losses = -np.log(np.maximum(true, np.finfo(np.float32).tiny))
    loss, accuracy = np.average(losses, weights=held_out.weights), (found.argmax(1) == held_out.labels).mean()
    return {"val_loss": float(loss), "val_accuracy": float(accuracy)}


def _schedule(progress: float) -> float:
    """The rate at a share of all steps, relative to the highest: a short rise, then a cosine to 0.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
    """
    return float(min(1.0, progress / WARM_UP) * (1 + np.cos(np.pi * progress)) / 2)
