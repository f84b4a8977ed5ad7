"""Save and load a trained head: `NAME.joblib`, its record `NAME.json`, and its plain arrays `NAME.npz`.

save: head -> pickle, arrays, record -> three files, replaced together
load: read the files -> verify them (`classify.saved.verify_record`) -> construct the head

A joblib file is a pickle: loading it runs whatever code it holds, so load only files that you trust. The record is
verified first, and nothing is unpickled unless the file has the digest that the record names.

The arrays hold the same head, where it has that form, and make the predictions. Nothing is unpickled and scikit-learn
is not imported until the estimator is used.

The pickle and the arrays repeat the fields of the record that identify them. The arrays also hold the digest of the
pickle. A pinned digest of either file therefore fixes everything that decides predictions, even if the record changes.
"""

import contextlib
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.files.atomic import make_folder, require_writable, sync_file, write_atomically
from cache.files.lock import holding
from cache.joined_rows import Spec, read_spec
from cache.row_key import DIGEST_BYTES
from classify.bundles.row_heads import RowHead, is_row_head, read_row_head
from classify.decisions.saved_answers import ARRAYS as ANSWER_ARRAYS
from classify.decisions.saved_answers import SavedAnswers
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.head_arrays import ArrayHead
from classify.saved.model_files import NEXT, arrays_path, record_path, stamp_of, with_next
from classify.saved.npz import read_arrays, write_arrays
from classify.saved.record import (
    ABOUT,
    FORMAT,
    Files,
    is_sha256,
    parse,
    read_files,
    read_regular,
    reason_of,
    sealed,
    shown,
)
from classify.saved.renamed import unpickle
from classify.saved.verify_record import agreed, check_record, check_versions, verify
from classify.scoring.outliers import ARRAYS, OutlierDetector

LIBRARIES = ("scikit-learn", "numpy", "joblib", "tensorflow", "keras", "h5py", "pandas", "pillow")

# What unpickling raises for classes that are gone or have other fields by now.
CANNOT_UNPICKLE = (ImportError, AttributeError, KeyError, IndexError, TypeError, ValueError, EOFError, UnpicklingError)


@dataclass(frozen=True)
class Saved:
    """A loaded head: what predicts, its record, and the digests (n, 32) uint8 of the pictures it was fitted on.

    predictor: has `classes_`, `predict` and `predict_proba`; an `ArrayHead` or a `TunedHead`, or the estimator where it
    has no arrays. outliers: what finds pictures unlike those trained on; None of maps, and of
    models that were saved without it. answers: held-out answers, for thresholds and label sets; None of models that
    were saved without them.
    """

    path: str
    predictor: Any
    record: dict[str, Any]
    trained_on: np.ndarray
    _unpickle: Callable[[], dict[str, Any]] = field(repr=False)
    outliers: OutlierDetector | None = None
    answers: SavedAnswers | None = None

    @cached_property
    def estimator(self) -> Any:
        """The scikit-learn estimator, unpickled when it is first asked for. Raises UserError as `load` does."""
        return self._unpickle()["estimator"]

    @property
    def spec(self) -> Spec:
        """The spec of the features that it was fitted on."""
        return read_spec(self.record["spec"])


def check_writable(model: str) -> None:
    """Check that a model can be saved as `model`. Raises UserError as `record_path`, `OSError` naming the file."""
    for path in (model, arrays_path(model), record_path(model)):
        require_writable(path)


def save(
    model: str,
    estimator: Any,
    trained_on: np.ndarray,
    record: dict[str, Any],
    outliers: OutlierDetector | None = None,
    answers: SavedAnswers | None = None,
) -> None:
    """Write the model file, its arrays and its record, as `put` does. The record has the names of the groups."""
    from importlib.metadata import version

    import joblib

    record_path(model)  # refuses other names
    record = {
        "format": FORMAT,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **record,
        **({"group_names": answers.names} if answers and answers.names else {}),
        "classes": [str(name) for name in estimator.classes_],
        "versions": {library: version(library) for library in LIBRARIES},
    }
    about = json.loads(json.dumps({name: record[name] for name in ABOUT}))  # as it will be read
    payload = io.BytesIO()
    held = (outliers.to_arrays() if outliers else {}) | (answers.to_arrays() if answers else {})
    joblib.dump({"estimator": estimator, "trained_on": trained_on, "about": about, **held}, payload)
    data = payload.getbuffer()
    record["payload"] = _identity(data)
    plain = _plain_arrays(estimator, trained_on, about | {"payload": record["payload"]}, held)
    if plain is not None:
        record["arrays"] = {"file": os.path.basename(arrays_path(model)), **_identity(plain)}
    put(model, data, plain, sealed(record))


@contextlib.contextmanager
def locked(model: str) -> Iterator[None]:
    """Hold the lock for saving as `model`; its folder is made if need be. A thread may take the lock twice."""
    folder, name = os.path.split(os.path.abspath(model))
    make_folder(folder)
    with holding(os.path.join(folder, f".{name}.lock")):
        yield


def put(model: str, data: bytes | memoryview, plain: bytes | memoryview | None, text: bytes) -> None:
    """Write the bytes of a model file, its arrays and its record: the old model loads, or the new one, at any moment.

    The new record and arrays are first written beside the old ones (`NAME.json.next`, `NAME.npz.next`). Then the model
    file is replaced in one step; from here on the new record and arrays are the ones that match it. At last they get
    their names. Of two processes that save under one name, the second waits for the first (where there are locks).
    Raises `OSError` where the files cannot be written.
    """
    arrays = arrays_path(model)
    beside = {record_path(model): text} | ({} if plain is None else {arrays: plain})
    with locked(model):
        for path, content in beside.items():
            write_atomically(path + NEXT, content)
        write_atomically(model, data)
        for path in reversed(beside):
            os.replace(path + NEXT, path)
        for older in with_next(arrays) if plain is None else ():  # of an older model of this name
            Path(older).unlink(missing_ok=True)
        sync_file(os.path.dirname(os.path.abspath(model)))


def load(
    model: str, allow_other_versions: bool = False, *, sha256: str | None = None, no_pickle: bool = False
) -> Saved:
    """Load a model, after its record: from its arrays where the record names them, else from the model file.

    sha256: what `sha256sum` prints for the `.npz` or the `.joblib`; nothing else is loaded then. Pinned by the
    `.npz`, the arrays predict and nothing is unpickled; pinned by the `.joblib`, the estimator in it predicts.
    no_pickle: nothing is ever unpickled; a head without arrays is refused, and so is `estimator`.

    Raises UserError where a file or the record is missing, damaged or not what the record describes, and, unless
    `allow_other_versions`, for another fingerprint, a missing record, one that was changed, and, where the model is
    unpickled, another major or minor version of scikit-learn. With `allow_other_versions` these are warnings, and where
    the record and the model file disagree on what it was trained on, the model file is believed.
    """
    model = os.fspath(model)
    if sha256 is not None and not is_sha256(sha256 := sha256.strip().lower()):
        raise UserError(f"sha256 {shown(sha256)}: give the 64 hexadecimal digits that sha256sum prints")
    record_path(model)  # refuses other names
    while True:
        before = stamp_of(model)
        try:
            files = _read(model)
            arrays = verify(files, allow_other_versions, sha256, no_pickle)
            return _construct(files, arrays, allow_other_versions, no_pickle)
        except UserError:
            if stamp_of(model) == before:  # else it was being saved anew
                raise


def _read(model: str) -> Files:
    """The model file, and what lies beside it."""
    try:
        data = read_regular(model)
    except (OSError, ValueError) as error:
        raise UserError(f"model {model}: {reason_of(error)}; `train` writes one, --model says where") from None
    return read_files(model, data)


def _construct(files: Files, arrays: bytes | None, allowed: bool, no_pickle: bool) -> Saved:
    """The head in verified files: of the arrays, or without these unpickled."""
    model, record = files.model, files.record
    payload_of: Callable[[], dict[str, Any]]
    if arrays is not None:
        predictor, trained_on, about, outliers, answers = _from_arrays(model, arrays, record)
        record = agreed(model, record, about, (*ABOUT, "payload"), allowed)
        if record["payload"]["sha256"] != files.sha256:  # where there was no record to say so
            raise UserError(f"model {model} is not the file that its arrays belong to; it was not loaded")
        payload_of = partial(_refuse, model) if no_pickle else partial(_unpickle, model, files.data, record, allowed)
    else:
        if record is not None:
            check_versions(model, record, allowed)
        payload = _unpickle(model, files.data, None)
        record = agreed(model, record, payload["about"], ABOUT, allowed)
        predictor, trained_on = payload["estimator"], payload["trained_on"]
        outliers = OutlierDetector(*(payload[name] for name in ARRAYS)) if ARRAYS[0] in payload else None
        answers = _answers_in(payload, predictor, record)
        payload_of = partial(dict, payload)  # not once more, and the bytes need not be kept
    _check_head(model, predictor, record)
    return Saved(model, predictor, record, trained_on, payload_of, outliers, answers)


def _plain_arrays(
    estimator: Any, trained_on: np.ndarray, about: dict[str, Any], others: dict[str, np.ndarray]
) -> memoryview | None:
    """The estimator's array form as an npz file, with the arrays `others`; None where it has no such form."""
    from classify.heads.base import Head

    head = estimator.arrays() if isinstance(estimator, Head) else None
    if head is None or head.classes_.dtype.hasobject:  # objects would be pickled
        return None
    return arrays_with(head, trained_on, about, others)


def arrays_with(
    head: ArrayHead | RowHead | TunedHead, trained_on: np.ndarray, about: dict[str, Any], others: dict[str, np.ndarray]
) -> memoryview:
    """A head as an npz file, with what it says of itself, and the arrays `others` of outliers and answers."""
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    return write_arrays({"about": text, "trained_on": trained_on, **others, **head.to_arrays()})


def load_arrays(path: str, record: dict[str, Any], arrays: bytes, allowed: bool = False) -> Saved:
    """A head from its record and arrays alone; `estimator` is refused. path: of the file that they are from.

    Raises UserError as `load`; `allowed` is its `allow_other_versions`.
    """
    check_record(path, record, allowed)
    predictor, trained_on, about, outliers, answers = _from_arrays(path, arrays, record)
    record = agreed(path, record, about, (*ABOUT, "payload"), allowed)
    _check_head(path, predictor, record)
    return Saved(path, predictor, record, trained_on, partial(_no_estimator, path), outliers, answers)


def _no_estimator(path: str) -> dict[str, Any]:
    raise UserError(f"{path} has no estimator, which would be a pickle: load the model's .joblib file for it")


def _from_arrays(
    model: str, data: bytes, record: dict[str, Any] | None
) -> tuple[ArrayHead | RowHead | TunedHead, np.ndarray, Any, OutlierDetector | None, SavedAnswers | None]:
    """The head, the digests of its training pictures, what the arrays say of themselves, outliers, held-out answers."""
    try:
        named = read_arrays(data)
        about, trained_on = parse(named.pop("about").tobytes()), named.pop("trained_on")
        if trained_on.dtype != np.uint8 or trained_on.shape[1:] != (DIGEST_BYTES,):
            raise ValueError(f"trained_on has type {trained_on.dtype} and shape {trained_on.shape}")
        held_out = {name: named.pop(name) for name in ANSWER_ARRAYS if name in named}
        if "tail" in named:
            tuned = TunedHead.from_arrays(named)
            return tuned, trained_on, about, None, _answers_in(held_out, tuned, record)
        known = {name: named.pop(name) for name in ARRAYS if name in named}
        head = read_row_head(named) if is_row_head(named) else ArrayHead.from_arrays(named)
        outliers = OutlierDetector.from_arrays(known, head.n_features_in_) if known else None
        return head, trained_on, about, outliers, _answers_in(held_out, head, record)
    except (ValueError, KeyError, RecursionError) as error:
        raise UserError(f"model {model}: its .npz holds no head: {reason_of(error)}: train it again") from error


def _answers_in(named: Mapping[str, Any], head: Any, record: dict[str, Any] | None) -> SavedAnswers | None:
    """The held-out answers among some arrays, if any. Raises ValueError for arrays that are none."""
    if not any(name in named for name in ANSWER_ARRAYS):
        return None
    return SavedAnswers.from_arrays(
        named, len(head.classes_), None if record is None else record.get("group_names", [])
    )


def _unpickle(
    model: str, data: bytes, record: dict[str, Any] | None, allow_other_versions: bool = False
) -> dict[str, Any]:
    """What the bytes of a model file hold, these being the ones that its record describes; checked with a `record`."""
    if record is not None:
        check_versions(model, record, allow_other_versions)
    try:
        payload: dict[str, Any] = unpickle(data)
        estimator, _, about = payload["estimator"], payload["trained_on"], payload["about"]
    except CANNOT_UNPICKLE as error:  # the bytes are those that were saved: their classes have changed since
        raise UserError(
            f"model {model} cannot be loaded with these versions ({error!r:.200}): train it again"
        ) from error
    if record is not None:
        agreed(model, record, about, ABOUT, allowed=False)
        _check_classes(model, estimator, record)
    return payload


def _check_classes(model: str, head: Any, record: dict[str, Any]) -> None:
    if [str(name) for name in head.classes_] != record["classes"]:
        raise UserError(f"model {model}: its classes are not those of its record: train it again")


def _check_head(model: str, head: Any, record: dict[str, Any]) -> None:
    _check_classes(model, head, record)
    if isinstance(head, TunedHead) and read_spec(record["spec"]).pooling != "none":
        raise UserError(f"model {model} takes maps, those of its spec are rows: train it again")


def _refuse(model: str) -> dict[str, Any]:
    raise UserError(f"model {model} was loaded with no_pickle: its estimator would have to be unpickled")


def _identity(data: bytes | memoryview) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
