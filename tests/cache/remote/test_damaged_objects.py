"""Objects that are not what was stored: nothing of them is put in place, it is said, and a push replaces them."""

import hashlib
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.files.hostile_shards import HOSTILE
from helpers.storage.cached_rows import OTHER_SPEC, PROVENANCE, SPEC, damage, filled, keys, rows, shards

from cache.remote.pull import pull
from cache.remote.push import push
from cache.remote.shard_objects import HEAD_BYTES
from cache.shard_file import encode_shard
from cache.store import FeatureStore


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder to which a shard of 500 rows was pushed, from the cache `a`."""
    filled(tmp_path / "a", 500)
    push(str(tmp_path / "a"), str(tmp_path / "nas"))
    return tmp_path / "nas"


def only(there: Path) -> Path:
    (path,) = (there / SPEC.folder).glob("*.h5")
    return path


@pytest.mark.parametrize("where", ["head", "keys", "rows", "last byte"])
def test_a_flipped_bit_is_found_before_anything_is_put_in_place(there: Path, tmp_path: Path, where: str) -> None:
    path = only(there)
    image = bytearray(path.read_bytes())
    position = {"head": 30, "keys": 3000, "rows": len(image) // 2, "last byte": len(image) - 1}[where]
    image[position] ^= 1
    path.write_bytes(image)
    got = pull(str(tmp_path / "b"), str(there))
    assert got.rows == 0 and len(got.damaged) == 1 and str(there) in got.damaged[0]
    assert list(tmp_path.glob("b/**/*.h5*")) == []
    mended = push(str(tmp_path / "a"), str(there), check=True)
    assert mended.rows == 500 and len(mended.damaged) == 1
    assert pull(str(tmp_path / "b"), str(there)).rows == 500
    assert (FeatureStore(str(tmp_path / "b"), SPEC).read(keys(500)) == rows(500)).all()


@pytest.mark.parametrize("size", [0, 1, 47, 3000, HEAD_BYTES - 1, -1])
def test_a_cut_object_is_found_and_the_next_push_replaces_it(there: Path, tmp_path: Path, size: int) -> None:
    path = only(there)
    whole = path.read_bytes()
    os.truncate(path, size if size >= 0 else len(whole) - 1)
    got = pull(str(tmp_path / "b"), str(there))
    assert got.rows == 0 and len(got.damaged) == 1
    assert list(tmp_path.glob("b/**/*.h5*")) == []
    assert push(str(tmp_path / "a"), str(there)).rows == 500
    assert only(there).read_bytes() == whole


def test_rows_of_a_damaged_object_come_from_another_that_has_them(there: Path, tmp_path: Path) -> None:
    other = filled(tmp_path / "c", 500)
    path = only(there)
    image = bytearray(path.read_bytes())
    image[-1] ^= 1
    path.write_bytes(image)
    os.link(shards(other)[0], path.with_name("another.h5"))
    size = path.stat().st_size
    bounded = pull(str(tmp_path / "b"), str(there), most=size - 1)
    assert (bounded.rows, bounded.left) == (0, 500)
    got = pull(str(tmp_path / "b"), str(there), most=size)
    assert got.rows == 500 and len(got.damaged) <= 1
    assert (FeatureStore(str(tmp_path / "b"), SPEC).read(keys(500)) == rows(500)).all()


def test_an_object_of_another_spec_is_not_taken(there: Path, tmp_path: Path) -> None:
    data = bytes(encode_shard(rows(2, seed=1), keys(2, seed=1), OTHER_SPEC, PROVENANCE))
    (there / SPEC.folder / "planted.h5").write_bytes(data)
    got = pull(str(tmp_path / "b"), str(there))
    assert got.rows == 500 and "belongs to another spec" in got.damaged[0]


def test_rows_of_another_shape_are_not_taken(there: Path, tmp_path: Path) -> None:
    data = bytes(encode_shard(rows(2, 5, seed=1), keys(2, seed=1), SPEC, PROVENANCE))
    (there / SPEC.folder / "planted.h5").write_bytes(data)
    got = pull(str(tmp_path / "b"), str(there))
    assert got.rows == 500 and "rows of shape (5,)" in got.damaged[0]


def test_a_name_with_another_digest_is_not_taken(there: Path, tmp_path: Path) -> None:
    data = bytes(encode_shard(rows(2, seed=1), keys(2, seed=1), SPEC, PROVENANCE))
    (there / SPEC.folder / f"planted-{hashlib.sha256(b'other').hexdigest()}.h5").write_bytes(data)
    got = pull(str(tmp_path / "b"), str(there))
    assert got.rows == 500 and "another SHA-256" in got.damaged[0]


@pytest.mark.usefixtures("no_hang")
def test_hostile_shards_are_damaged_and_read_nothing_else(there: Path, tmp_path: Path) -> None:
    """As `tests/cache/test_shard_hostile.py` has them: links to other files, filters, sizes of terabytes."""
    os.mkfifo(trap := tmp_path / "trap")  # whoever opens it waits for ever
    for number, make in enumerate(HOSTILE.values()):
        with h5py.File(there / SPEC.folder / f"{number}.h5", "w", libver="latest") as file:
            make(file, str(trap))
    got = pull(str(tmp_path / "b"), str(there))
    assert got.rows == 500 and len(got.damaged) == len(HOSTILE)


@pytest.mark.parametrize("record", [b"", b"{", b'{"spec": {}}', b"[" * 70000, b'{"spec": null}'])
def test_without_a_readable_spec_the_shards_tell(there: Path, tmp_path: Path, record: bytes) -> None:
    (there / SPEC.folder / "spec.json").write_bytes(record)
    assert pull(str(tmp_path / "b"), str(there)).rows == 500


def test_a_folder_of_nothing_known_is_passed_over(there: Path, tmp_path: Path) -> None:
    strange = there / ("strange-" + "0" * 12)
    strange.mkdir()
    (strange / "x.h5").write_bytes(b"no shard")
    (there / ("link-" + "1" * 12)).symlink_to("/")
    assert pull(str(tmp_path / "b"), str(there)).rows == 500
    assert sorted(os.listdir(tmp_path / "b")) == [SPEC.folder]


def test_a_damaged_shard_of_the_cache_is_not_pushed(tmp_path: Path) -> None:
    store = filled(tmp_path / "a", 3, 2)
    damage(shards(store)[0])
    sent = push(str(tmp_path / "a"), str(tmp_path / "nas"))
    assert sent.rows == 2 and len(sent.damaged) == 1
    assert len(shards(store)) == 1
    assert pull(str(tmp_path / "b"), str(tmp_path / "nas")).rows == 2


def test_a_merge_never_deletes_for_a_damaged_double(tmp_path: Path) -> None:
    """The larger object has the rows of the smaller one, but they are damaged."""
    filled(tmp_path / "a", 5)
    small = FeatureStore(str(tmp_path / "c"), SPEC)
    small.commit(rows(5)[:3], keys(5)[:3], PROVENANCE)
    nas = tmp_path / "nas"
    push(str(tmp_path / "c"), str(nas))
    folder = nas / SPEC.folder
    damage(shards(FeatureStore(str(tmp_path / "a"), SPEC))[0])
    os.link(shards(FeatureStore(str(tmp_path / "a"), SPEC))[0], folder / "large.h5")
    push(str(tmp_path / "c"), str(nas), merge=True)
    assert len(list(folder.glob("*.h5"))) == 2
    assert pull(str(tmp_path / "b"), str(nas)).rows >= 3
    found = FeatureStore(str(tmp_path / "b"), SPEC)
    assert np.array_equal(found.read(keys(5)[:3]), rows(5)[:3])


def test_a_check_keeps_what_a_later_version_may_have_stored(there: Path, tmp_path: Path) -> None:
    """It cannot be read here, but it has the digest of its name."""
    data = b"a shard of another format"
    path = there / SPEC.folder / f"later-{hashlib.sha256(data).hexdigest()}.h5"
    path.write_bytes(data)
    done = push(str(tmp_path / "a"), str(there), check=True)
    assert len(done.damaged) == 1 and path.read_bytes() == data
