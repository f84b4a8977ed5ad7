"""A trained head on disk: `NAME.joblib`, beside it `NAME.json`, the record that says what is in it, and `NAME.npz`.

A joblib file is a pickle: loading it runs whatever code it holds, so load only files that you trust. The record is
read and checked first, and not a byte is unpickled unless the file has the digest that the record names.

`NAME.npz` holds the same head as plain arrays, where it has that form. Predictions are made with these: nothing is
unpickled, nor scikit-learn imported, unless somebody asks for the estimator.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock

from cache.atomic import make_folder, require_writable, write_atomically
from cache.errors import UserError
from cache.spec import FeatureSpec
from classify.arrays import ArrayHead

log = logging.getLogger("bottleneck")

FORMAT = 1
LIBRARIES = ("scikit-learn", "numpy", "joblib", "tensorflow", "keras", "h5py", "pandas", "pillow")
NEEDED = {
    "head": str, "classes": list, "training_counts": list, "spec": dict, "fingerprint": str, "weights": dict,
    "cache_dir": str, "versions": dict, "payload": dict,
}  # fmt: skip

# What unpickling raises for classes that are gone or have other fields by now.
CANNOT_UNPICKLE = (ImportError, AttributeError, KeyError, IndexError, TypeError, ValueError, EOFError, UnpicklingError)

# What numpy raises for a file that is no archive of plain arrays, or not of the expected ones.
NO_ARRAYS = (ValueError, TypeError, KeyError, EOFError, BadZipFile)


@dataclass(frozen=True)
class Saved:
    """A loaded head: what predicts, its record, and the digests (n, 32) uint8 of the pictures it was fitted on.

    predictor: has `classes_`, `predict` and `predict_proba`; an `ArrayHead`, or the estimator where it has no arrays.
    """

    path: str
    predictor: Any
    record: dict[str, Any]
    trained_on: np.ndarray
    _unpickle: Callable[[], dict[str, Any]] = field(repr=False)

    @cached_property
    def estimator(self) -> Any:
        """The scikit-learn estimator, unpickled when it is first asked for. Raises UserError as `load` does."""
        return self._unpickle()["estimator"]

    @property
    def spec(self) -> FeatureSpec:
        """The spec of the features that it was fitted on."""
        return FeatureSpec.from_json(self.record["spec"])


def record_path(model: str) -> str:
    """Path of the JSON record of the model file `model`. Raises UserError unless it ends in `.joblib`."""
    stem, suffix = os.path.splitext(model)
    if suffix != ".joblib":
        raise UserError(f"model {model}: the name of a model file ends in .joblib")
    return stem + ".json"


def arrays_path(model: str) -> str:
    """Path of the plain arrays of the model file `model`."""
    return os.path.splitext(model)[0] + ".npz"


def check_place(model: str) -> None:
    """Whether a model could be saved as `model`. Raises UserError as `record_path`, `OSError` naming the file."""
    record = record_path(model)
    for path in (model, arrays_path(model), record):
        require_writable(path)


def save(model: str, estimator: Any, trained_on: np.ndarray, record: dict[str, Any]) -> None:
    """Write the model file, its arrays and its record, each whole or not at all.

    The new record is first put beside the old one (`NAME.json.next`): whenever the process dies, one of the two
    fits the model file, so an older model is never lost to a half-written newer one. The arrays are there before the
    model file that they belong to, so that from then on all is new; between the two the older model loads without
    arrays. Of two processes that save under one name, the second waits for the first. Raises `OSError` where the
    files cannot be written.
    """
    from importlib.metadata import version

    import joblib

    payload = io.BytesIO()
    joblib.dump({"estimator": estimator, "trained_on": trained_on}, payload)
    data = payload.getbuffer()
    record = {
        "format": FORMAT,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **record,
        "classes": [str(name) for name in estimator.classes_],
        "versions": {library: version(library) for library in LIBRARIES},
        "payload": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)},
    }
    arrays = _plain_arrays(estimator, trained_on)
    if arrays is not None:
        name = os.path.basename(arrays_path(model))
        record["arrays"] = {"file": name, "sha256": hashlib.sha256(arrays).hexdigest(), "bytes": len(arrays)}
    text = json.dumps(record, indent=2, allow_nan=False, default=_plain).encode()
    path = record_path(model)
    folder, name = os.path.split(os.path.abspath(model))
    make_folder(folder)
    with FileLock(os.path.join(folder, f".{name}.lock")):
        write_atomically(path + ".next", text)
        if arrays is not None:
            write_atomically(arrays_path(model), arrays)
        write_atomically(model, data)
        if arrays is None:  # those of an older model of this name
            with contextlib.suppress(FileNotFoundError):
                os.unlink(arrays_path(model))
        write_atomically(path, text)
        os.unlink(path + ".next")


def load(model: str, allow_other_versions: bool = False) -> Saved:
    """Load a model, after its record: from its arrays where the record names them, else from the model file.

    Arrays that are missing or not those of the record are announced, and the model file is taken.

    Raises UserError where the file or its record is missing or unreadable, where the file is not the one that the
    record describes, where the fingerprint does not belong to the spec, and, unless `allow_other_versions`, where
    it has to be unpickled and was written with another major or minor version of scikit-learn (its pickles do not
    promise to work).
    """
    model = os.fspath(model)
    try:
        with open(model, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UserError(f"model {model}: {error.strerror}; `train` writes one, --model says where") from None
    record = _record_of(model, hashlib.sha256(data).hexdigest())
    spec = FeatureSpec.from_json(record["spec"])
    if spec.fingerprint != record["fingerprint"]:
        raise UserError(
            f"model {model}: its record names fingerprint {record['fingerprint']}, "
            f"but its spec has {spec.fingerprint}: train it again"
        )
    unpickle = partial(_unpickle, model, data, record, allow_other_versions)
    predictor: Any
    if found := _load_arrays(model, record):
        predictor, trained_on = found
    else:
        payload = unpickle()
        predictor, trained_on = payload["estimator"], payload["trained_on"]
        unpickle = partial(dict, payload)  # not once more, and the bytes need not be kept
    _check_classes(model, predictor, record)
    return Saved(model, predictor, record, trained_on, unpickle)


def _plain_arrays(estimator: Any, trained_on: np.ndarray) -> memoryview | None:
    """The estimator's array form and the digests as an npz file; None where it has no such form."""
    from classify.base import FeatureHead

    head = estimator.arrays() if isinstance(estimator, FeatureHead) else None
    if head is None or head.classes_.dtype.hasobject:  # objects would be pickled
        return None
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, trained_on=trained_on, **head.to_arrays())
    return file.getbuffer()


def _load_arrays(model: str, record: dict[str, Any]) -> tuple[ArrayHead, np.ndarray] | None:
    """The head and the digests that the arrays hold; None where the record names none, or, announced, others."""
    if "arrays" not in record:
        return None
    path = arrays_path(model)
    try:
        with open(path, "rb") as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != record["arrays"].get("sha256"):
            raise ValueError("not the file that the record describes")
        with np.load(io.BytesIO(data), allow_pickle=False) as named:
            return ArrayHead.from_arrays(named), named["trained_on"]
    except (OSError, *NO_ARRAYS) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        log.warning("the arrays %s are not used (%s): %s is, which is slower to load", path, reason, model)
        return None


def _unpickle(model: str, data: bytes, record: dict[str, Any], allow_other_versions: bool) -> dict[str, Any]:
    """What the bytes of a model file hold, these being the ones that its record describes."""
    from importlib.metadata import version  # slow to import, and only needed here and for saving

    written, here = str(record["versions"].get("scikit-learn", "unknown")), version("scikit-learn")
    if written.split(".")[:2] != here.split(".")[:2] and not allow_other_versions:
        raise UserError(
            f"model {model} was written with scikit-learn {written}, this is {here}: train it again (the features "
            "are cached), or pass --allow-other-versions (allow_other_versions=True) to try it all the same"
        )
    import joblib

    try:
        payload = joblib.load(io.BytesIO(data))
    except CANNOT_UNPICKLE as error:  # the bytes are those that were saved: their classes have changed since
        raise UserError(
            f"model {model} cannot be loaded with these versions ({error!r:.200}): train it again"
        ) from error
    _check_classes(model, payload["estimator"], record)
    return payload


def _check_classes(model: str, head: Any, record: dict[str, Any]) -> None:
    if [str(name) for name in head.classes_] != record["classes"]:
        raise UserError(f"model {model}: its classes are not those of its record: train it again")


def _record_of(model: str, digest: str) -> dict[str, Any]:
    """The record, of the present and the next one, that describes the file with this SHA-256."""
    path = record_path(model)
    found = [record for record in (_read_record(path), _read_record(path + ".next")) if record]
    if not found:
        raise UserError(f"model {model}: its record {path} is missing; copy it along with the .joblib file")
    for record in found:
        if record["payload"].get("sha256") == digest:
            return record
    raise UserError(
        f"model {model} is not the file that {path} describes: it has SHA-256 {digest}, the record names "
        f"{found[0]['payload'].get('sha256')}; it was not loaded"
    )


def _read_record(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            record = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"the record {path} cannot be read ({error}); train the model again") from None
    if not isinstance(record, dict) or "format" not in record:
        raise UserError(f"the record {path} is not that of a model; train the model again")
    if record["format"] != FORMAT:
        raise UserError(f"the record {path} has format {record['format']!r:.20}, this version reads {FORMAT}")
    wrong = [key for key, kind in NEEDED.items() if not isinstance(record.get(key), kind)]
    if not wrong and record["weights"].keys() != {"kind", "path"}:
        wrong = ["weights"]
    if not isinstance(record.get("arrays", {}), dict):  # older records have none
        wrong.append("arrays")
    if not wrong and len(record["training_counts"]) != len(record["classes"]):
        wrong = ["training_counts"]
    if wrong:
        raise UserError(f"the record {path} is damaged: {wrong[0]!r} is missing or has no usable value")
    try:
        FeatureSpec.from_json(record["spec"])
    except ValueError as error:
        raise UserError(f"the record {path} is damaged: {error}") from None
    return record


def _plain(value: Any) -> Any:
    """What JSON has for a parameter that it does not know: numpy's numbers as numbers, other objects in words."""
    return value.item() if isinstance(value, np.generic) else repr(value)
