"""The files of a saved model: which are written beside it, and which are read with it."""

import os
from collections.abc import Sequence
from typing import Any

from cache.errors import UserError
from featurize.outputs import Named, named

MODEL_FILES = (".joblib", ".json", ".npz")
SCORES = ("classes", "confusion", "confusion_normalized")
OF_CV = tuple(f"cv.{name}" for name in SCORES)
TABLES = tuple(f".{name}.csv" for name in (*SCORES, *OF_CV, "predictions", "history", "search"))
EVALUATION = (".evaluation.json", *(f".evaluation.{name}.csv" for name in (*SCORES, "predictions")))
NEXT = ".next"  # suffix of files of a model that is being saved
EVERY = (*MODEL_FILES, *TABLES, *EVALUATION)


def files_of(model: str, suffixes: Sequence[str] = EVERY) -> list[str]:
    """The paths of a model's files, whether they are there or not."""
    stem = os.path.splitext(model)[0]
    return [stem + suffix for suffix in suffixes]


def record_path(model: str) -> str:
    """Path of the JSON record of the model file `model`. Raises UserError unless it ends in `.joblib`."""
    stem, suffix = os.path.splitext(model)
    if suffix != ".joblib":
        raise UserError(f"model {model}: the name of a model file ends in .joblib, that of a bundle in .zip")
    return stem + ".json"


def arrays_path(model: str) -> str:
    """Path of the plain arrays of the model file `model`."""
    return os.path.splitext(model)[0] + ".npz"


def with_next(path: str) -> tuple[str, str]:
    """The file that is to be named `path` when the model is saved, and the one of this name."""
    return path + NEXT, path


def stamp_of(path: str) -> tuple[int, ...] | None:
    """What is another one when a file is replaced or changed; None where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def previous_of(model: str) -> str:
    """Where the model that `model` replaces is kept, see `classify.saved.previous`."""
    stem, suffix = os.path.splitext(model)
    return f"{stem}.previous{suffix}"


def written_by_training(model: str, tensorboard: str | None = None) -> list[Named]:
    """What training as `model` writes, with curves in the folder `tensorboard`, for `check_outputs`."""
    curves = None if tensorboard is None else os.path.join(tensorboard, "events")
    return named("--model", *files_of(model), *files_of(previous_of(model))) + named("--tensorboard", curves)


def read_with_model(model: str, record: dict[str, Any]) -> list[Named]:
    """What a saved model consists of, and the files of its weights, for `check_outputs`."""
    places = record["weights"] if isinstance(record["weights"], list) else [record["weights"]]
    files = dict.fromkeys([model, *files_of(model)])
    return named("--model", *files) + named("--weights", *(place["path"] for place in places))
