"""What the tests of saved heads share: a record to save one with, and a way to change one that is saved."""

import json
from pathlib import Path
from typing import Any

from cached_rows import SPEC

from classify.persist import record_path

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


def edit(model: str, **fields: Any) -> None:
    """Change fields of the record; None takes one out."""
    path = Path(record_path(model))
    record = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in record.items() if value is not None}))
