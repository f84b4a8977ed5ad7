"""One plain HDF5 file for people who open HDF5 themselves: `features`, `labels`, `paths`, rows in one order."""

import os
import uuid
from collections.abc import Sequence

import h5py
import numpy as np

from cache.atomic import TEMPORARY_SUFFIX, make_folder, sync_folder
from cache.store import FeatureStore

ROWS_AT_ONCE = 4096  # memory stays the same however many rows there are


def export_rows(
    store: FeatureStore, digests: np.ndarray, paths: Sequence[str], labels: Sequence[str] | None, output: str
) -> None:
    """Write rows (n, d) float32, paths and labels (n,) UTF-8 to `output`, whole or not at all.

    A path that is no UTF-8 keeps its bytes: read it with `asstr(errors="surrogateescape")`. Without labels that
    dataset is left out. Raises `KeyError` and `DamagedShardError` as `FeatureStore.read`, `OSError` where the file
    cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(output))
    make_folder(folder)
    temporary = f"{output}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}"
    try:
        with h5py.File(temporary, "w", libver="latest") as file:
            shape = (len(digests), *store.read(digests[:1]).shape[1:])
            rows = file.create_dataset("features", shape, "<f4")
            for start in range(0, len(digests), ROWS_AT_ONCE):
                rows[start : start + ROWS_AT_ONCE] = store.read(digests[start : start + ROWS_AT_ONCE])
            for name, values in (("paths", paths), ("labels", labels)):
                if values is not None:
                    texts = np.array([os.fsencode(value) for value in values], dtype=object)
                    file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
            file.attrs["spec"] = str(store.spec.to_json())
            file.flush()
            os.fsync(file.id.get_vfd_handle())
        os.replace(temporary, output)
        sync_folder(folder)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
