"""What the tests of saved heads share: a record to save one with, and a way to change one that is saved."""

import json
from pathlib import Path
from typing import Any

from cached_rows import SPEC

from classify.record import own_digest, record_path

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


def edit(model: str, by_hand: bool = False, **fields: Any) -> None:
    """Change fields of the record; None takes one out. Sealed again, unless it was done by hand."""
    path = Path(record_path(model))
    record = json.loads(path.read_text()) | fields
    record = {name: value for name, value in record.items() if value is not None}
    path.write_text(json.dumps(record if by_hand else record | {"sha256": own_digest(record)}))
