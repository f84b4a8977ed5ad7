"""Train the layers above a cut, and the hyperplanes after them, on maps that were computed once.

maps at the cut -> tail -> pooled -> rows of length 1 -> hyperplanes -> softmax

An epoch shows every picture once, in one of its views. The loop is our own: `Model.fit` would build a pipeline that
copies all maps, and it shuffles with TensorFlow's global seed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from classify.heads.base import Labels
from classify.heads.dense.epochs import Measured, run_epochs
from classify.heads.dense.tensorboard import History
from classify.heads.finetune.tail_trainer import Trainer
from classify.heads.numerics import Floats
from featurize.backbones.tail import AT_ONCE

if TYPE_CHECKING:
    from classify.heads.finetune.finetune_head import FineTuneHead

WARM_UP = 0.1  # share of the steps in which the rate rises from 0, before it falls as a cosine
VALIDATION_VIEWS = 4  # of the pictures held out: fewer are noisier, all would take half as long as the training


@dataclass(frozen=True)
class Pictures:
    """maps (n, views, h, w, c), float16 or float32; labels (n,) that count the classes from 0; weights (n,)."""

    maps: np.ndarray
    labels: Labels
    weights: Floats

    def of(self, rows: np.ndarray) -> "Pictures":
        """Those of a mask (n,)."""
        if rows.all():  # maps are large
            return self
        return Pictures(self.maps[rows], self.labels[rows], self.weights[rows])


def train_tail(
    trainer: Trainer,
    head: "FineTuneHead",
    epochs: int,
    training: Pictures,
    held_out: Pictures,
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
    pictures: Pictures, chosen: np.ndarray, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(maps (m, h, w, c), labels (m,), weights (m,)) of the pictures `chosen`, each in one of its views."""
    views = random.randint(pictures.maps.shape[1], size=len(chosen))
    maps = pictures.maps[chosen, views].astype(np.float32)  # in numpy: TensorFlow says things about float16 on stderr
    return maps, pictures.labels[chosen], pictures.weights[chosen].astype(np.float32)


def _validate(probabilities: Callable[..., Any], held_out: Pictures) -> Measured:
    """Mean loss and accuracy of the pictures held out, each decided by the mean over its first views."""
    views = held_out.maps[:, :VALIDATION_VIEWS]
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
