"""Shard files made by an enemy: right in their checksums, wrong in what they say."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.files.hostile_shards import FEATURES, HOSTILE, honest
from helpers.storage.cached_rows import SPEC

from cache.shard_file import DamagedShardError, open_shard

pytestmark = pytest.mark.usefixtures("no_hang")


def test_the_untouched_file_of_the_enemy_would_be_accepted(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "shard.h5", "w", libver="latest") as file:
        honest(file)
    assert (open_shard(str(tmp_path / "shard.h5"), SPEC).read(np.arange(4)) == FEATURES).all()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_without_reading_any_other(tmp_path: Path, name: str) -> None:
    trap = str(tmp_path / "trap")
    os.mkfifo(trap)  # whoever opens it waits for ever
    with h5py.File(tmp_path / "shard.h5", "w", libver="latest") as file:
        HOSTILE[name](file, trap)
    with pytest.raises(DamagedShardError) as raised:
        open_shard(str(tmp_path / "shard.h5"), SPEC).verify()
    assert raised.value.path == str(tmp_path / "shard.h5")
    assert "\n" not in str(raised.value)
    assert len(raised.value.reason) < 300


@pytest.mark.parametrize("name", ["format", "spec", "provenance", "digest_crc32"])
def test_a_text_of_variable_length_is_not_even_read(tmp_path: Path, name: str) -> None:
    """It lies in a heap without checksums, where one wrong bit can make HDF5 loop for ever."""
    with h5py.File(tmp_path / "shard.h5", "w", libver="latest") as file:
        honest(file, **{name: json.dumps(SPEC.to_json())})
    with pytest.raises(DamagedShardError, match=f"attribute {name} has another type"):
        open_shard(str(tmp_path / "shard.h5"))


def test_a_sparse_file_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    count = 2**30
    with h5py.File(path, "w", libver="latest") as file:
        honest(file, "features", "digest", block_rows=count)
        for name, shape, kind in (("features", (count, 1), "<f4"), ("digest", (count, 32), "u1")):
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), space, properties)
    assert path.stat().st_size > 36 * 2**30
    assert path.stat().st_blocks * 512 < 2**20
    with pytest.raises(DamagedShardError, match="too many for one shard"):
        open_shard(str(path))


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(4000), b"text " * 999]
)
def test_what_is_no_hdf5_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shard.h5").write_bytes(content)
    with pytest.raises(DamagedShardError, match=r"shard\.h5: not a readable shard"):
        open_shard(str(tmp_path / "shard.h5"))


@pytest.mark.parametrize(
    "make", [os.mkdir, os.mkfifo, lambda path: os.symlink("missing", path), lambda path: os.symlink(path, path)]
)
def test_what_is_no_file_is_damaged(tmp_path: Path, make: Callable[[str], None]) -> None:
    path = str(tmp_path / "shard.h5")
    make(path)
    with pytest.raises(DamagedShardError, match="not a regular file"):
        open_shard(path)


def test_an_old_header_without_checksums_is_read_but_its_rows_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        honest(file)
    content = path.read_bytes()
    value = struct.pack("<f", FEATURES[2, 3])
    assert content.count(value) == 1
    path.write_bytes(content.replace(value, struct.pack("<f", 1e9)))
    with pytest.raises(DamagedShardError, match="checksum"):
        open_shard(str(path), SPEC).verify()
