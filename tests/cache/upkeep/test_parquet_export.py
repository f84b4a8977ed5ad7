"""`cache export` to Parquet: one table that other engines read, written in groups of rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import REPOSITORY
from helpers.storage.cached_rows import PROVENANCE, SPEC, damage, filled, keys, rows, shards
from pyarrow import parquet

import cache.upkeep.plain_export
import pipeline
from cache.errors import UserError
from cache.shard_file import DamagedShardError
from cache.store import FeatureStore
from cache.upkeep.parquet_export import export_parquet, is_parquet_export

PATHS = ["photos/cat/1.jpg", "photos/dog/a\nb.jpg", "photos/ünï/画.jpg", "-", ""]
LABELS = ["cat", "dog", "ünï", "", "dog"]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return filled(tmp_path / "cache", 3, 2)


def test_rows_labels_and_paths_stand_in_the_order_given(store: FeatureStore, tmp_path: Path) -> None:
    output = str(tmp_path / "out" / "features.parquet")
    order = [4, 0, 3, 3, 1]
    export_parquet(store, keys(5)[order], PATHS, LABELS, output)
    table = pd.read_parquet(output)
    assert (np.stack(list(table["features"])) == rows(5)[order]).all()
    assert table["path"].tolist() == PATHS and table["label"].tolist() == LABELS
    schema = parquet.read_schema(output)
    assert schema.field("features").type == pa.list_(pa.float32(), 8)
    about = json.loads(schema.metadata[b"bottleneck-features"])
    assert about == {"spec": SPEC.to_json(), "row_shape": [8]}
    assert is_parquet_export(output) and os.listdir(tmp_path / "out") == ["features.parquet"]


def test_without_labels_there_is_no_such_column(store: FeatureStore, tmp_path: Path) -> None:
    export_parquet(store, keys(5), PATHS, None, str(tmp_path / "features.parquet"))
    assert parquet.read_schema(tmp_path / "features.parquet").names == ["path", "features"]


def test_no_rows_make_an_empty_table(store: FeatureStore, tmp_path: Path) -> None:
    export_parquet(store, keys(0), [], [], str(tmp_path / "features.parquet"))
    assert pd.read_parquet(tmp_path / "features.parquet").shape == (0, 3)


def test_rows_go_in_groups_that_fit_in_memory(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.upkeep.plain_export, "BYTES_AT_ONCE", 3 * 8 * 4)
    order = np.random.default_rng(0).integers(0, 5, 20)
    export_parquet(store, keys(5)[order], [str(number) for number in order], None, str(tmp_path / "features.parquet"))
    with parquet.ParquetFile(tmp_path / "features.parquet") as file:
        assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3] * 6 + [2]
        assert (np.stack(file.read().column("features").to_numpy()) == rows(5)[order]).all()


def test_maps_lie_in_rows_and_their_shape_is_told(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path / "cache"), SPEC)
    maps = rows(4, 24).reshape(4, 2, 3, 4)
    store.commit(maps, keys(4), PROVENANCE)
    export_parquet(store, keys(4), PATHS[:4], None, str(tmp_path / "features.parquet"))
    read = parquet.read_table(tmp_path / "features.parquet")
    shape = json.loads(read.schema.metadata[b"bottleneck-features"])["row_shape"]
    assert (np.stack(read.column("features").to_numpy()).reshape(-1, *shape) == maps).all()


def test_a_path_that_is_no_text_keeps_its_bytes(store: FeatureStore, tmp_path: Path) -> None:
    paths = [*PATHS[:4], os.fsdecode(b"photos/\xff\xfe.jpg")]
    export_parquet(store, keys(5), paths, LABELS, str(tmp_path / "features.parquet"))
    table = pd.read_parquet(tmp_path / "features.parquet")
    assert [os.fsdecode(path) for path in table["path"]] == paths and table["label"].tolist() == LABELS


def test_a_row_without_path_or_label_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    for paths, labels in ((PATHS[:4], LABELS), (PATHS, LABELS[:4])):
        with pytest.raises(ValueError, match="for 5 rows"):
            export_parquet(store, keys(5), paths, labels, str(tmp_path / "features.parquet"))


def test_a_failed_export_leaves_the_older_file(store: FeatureStore, tmp_path: Path) -> None:
    output = tmp_path / "features.parquet"
    output.write_bytes(b"the older file")
    damage(shards(store)[1])
    with pytest.raises(DamagedShardError):
        export_parquet(store, keys(5), PATHS, LABELS, str(output))
    assert output.read_bytes() == b"the older file"
    assert sorted(os.listdir(tmp_path)) == ["cache", "features.parquet"]


FULL = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from helpers.storage.cached_rows import SPEC, keys
from cache.store import FeatureStore
from cache.upkeep.parquet_export import export_parquet
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    export_parquet(FeatureStore(sys.argv[2], SPEC), keys(500), ["p"] * 500, None, sys.argv[3])
except OSError as error:
    print(error.errno, error.filename)
"""


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    filled(tmp_path / "cache", 500)
    output = tmp_path / "out" / "features.parquet"
    words = [sys.executable, "-c", FULL, REPOSITORY / "tests", tmp_path / "cache", output]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == f"27 {output}\n" and not output.parent.exists()


def test_the_suffix_decides_and_the_table_is_one_of_labels(
    surfaces: Path, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "features.parquet"
    assert pipeline.export(str(surfaces), str(output), backbone="nano", cache_dir=str(warm_cache)) == (36, 0)
    assert pipeline.export(str(surfaces), str(output), backbone="nano", cache_dir=str(warm_cache)) == (36, 0)
    assert pipeline.export(str(surfaces), str(tmp_path / "f.h5"), backbone="nano", cache_dir=str(warm_cache)) == (36, 0)
    report = pipeline.train(None, "centroid", labels=str(output), backbone="nano", cache_dir=str(warm_cache),
                            model=str(tmp_path / "m.joblib"))  # fmt: skip
    assert report["images"] == 36
    other = tmp_path / "other.parquet"
    parquet.write_table(pa.table({"a": [1]}), other)
    with pytest.raises(UserError, match="is no export of features"):
        pipeline.export(str(surfaces), str(other), backbone="nano", cache_dir=str(warm_cache))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install '\.\[parquet\]'"):
        pipeline.export(str(surfaces), str(tmp_path / "g.parquet"), backbone="nano", cache_dir=str(warm_cache))
