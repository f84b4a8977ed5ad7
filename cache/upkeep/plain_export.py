"""One plain HDF5 file for people who open HDF5 themselves: `features`, `labels`, `paths`, rows in one order."""

import io
import json
import math
import os
from collections.abc import Sequence

import h5py
import numpy as np

from cache.files.atomic import replacing
from cache.files.system_calls import sync
from cache.joined_rows import Store

BYTES_AT_ONCE = 32 * 1024**2  # of rows: memory stays the same however many there are, and however large


def export_rows(
    store: Store, digests: np.ndarray, paths: Sequence[str], labels: Sequence[str] | None, output: str
) -> None:
    """Write rows (n, ...) float32 in their own shape, paths and labels (n,) UTF-8 to `output`, whole or not at all.

    A path that is no UTF-8 keeps its bytes: read it with `asstr(errors="surrogateescape")`. Without labels that
    dataset is left out. Raises `KeyError` and `DamagedShardError` as `FeatureStore.read`, `OSError` where the file
    cannot be written, and `ValueError` where there is not one path and label for each row.
    """
    texts = texts_of(digests, paths, labels)
    with replacing(output) as temporary, _Patient(temporary, "x+b") as patient:
        with h5py.File(patient, "w", libver="latest") as file:
            shape = (len(digests), *store.read(digests[:1]).shape[1:])
            rows = file.create_dataset("features", shape, "<f4")
            step = rows_at_once(shape[1:])
            for start in range(0, len(digests), step):
                rows[start : start + step] = store.read(digests[start : start + step])
                patient.raise_failure()
            for name, values in texts.items():
                encoded = np.array([os.fsencode(value) for value in values], dtype=object)
                file.create_dataset(name, data=encoded, dtype=h5py.string_dtype())
            file.attrs["spec"] = json.dumps(store.spec.to_json())
        patient.raise_failure()
        sync(patient.fileno())


def texts_of(digests: np.ndarray, paths: Sequence[str], labels: Sequence[str] | None) -> dict[str, Sequence[str]]:
    """`paths`, and `labels` where there are any. Raises `ValueError` where there is not one for each row."""
    texts = {"paths": paths} | ({} if labels is None else {"labels": labels})
    for name, values in texts.items():
        if len(values) != len(digests):
            raise ValueError(f"{len(values)} {name} for {len(digests)} rows")
    return texts


def rows_at_once(shape: tuple[int, ...]) -> int:
    """How many float32 rows of `shape` are read and written in one piece."""
    return max(1, BYTES_AT_ONCE // (4 * math.prod(shape) or 1))


class _Patient(io.FileIO):
    """A file that keeps a failed write to itself until asked.

    HDF5 does not survive a full disk: its own file driver loses the errno, cannot close the file and can crash at
    exit; and it takes a write of a part for the whole.
    """

    failure: OSError | None = None

    def write(self, data: "memoryview") -> int:  # type: ignore[override]
        rest = memoryview(data).cast("B")
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = self.failure or error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0

    def raise_failure(self) -> None:
        if self.failure:
            raise self.failure
