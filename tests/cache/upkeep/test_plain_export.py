"""`cache export`: one plain HDF5 file that other programs open."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.storage.cached_rows import PROVENANCE, SPEC, keys, rows

import cache.upkeep.plain_export
from cache.shard_file import open_shard
from cache.store import FeatureStore
from cache.upkeep.plain_export import export_rows

PATHS = ["photos/cat/1.jpg", "photos/dog/a\nb.jpg", "photos/ünï/画.jpg", os.fsdecode(b"photos/\xff\xfe.jpg"), "-"]
LABELS = ["cat", "dog", "ünï", "", "dog"]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(str(tmp_path / "cache"), SPEC)
    store.commit(rows(3), keys(3), PROVENANCE)
    store.commit(rows(5)[3:], keys(5)[3:], PROVENANCE)
    return store


def test_rows_labels_and_paths_stand_in_the_order_given(store: FeatureStore, tmp_path: Path) -> None:
    output = str(tmp_path / "out" / "features.h5")
    order = [4, 0, 3, 3, 1]
    export_rows(store, keys(5)[order], PATHS, LABELS, output)
    with h5py.File(output) as file:
        assert (file["features"][:] == rows(5)[order]).all()
        assert file["features"].dtype == np.dtype("<f4")
        assert file["labels"].asstr()[:].tolist() == LABELS
        assert file["paths"].asstr(errors="surrogateescape")[:].tolist() == PATHS
        assert json.loads(file.attrs["spec"]) == SPEC.to_json()
    assert os.listdir(tmp_path / "out") == ["features.h5"]


def test_without_labels_there_is_no_such_dataset(store: FeatureStore, tmp_path: Path) -> None:
    export_rows(store, keys(5), PATHS, None, str(tmp_path / "features.h5"))
    with h5py.File(tmp_path / "features.h5") as file:
        assert sorted(file) == ["features", "paths"]


def test_no_rows_make_an_empty_file(store: FeatureStore, tmp_path: Path) -> None:
    export_rows(store, keys(0), [], [], str(tmp_path / "features.h5"))
    with h5py.File(tmp_path / "features.h5") as file:
        assert [len(file[name]) for name in ("features", "paths", "labels")] == [0, 0, 0]


def test_more_rows_than_are_read_at_once(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.upkeep.plain_export, "BYTES_AT_ONCE", 3 * 8 * 4)
    order = np.random.default_rng(0).integers(0, 5, 20)
    export_rows(store, keys(5)[order], [str(number) for number in order], None, str(tmp_path / "features.h5"))
    with h5py.File(tmp_path / "features.h5") as file:
        assert (file["features"][:] == rows(5)[order]).all()


def test_rows_of_several_dimensions_keep_their_shape(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path / "cache"), SPEC)
    maps = rows(4, 24).reshape(4, 2, 3, 4)
    store.commit(maps, keys(4), PROVENANCE)
    export_rows(store, keys(4), PATHS[:4], None, str(tmp_path / "features.h5"))
    with h5py.File(tmp_path / "features.h5") as file:
        assert (file["features"][:] == maps).all()


def test_a_row_without_path_or_label_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    for paths, labels in ((PATHS[:4], LABELS), (PATHS, LABELS[:4])):
        with pytest.raises(ValueError, match="for 5 rows"):
            export_rows(store, keys(5), paths, labels, str(tmp_path / "features.h5"))
    assert os.listdir(tmp_path) == ["cache"]


def cut(path: str) -> None:
    os.truncate(path, open_shard(path).offset + 8)


@pytest.mark.parametrize(("spoil", "error"), [(os.unlink, "KeyError"), (cut, "DamagedShardError")])
def test_a_failed_export_leaves_the_older_file(
    store: FeatureStore, tmp_path: Path, spoil: Callable[[str], None], error: str
) -> None:
    output = tmp_path / "features.h5"
    output.write_bytes(b"the older file")
    store.refresh()
    spoil(str(next(Path(store.folder).glob("*.h5"))))
    with pytest.raises(Exception, match="rows") as raised:
        export_rows(store, keys(5), PATHS, None, str(output))
    assert type(raised.value).__name__ == error
    assert output.read_bytes() == b"the older file"
    assert sorted(os.listdir(tmp_path)) == ["cache", "features.h5"]


def test_the_file_is_synced_after_its_last_write(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 writes even while it closes a file."""
    sizes = []
    fsync = os.fsync

    def noting(file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").endswith(".tmp"):
            sizes.append(os.pread(file, 10**6, 0))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noting)
    export_rows(store, keys(5), PATHS, LABELS, str(tmp_path / "features.h5"))
    assert sizes[-1] == (tmp_path / "features.h5").read_bytes()
