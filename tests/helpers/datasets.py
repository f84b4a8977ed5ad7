"""Data sets of rows that need no pictures."""

import hashlib

import numpy as np

from classify.data.dataset import Dataset


def dataset(features: np.ndarray, labels: list[str]) -> Dataset:
    digests = [hashlib.sha256(row.tobytes()).digest() for row in features]
    return Dataset(
        features=features,
        labels=np.array(labels),
        parts=np.full(len(labels), "all", dtype="U10"),
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        paths=[f"{label}/{number}.png" for number, label in enumerate(labels)],
    )
