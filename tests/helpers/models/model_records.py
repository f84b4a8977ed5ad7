"""What the tests of saved heads share: heads, a record to save one with, and ways to change one that is saved."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from helpers import real_features
from helpers.storage.cached_rows import SPEC, keys
from sklearn.datasets import load_digits

from cache.errors import UserError
from classify.heads.head_table import make_head
from classify.saved.model_files import arrays_path, record_path
from classify.saved.persist import load, save
from classify.saved.record import own_digest

RECORD: dict[str, Any] = {
    "head": "logreg",
    "head_params": {},
    "training_counts": [25, 25, 25, 25],
    "spec": SPEC.to_json(),
    "fingerprint": SPEC.fingerprint,
    "weights": {"kind": "file", "path": "/some.h5"},
    "cache_dir": "/cache",
    "metrics": {"accuracy": 0.5},
}


@cache
def few_digits() -> tuple[np.ndarray, np.ndarray]:
    """100 handwritten digits from 0 to 3, 25 of each: pixels (100, 64) float32, labels (100,)."""
    pixels, digits = load_digits(n_class=4, return_X_y=True)
    chosen = np.concatenate([np.flatnonzero(digits == digit)[:25] for digit in range(4)])
    return pixels[chosen].astype(np.float32), digits[chosen].astype(str)


@cache
def two_heads() -> list[Any]:
    """Two heads fitted on `few_digits` that differ."""
    return [make_head("logreg", {"C": C}).fit(*few_digits()) for C in (0.1, 10.0)]


@cache
def texture_head() -> Any:
    """A head fitted on features of real photographs."""
    return make_head("logreg").fit(*real_features.textures())


def saved_model(path: Path, head: Any, count: int) -> str:
    """`head` saved at `path`, as fitted on `count` pictures; the path again."""
    save(str(path), head, keys(count), RECORD)
    return str(path)


def refusal(model: str, **options: Any) -> str:
    """The one printable line with which `load` refuses, nothing having been unpickled."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr(joblib, "load", None)
        load(model, **options)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000
    return message


def edit(model: str, by_hand: bool = False, **fields: Any) -> None:
    """Change fields of the record; None takes one out. Sealed again, unless it was done by hand."""
    path = Path(record_path(model))
    record = json.loads(path.read_text()) | fields
    record = {name: value for name, value in record.items() if value is not None}
    path.write_text(json.dumps(record if by_hand else record | {"sha256": own_digest(record)}))


def replace_arrays(model: str, data: bytes) -> None:
    """Put other bytes where the arrays are, and their digest into the record: what somebody hostile would do."""
    Path(arrays_path(model)).write_bytes(data)
    edit(model, arrays={"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})


def replace_pickle(model: str, content: Any) -> None:
    """Put another pickle where the model file is, and its digest into the record."""
    joblib.dump(content, model)
    data = Path(model).read_bytes()
    edit(model, payload={"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})


class Bomb:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")
