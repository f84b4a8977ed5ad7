"""Shard files made by an enemy: right in their checksums, wrong in what they say."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.cached_rows import OTHER_SPEC, PROVENANCE, SPEC, keys, rows
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cache.shard import DamagedShardError, open_shard

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=6)
BITS = st.integers(0, 2**32 - 1)


pytestmark = pytest.mark.usefixtures("no_hang")


FEATURES, DIGESTS = rows(4, 6), keys(4)


def honest(file: h5py.File, *without: str, **attributes: Any) -> None:
    """A valid shard, but for some parts left out and attributes that are replaced."""
    arrays = {
        "features": FEATURES,
        "digest": DIGESTS,
        "crc32": np.array([zlib.crc32(FEATURES.tobytes(), zlib.crc32(DIGESTS.tobytes()))], "<u4"),
    }
    plain = {
        "format": 1,
        "spec": np.bytes_(json.dumps(SPEC.to_json())),
        "provenance": np.bytes_(json.dumps(PROVENANCE)),
        "block_rows": 100,
        "digest_crc32": zlib.crc32(DIGESTS.tobytes()),
    }
    for name, array in arrays.items():
        if name not in without:
            file.create_dataset(name, data=array)
    for name, value in (plain | attributes).items():
        if name not in without:
            file.attrs[name] = value


def linked(file: h5py.File, trap: str) -> None:
    honest(file, "features")
    file["features"] = h5py.ExternalLink(trap, "features")


def soft_linked(file: h5py.File, _: str) -> None:
    honest(file, "features")
    file["elsewhere"] = FEATURES
    file["features"] = h5py.SoftLink("/elsewhere")


def linked_keys(file: h5py.File, trap: str) -> None:
    honest(file, "digest")
    file["digest"] = h5py.ExternalLink(trap, "digest")


def external(file: h5py.File, trap: str) -> None:
    honest(file, "features")
    file.create_dataset("features", FEATURES.shape, "<f4", external=[(trap, 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, trap: str) -> None:
    honest(file, "features")
    layout = h5py.VirtualLayout(FEATURES.shape, "<f4")
    layout[:] = h5py.VirtualSource(trap, "features", FEATURES.shape)
    file.create_virtual_dataset("features", layout)


def endless_virtual(file: h5py.File, trap: str) -> None:
    honest(file, "features")
    layout = h5py.VirtualLayout((4, 6), "<f4", maxshape=(None, 6))
    source = h5py.VirtualSource(trap, "features", (4, 6), maxshape=(None, 6))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("features", layout)


def compressed(file: h5py.File, _: str) -> None:
    honest(file, "features")
    bomb = file.create_dataset("features", (4, 2**26), "<f4", chunks=(1, 2**22), compression="gzip")
    bomb[0, : 2**22] = 0


def declared_40_terabytes(file: h5py.File, _: str) -> None:
    honest(file, "features", "digest")
    file.create_dataset("features", (10**10, 1000), "<f4")
    file.create_dataset("digest", (10**10, 32), "u1")


def chunks_of_40_terabytes(file: h5py.File, _: str) -> None:
    honest(file, "features")
    file.create_dataset("features", (10**10, 1000), "<f4", chunks=(1, 1000))


def compact(file: h5py.File, _: str) -> None:
    honest(file, "features")
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(FEATURES.shape)
    h5py.h5d.create(file.id, b"features", h5py.h5t.IEEE_F32LE, space, properties)


def replaced(name: str, data: Any) -> Callable[[h5py.File, str], None]:
    def make(file: h5py.File, _: str) -> None:
        honest(file, name)
        file.create_dataset(name, data=data)

    return make


def with_group(file: h5py.File, _: str) -> None:
    honest(file, "features")
    file.create_group("features")


def without(name: str) -> Callable[[h5py.File, str], None]:
    return lambda file, _: honest(file, name)


def attribute(name: str, value: Any) -> Callable[[h5py.File, str], None]:
    return lambda file, _: honest(file, **{name: value})


DEEP = np.bytes_("[" * 20_000)
HOSTILE: dict[str, Callable[[h5py.File, str], None]] = {
    "external link": linked,
    "external link for the keys": linked_keys,
    "soft link": soft_linked,
    "external storage": external,
    "virtual dataset": virtual,
    "virtual dataset without end": endless_virtual,
    "compressed bomb": compressed,
    "40 TB declared": declared_40_terabytes,
    "40 TB in chunks": chunks_of_40_terabytes,
    "compact layout": compact,
    "features a group": with_group,
    "features float64": replaced("features", FEATURES.astype("<f8")),
    "features big-endian": replaced("features", FEATURES.astype(">f4")),
    "features a single number": replaced("features", np.float32(1)),
    "features without content": replaced("features", h5py.Empty("<f4")),
    "features of no rows": replaced("features", np.zeros((0, 6), "<f4")),
    "features of no width": replaced("features", np.zeros((4, 0), "<f4")),
    "more features than keys": replaced("features", rows(5, 6)),
    "features of texts": replaced("features", np.array([b"abc", b"def"], dtype=object)),
    "keys of 31 bytes": replaced("digest", DIGESTS[:, :31]),
    "keys of signed bytes": replaced("digest", DIGESTS.view(np.int8)),
    "too few checksums": replaced("crc32", np.zeros(0, "<u4")),
    "too many checksums": replaced("crc32", np.zeros(2, "<u4")),
    "wrong checksum": replaced("crc32", np.zeros(1, "<u4")),
    **{f"no {name}": without(name) for name in ("features", "digest", "crc32")},
    **{f"no {name}": without(name) for name in ("format", "spec", "provenance", "block_rows", "digest_crc32")},
    "format of tomorrow": attribute("format", 2),
    "format a text of variable length": attribute("format", "1"),
    "format an array": attribute("format", np.ones(1000, int)),
    "format a fraction": attribute("format", 1.0),
    "format empty": attribute("format", h5py.Empty("i8")),
    "spec of variable length": attribute("spec", json.dumps(SPEC.to_json())),
    "spec no JSON": attribute("spec", np.bytes_("{")),
    "spec no spec": attribute("spec", np.bytes_("{}")),
    "spec of another": attribute("spec", np.bytes_(json.dumps(OTHER_SPEC.to_json()))),
    "spec no UTF-8": attribute("spec", np.bytes_(b"\xff\xfe\xfd")),
    "spec too deep": attribute("spec", DEEP),
    "spec an array": attribute("spec", np.array([b"a", b"b"])),
    "provenance of variable length": attribute("provenance", json.dumps(PROVENANCE)),
    "provenance a list": attribute("provenance", np.bytes_("[1]")),
    "provenance too deep": attribute("provenance", DEEP),
    "blocks of no rows": attribute("block_rows", 0),
    "blocks of negative rows": attribute("block_rows", -1),
    "blocks beyond all memory": attribute("block_rows", 2**62),
    "keys with a wrong checksum": attribute("digest_crc32", 0),
    "checksum a text of variable length": attribute("digest_crc32", "0"),
}


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
