"""Pictures in object storage by processes of this machine: each is read once, and by nobody the next time."""

from pathlib import Path

import numpy as np
from conftest import SPEC
from helpers.storage.object_storage import Storage
from joblib.externals.loky import get_reusable_executor

import pipeline


def test_workers_read_each_picture_once(storage: Storage, surfaces: Path, tmp_path: Path) -> None:
    get_reusable_executor().shutdown(wait=True)  # processes of other tests do not know where the storage is
    address = storage.upload(surfaces, "photos")
    cache = str(tmp_path / "cache")
    try:
        storage.server.reset()
        first = pipeline.features(address, cache_dir=cache, cluster="local:2", **SPEC)
        counts = storage.server.counts()
        assert (first["images"], first["computed"], first["failed"]) == (36, 36, 0)
        assert (counts["GET"], counts["HEAD"]) == (36, 0)
        storage.server.reset()
        again = pipeline.features(address, cache_dir=cache, cluster="local:2", **SPEC)
        assert again["forward_passes"] == storage.server.counts()["GET"] == 0
    finally:
        get_reusable_executor().shutdown(wait=True)
    local = pipeline.open_extractor(str(tmp_path / "local"), **SPEC)
    outcome, rows = local.features(sorted(map(str, surfaces.rglob("*.png"))))
    np.testing.assert_array_equal(pipeline.open_extractor(cache, **SPEC).store.read(outcome.keys), rows)
