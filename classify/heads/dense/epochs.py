"""The loop over epochs: history, curves, early stopping, and the weights of the best epoch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cache.errors import UserError, log
from classify.heads.dense.tensorboard import History, curve_writer

Measured = dict[str, float]


def run_epochs(
    head: Any,
    epochs: int,
    patience: int,
    train: Callable[[int], Measured],
    validate: Callable[[], Measured] | None,
    variables: list[Any],
    best_loss: float = np.inf,
) -> tuple[History, int]:
    """Run up to `epochs` epochs; returns the history and the number of the best epoch, from 1.

    head: its `learning_rate`, `verbose` and `tensorboard` are read. train: runs the epoch of a number from 1. validate:
    measures `val_loss` among others. variables: TensorFlow variables, all that `validate` depends on.

    With `validate`, training stops after `patience` epochs without a lower loss than the lowest, which is `best_loss`
    at first, and the variables get their values after the best epoch, or before the first (0) if no loss is lower.
    Raises UserError where a loss grows without bounds.
    """
    history: History = {}
    write = curve_writer(head.tensorboard)
    best_epoch, best_values = 0, [variable.numpy() for variable in variables]
    for epoch in range(1, epochs + 1):
        measured = train(epoch) | (validate() if validate else {})
        for name, value in measured.items():
            history.setdefault(name, []).append(value)
        if not np.isfinite([*measured.values()]).all():
            raise UserError(f"training diverged in epoch {epoch}: give a learning_rate below {head.learning_rate:g}")
        write(epoch, history)
        if head.verbose:
            shown = " ".join(f"{name} {value:.4f}" for name, value in measured.items())
            log.info("epoch %d/%d %s", epoch, epochs, shown)
        if not validate:
            best_epoch = epoch
        elif measured["val_loss"] < best_loss:
            best_epoch, best_loss = epoch, measured["val_loss"]
            best_values = [variable.numpy() for variable in variables]
        elif epoch - best_epoch >= patience:
            break
    if validate:
        for variable, value in zip(variables, best_values, strict=True):
            variable.assign(value)
    return history, best_epoch
