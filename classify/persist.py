"""A trained head on disk: `NAME.joblib`, and beside it `NAME.json`, the record that says what is in it.

A joblib file is a pickle: loading it runs whatever code it holds, so load only files that you trust. The record is
read and checked first, and not a byte is unpickled unless the file has the digest that the record names.
"""

import hashlib
import io
import json
import os
import time
from dataclasses import dataclass
from importlib.metadata import version
from pickle import UnpicklingError
from typing import Any

import numpy as np
from filelock import FileLock

from cache.atomic import make_folder, write_atomically
from cache.errors import UserError
from cache.spec import FeatureSpec

FORMAT = 1
LIBRARIES = ("scikit-learn", "numpy", "joblib", "tensorflow", "keras", "h5py", "pandas", "pillow")
NEEDED = {
    "head": str, "classes": list, "training_counts": list, "spec": dict, "fingerprint": str, "weights": dict,
    "cache_dir": str, "versions": dict, "payload": dict,
}  # fmt: skip

# What unpickling raises for classes that are gone or have other fields by now.
CANNOT_UNPICKLE = (ImportError, AttributeError, KeyError, IndexError, TypeError, ValueError, EOFError, UnpicklingError)


@dataclass(frozen=True)
class Saved:
    """A loaded head: its estimator, its record, and the digests (n, 32) uint8 of the pictures it was fitted on."""

    path: str
    estimator: Any
    record: dict[str, Any]
    trained_on: np.ndarray

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


def save(model: str, estimator: Any, trained_on: np.ndarray, record: dict[str, Any]) -> None:
    """Write the model file and its record, each whole or not at all.

    The new record is first put beside the old one (`NAME.json.next`): whenever the process dies, one of the two
    fits the model file, so an older model is never lost to a half-written newer one. Of two processes that save
    under one name, the second waits for the first. Raises `OSError` where the files cannot be written.
    """
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
    text = json.dumps(record, indent=2, allow_nan=False, default=_plain).encode()
    path = record_path(model)
    folder, name = os.path.split(os.path.abspath(model))
    make_folder(folder)
    with FileLock(os.path.join(folder, f".{name}.lock")):
        write_atomically(path + ".next", text)
        write_atomically(model, data)
        write_atomically(path, text)
        os.unlink(path + ".next")


def load(model: str, allow_other_versions: bool = False) -> Saved:
    """Load a model file, after its record.

    Raises UserError where the file or its record is missing or unreadable, where the file is not the one that the
    record describes, where the fingerprint does not belong to the spec, and, unless `allow_other_versions`, where
    it was written with another major or minor version of scikit-learn (its pickles do not promise to work).
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
    estimator = payload["estimator"]
    if [str(name) for name in estimator.classes_] != record["classes"]:
        raise UserError(f"model {model}: its classes are not those of its record: train it again")
    return Saved(model, estimator, record, payload["trained_on"])


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
