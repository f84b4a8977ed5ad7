"""Train the layers above a cut, and the hyperplanes after them, on maps that were computed once.

maps at the cut -> tail -> pooled -> rows of length 1 -> hyperplanes -> softmax

An epoch shows every picture once, in one of its views. The loop is our own: `Model.fit` would build a pipeline that
copies all maps, and it shuffles with TensorFlow's global seed.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.errors import UserError
from classify.heads.base import Labels
from classify.heads.dense.tensorboard import History, curve_writer
from classify.heads.finetune.tail_trainer import Trainer
from classify.heads.numerics import Floats
from featurize.backbones.tail import AT_ONCE

log = logging.getLogger("bottleneck")

WARM_UP = 0.1  # share of the steps in which the rate rises from 0, before it falls as a cosine
WATCHED_VIEWS = 4  # of the pictures held out: fewer are noisier, all would take half as long as the training


@dataclass(frozen=True)
class Plan:
    """How to train; the fields are the parameters of `FineTuneHead`."""

    learning_rate: float
    epochs: int
    batch_size: int
    patience: int
    verbose: int
    tensorboard: str | None


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
    plan: Plan,
    training: Pictures,
    held_out: Pictures,
    random: np.random.RandomState,
) -> tuple[History, int]:
    """Let `trainer` learn, with Adam on cross-entropy, from where it stands.

    Where anything is held out, training stops after `plan.patience` epochs without a lower loss on it, and the weights
    of the best epoch come back, which may be those before the first; otherwise all epochs are run. Returns the history
    and the number of the best epoch, from 1, or 0. Raises UserError where the loss grows beyond all bounds.
    """
    count = len(training.labels)
    batches = -(-count // plan.batch_size)
    names = ["seconds", "loss", "accuracy"] + (["val_loss", "val_accuracy"] if len(held_out.labels) else [])
    history: History = {name: [] for name in names}
    write = curve_writer(plan.tensorboard)
    variables = trainer.variables
    best_epoch, best_weights = 0, [variable.numpy() for variable in variables]
    best_loss = _watch(trainer.probabilities, held_out)[0] if len(held_out.labels) else np.inf
    for epoch in range(1, plan.epochs + 1):
        start = time.perf_counter()
        total = np.zeros(2)
        order = random.permutation(count)
        for batch in range(batches):
            chosen = order[batch * count // batches : (batch + 1) * count // batches]
            rate = plan.learning_rate * _schedule(((epoch - 1) * batches + batch + 1) / (plan.epochs * batches))
            total += trainer.step(*_batch(training, chosen, random), np.float32(rate)).numpy()
        measured = [time.perf_counter() - start, *(total / count)]
        if len(held_out.labels):
            measured += _watch(trainer.probabilities, held_out)
        for values, value in zip(history.values(), measured, strict=True):
            values.append(value)
        if not np.isfinite(measured).all():
            raise UserError(f"training diverged in epoch {epoch}: give a learning_rate below {plan.learning_rate:g}")
        write(epoch, history)
        if plan.verbose:
            log.info("epoch %d/%d %s", epoch, plan.epochs, " ".join(f"{n} {v[-1]:.4f}" for n, v in history.items()))
        if not len(held_out.labels):
            best_epoch = epoch
        elif history["val_loss"][-1] < best_loss:
            best_epoch, best_loss = epoch, history["val_loss"][-1]
            best_weights = [variable.numpy() for variable in variables]
        elif epoch - best_epoch >= plan.patience:
            break
    if len(held_out.labels):
        for variable, value in zip(variables, best_weights, strict=True):
            variable.assign(value)
    return history, best_epoch


def _batch(
    pictures: Pictures, chosen: np.ndarray, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(maps (m, h, w, c), labels (m,), weights (m,)) of the pictures `chosen`, each in one of its views."""
    views = random.randint(pictures.maps.shape[1], size=len(chosen))
    maps = pictures.maps[chosen, views].astype(np.float32)  # in numpy: TensorFlow says things about float16 on stderr
    return maps, pictures.labels[chosen], pictures.weights[chosen].astype(np.float32)


def _watch(probabilities: Callable[..., Any], held_out: Pictures) -> list[float]:
    """Mean loss and accuracy of the pictures held out, each answered by the mean over its first views."""
    views = held_out.maps[:, :WATCHED_VIEWS]
    parts = [
        np.mean([probabilities(some[:, view].astype(np.float32)).numpy() for view in range(views.shape[1])], axis=0)
        for some in np.array_split(views, -(-len(views) // AT_ONCE))
    ]
    found = np.concatenate(parts)
    true = found[np.arange(len(found)), held_out.labels]
    losses = -np.log(np.maximum(true, np.finfo(np.float32).tiny))
    return [float(np.average(losses, weights=held_out.weights)), float((found.argmax(1) == held_out.labels).mean())]


def _schedule(progress: float) -> float:
    """The rate at a share of all steps, relative to the highest: a short rise, then a cosine to 0.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
    """
    return float(min(1.0, progress / WARM_UP) * (1 + np.cos(np.pi * progress)) / 2)
