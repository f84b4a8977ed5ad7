"""One shard: what was written comes back, or an error that names the file. Never a wrong number, never a hang."""

import errno
import json
import os
import random
import resource
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.other_user import folder_for_all, read_only
from helpers.storage.cached_rows import OTHER_SPEC, PROVENANCE, SPEC, keys, rows, write_shard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cache.shard_file import DamagedShardError, encode_shard, open_shard

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=6)
BITS = st.integers(0, 2**32 - 1)


pytestmark = pytest.mark.usefixtures("no_hang")


def large(count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 80 kB, so that a shard has several blocks, the last of them shorter."""
    return rows(count, 20_000), keys(count)


@given(bits=arrays.arrays(np.uint32, SHAPES, elements=BITS), data=st.data())
@settings(max_examples=60)
def test_any_rows_come_back_bit_by_bit_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, bits: np.ndarray, data: st.DataObject
) -> None:
    features = bits.view("<f4")  # among them NaNs, infinities and denormal numbers
    shard = write_shard(tmp_path_factory.mktemp("shard") / "shard.h5", features, keys(len(bits)))
    wanted = np.array(data.draw(st.lists(st.integers(0, len(bits) - 1), max_size=12)), dtype=np.int64)
    assert (shard.digests == keys(len(bits))).all()
    assert shard.provenance == PROVENANCE
    assert shard.row_shape == features.shape[1:]
    found = shard.read(wanted)
    assert found.shape == (len(wanted), *features.shape[1:])
    assert found.tobytes() == features[wanted].tobytes()
    shard.verify()


@given(st.lists(st.integers(0, 9), max_size=25))
@settings(max_examples=40)
def test_rows_of_several_blocks_come_in_the_order_asked_for(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[int]
) -> None:
    features, digests = large()
    path = tmp_path_factory.getbasetemp() / "blocks.h5"
    shard = open_shard(str(path)) if path.exists() else write_shard(path, features, digests)
    assert (shard.read(np.array(wanted, dtype=np.int64)) == features[wanted]).all()


def test_rows_are_read_into_the_places_given(tmp_path: Path) -> None:
    features, digests = large()
    shard = write_shard(tmp_path / "shard.h5", features, digests)
    target = np.zeros((25, 20_000), np.float32)
    places = np.array([24, *range(3, 13), 0])
    wanted = np.array([7, *range(10), 7])
    shard.read_into(target, places, wanted)
    assert (target[places] == features[wanted]).all()
    assert not np.delete(target, places, axis=0).any()


def test_rows_of_another_shape_than_expected_are_damage(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "shard.h5", rows(3, 1), keys(3))
    with pytest.raises(DamagedShardError, match="shape"):
        shard.read_into(np.zeros((3, 8), np.float32), np.arange(3), np.arange(3))


def test_other_numbers_are_stored_as_float32(tmp_path: Path) -> None:
    features = np.arange(12, dtype=">f8").reshape(3, 4).T
    found = write_shard(tmp_path / "shard.h5", features, keys(4)).read(np.arange(4))
    assert found.dtype == np.float32
    assert (found == features).all()


def test_hdf5_tools_see_plain_arrays_and_the_whole_spec(tmp_path: Path) -> None:
    features, digests = rows(5), keys(5)
    write_shard(tmp_path / "shard.h5", features, digests)
    with h5py.File(tmp_path / "shard.h5") as file:
        assert (file["features"][:] == features).all()
        assert (file["digest"][:] == digests).all()
        assert json.loads(file.attrs["spec"]) == SPEC.to_json()
        assert json.loads(file.attrs["provenance"]) == PROVENANCE
        assert file["features"].chunks is None


def test_a_flipped_bit_in_the_rows_spares_the_other_blocks(tmp_path: Path) -> None:
    features, digests = large()
    shard = write_shard(tmp_path / "shard.h5", features, digests)
    content = bytearray((tmp_path / "shard.h5").read_bytes())
    content[shard.offset + 4 * shard.row_bytes + 11] ^= 16
    (tmp_path / "shard.h5").write_bytes(content)
    for damaged in (shard, open_shard(str(tmp_path / "shard.h5"), SPEC)):
        assert (damaged.read(np.array([0, 9])) == features[[0, 9]]).all()
        for wanted in ([4], [0, 4, 9], range(10)):
            with pytest.raises(DamagedShardError, match=r"shard\.h5: checksum of rows 3 to 5 is wrong"):
                damaged.read(np.array(wanted))
        with pytest.raises(DamagedShardError, match="checksum"):
            damaged.verify()


def test_rows_that_changed_places_are_noticed(tmp_path: Path) -> None:
    features, digests = large(9)
    path = tmp_path / "shard.h5"
    shard = write_shard(path, features, digests)
    content = path.read_bytes()
    start, size = shard.offset, 3 * shard.row_bytes
    first, second = content[start : start + size], content[start + size : start + 2 * size]
    path.write_bytes(content[:start] + second + first + content[start + 2 * size :])
    with pytest.raises(DamagedShardError, match="checksum"):
        open_shard(str(path), SPEC).read(np.array([0]))


def test_a_shard_cut_or_lost_after_it_was_opened_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    shard = write_shard(path, *large())
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(DamagedShardError, match="shorter than its rows"):
        shard.read(np.arange(10))
    path.unlink()
    with pytest.raises(FileNotFoundError):
        shard.read(np.arange(10))
    with pytest.raises(FileNotFoundError):
        open_shard(str(path))


def test_overwritten_with_zeros_or_noise_is_damage(tmp_path: Path) -> None:
    features, digests = rows(4, 6), keys(4)
    whole = bytes(encode_shard(features, digests, SPEC, PROVENANCE))
    path = tmp_path / "shard.h5"
    chosen = random.Random(0)
    for fill in (bytes, chosen.randbytes):
        for _ in range(60):
            start = chosen.randrange(len(whole))
            changed = whole[:start] + fill(64) + whole[start + 64 :]
            path.write_bytes(changed[: len(whole)])
            try:
                found = open_shard(str(path), SPEC).read(np.arange(4))
            except DamagedShardError:
                continue
            assert found.tobytes() == features.tobytes()


def test_a_disk_that_cannot_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = write_shard(tmp_path / "shard.h5", rows(3), keys(3))

    def failing(*_: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(DamagedShardError, match="Input/output error"):
        shard.verify()


def test_reads_that_come_in_pieces_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, digests = large()
    shard = write_shard(tmp_path / "shard.h5", features, digests)
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, parts, start: preadv(file, [parts[0][:70_001]], start))
    assert (shard.read(np.arange(10)) == features).all()


def test_a_lack_of_file_descriptors_is_no_damage(tmp_path: Path) -> None:
    path = str(tmp_path / "shard.h5")
    shard = write_shard(Path(path), rows(3), keys(3))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        for use in (lambda: open_shard(path), shard.verify, lambda: shard.read(np.arange(3))):
            with pytest.raises(OSError, match="Too many open files"):
                use()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (open_shard(path).read(np.arange(3)) == rows(3)).all()


def test_a_shard_that_one_may_not_read_is_no_damage() -> None:
    with folder_for_all() as folder:
        path = os.path.join(folder, "shard.h5")
        write_shard(Path(path), rows(3), keys(3))
        with read_only(folder):
            assert len(open_shard(path)) == 3
        os.chmod(path, 0o000)
        os.chmod(folder, 0o755)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError):
                open_shard(path)
        finally:
            os.seteuid(user)


def test_a_shard_of_another_spec_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "shard.h5")
    write_shard(Path(path), rows(3), keys(3))
    assert open_shard(path).spec == SPEC
    with pytest.raises(DamagedShardError, match=f"another spec.*{SPEC.folder}"):
        open_shard(path, OTHER_SPEC)
