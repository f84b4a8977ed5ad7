"""Training over a model of other data or classes: announced before the training, the old model kept.

The old one is kept as `NAME.previous.joblib`, which loads by itself, with its tables as `NAME.previous.*`. Of the same
data and classes a new model simply replaces the old one.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import UserError, listed, log
from cache.files.atomic import replacing, sync_file
from cache.row_key import DIGEST_BYTES
from classify.data.dataset import Dataset
from classify.data.split import leaks
from classify.saved.data_source import Source
from classify.saved.model_files import (
    EVALUATION,
    MODEL_FILES,
    TABLES,
    arrays_path,
    files_of,
    previous_of,
    record_path,
)  # fmt: skip
from classify.saved.npz import read_arrays
from classify.saved.persist import check_writable, put
from classify.saved.record import own_digest, read_files, read_regular, sealed, shown
from classify.saved.verify_record import find_arrays

SAME = 0.5  # share of a model's training pictures that the same data still has

NO_MODEL = (ValueError, KeyError)  # what reading files raises that are none


def announce_replacing(model: str, source: Source, dataset: Dataset) -> None:
    """Say in one line that a model trained on `dataset` will replace one of other data or classes, where it will.

    Raises UserError as `replaced`, `OSError` naming the file where the old model could not be kept.
    """
    if old := replaced(model, source, dataset):
        check_writable(kept := previous_of(model))
        there = ", in place of the one kept there" if os.path.lexists(kept) else ""
        new = _described(source, _classes(dataset))
        log.info("%s is %s; it is replaced by a model of %s, and kept as %s%s", model, old, new, kept, there)


def replaced(model: str, source: Source, dataset: Dataset) -> str | None:
    """What a model trained on `dataset` would replace, in words; None where nothing is there, or one of the same data.

    The same: equal classes and source, and at least half of the pictures that the old one was trained on are in
    `dataset`. Raises `OSError` for files that cannot be read.
    """
    if not any(map(os.path.lexists, files_of(model, (*MODEL_FILES, *TABLES)))):
        return None
    try:
        record, arrays = _read(model)
        trained_on = read_arrays(arrays)["trained_on"].reshape(-1, DIGEST_BYTES) if arrays else None
    except NO_MODEL as error:
        return f"what cannot be read as a model ({shown(error)})"
    if _is_same(record, trained_on, source, dataset):
        return None
    return f"a model of {_described(record.get('data'), record['classes'])}, saved {shown(record.get('created'))}"


def keep_previous(model: str) -> None:
    """Copy the files of `model` to the names of `previous_of`, in place of those that are there.

    A model is copied so that it loads under its old name all the while, and under the new one when this is done. What
    is no model is copied byte by byte.
    """
    kept = previous_of(model)
    copied: tuple[str, ...] = (*TABLES, *EVALUATION)
    try:
        record, arrays = _read(model)
        put(kept, read_regular(model), arrays, _renamed(record, kept))
    except NO_MODEL:
        copied = (*MODEL_FILES, *copied)
    for old, new in zip(files_of(model, copied), files_of(kept, copied), strict=True):
        if os.path.isfile(old):
            with replacing(new) as temporary:
                shutil.copyfile(old, temporary)
                sync_file(temporary)
        else:
            Path(new).unlink(missing_ok=True)  # of the one that was kept before
    log.info("what was %s is kept as %s", model, kept)


def _read(model: str) -> tuple[dict[str, Any], bytes | None]:
    """The record of a model, of whatever versions, and its arrays; None where it has none.

    Raises one of `NO_MODEL` where there is no whole model.
    """
    try:
        files = read_files(model, read_regular(model))
    except FileNotFoundError:
        raise UserError(f"{model} is missing") from None
    if files.record is None or not files.match_record:
        raise UserError(f"{record_path(model)} does not describe it")
    return files.record, find_arrays(files)


def _is_same(record: dict[str, Any], trained_on: np.ndarray | None, source: Source, dataset: Dataset) -> bool:
    before = record.get("data", source)
    if isinstance(before, dict):  # version 0.1 wrote [] for no folders, too
        before = {name: value or None for name, value in before.items()}
    if record["classes"] != _classes(dataset) or before != source:
        return False
    if trained_on is None:  # nothing is unpickled for this; records of older models do not name their source
        return "data" in record
    return leaks(dataset.digests, trained_on).sum() >= SAME * max(1, len(trained_on))


def _classes(dataset: Dataset) -> list[str]:
    return sorted(set(dataset.labels.tolist()))


def _renamed(record: dict[str, Any], kept: str) -> bytes:
    """The record as text, naming the arrays by their new name; one that somebody has changed stays as it is."""
    if "arrays" not in record or own_digest(record) != record.get("sha256"):
        return json.dumps(record, indent=2).encode()
    fields = {name: value for name, value in record.items() if name != "sha256"}
    return sealed(fields | {"arrays": record["arrays"] | {"file": os.path.basename(arrays_path(kept))}})


def _described(source: Any, classes: list[str]) -> str:
    """Where pictures come from and their classes, in a few words. `source` is from outside: it may be anything."""
    named = source if isinstance(source, dict) else {}
    places = [shown(named[name]) for name in ("table", "folder") if named.get(name)]
    if (column := named.get("label_column")) not in (None, "label"):
        places.append(f"column {shown(column)}")
    if pattern := named.get("label_pattern"):
        places.append(f"label pattern {shown(pattern)}")
    names = listed(map(shown, classes), 5)
    return f"{', '.join(places) or 'data that it does not name'} ({len(classes)} classes: {names})"
