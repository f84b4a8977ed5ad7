"""Curves for TensorBoard: the history of heads that learn by epochs."""

import importlib.util
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

from cache.errors import UserError
from cache.files.atomic import require_writable
from classify.heads.head_table import make_head

History = dict[str, list[float]]  # name -> a value for each epoch


def with_curves(head: str, params: dict[str, Any] | None, folder: str | None) -> dict[str, Any]:
    """`params` of a head, with `folder`, unless it is None, as the one that it writes its curves to.

    Raises UserError, before any work, for a head that does not learn by epochs and where TensorBoard is not installed,
    `OSError` naming the folder where it cannot be written.
    """
    params = dict(params or {})
    if folder is not None:
        if "tensorboard" not in make_head(head).get_params():
            raise UserError(f"tensorboard {folder!r}: {head} does not learn by epochs: take HEAD=dense or finetune")
        if params.setdefault("tensorboard", folder) != folder:
            raise UserError(f"tensorboard {folder!r} contradicts the parameter {params['tensorboard']!r}: give one")
    if isinstance(params.get("tensorboard"), str):  # the head refuses other values
        _check(params["tensorboard"])
    return params


def curve_writer(folder: str | None) -> Callable[[int, History], None]:
    """A function that writes the last values of a history as those of an epoch, to a new folder in `folder`.

    For None a function that writes nothing. Raises as `with_curves`.
    """
    if folder is None:
        return lambda epoch, history: None  # noqa: ARG005
    _check(folder)
    import tensorflow as tf

    run = datetime.now().strftime("%Y%m%d-%H%M%S-%f")  # in the order of the fits, which may be short
    events = tf.summary.create_file_writer(os.path.join(folder, run))

    def write(epoch: int, history: History) -> None:
        with events.as_default(step=epoch):
            for name, values in history.items():
                tf.summary.scalar(name, values[-1])
        events.flush()

    return write


def _check(folder: str) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(f"tensorboard={folder!r}: TensorBoard is not installed: pip install '.[tensorboard]'")
    require_writable(os.path.join(folder, "events"))
