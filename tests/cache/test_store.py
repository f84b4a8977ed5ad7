"""The store: what was committed is read back, once, by everybody, whatever happens beside it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.storage.cached_rows import OTHER_SPEC, PROVENANCE, SPEC, filled, keys, rows, shards
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cache.shard_file import open_shard
from cache.store import FeatureStore
from cache.upkeep.spec_folders import stored_specs

POOL = keys(40)  # few keys, so that random batches overlap


def test_nothing_is_created_by_asking(store: FeatureStore, tmp_path: Path) -> None:
    assert not store.contains(POOL).any()
    assert store.contains(POOL[:0]).shape == (0,)
    assert len(store.read(POOL[:0])) == 0
    with pytest.raises(KeyError, match=r"40 of 40 rows are not in .*mobilenet_v2"):
        store.read(POOL)
    assert store.refresh() == []
    assert os.listdir(tmp_path) == []


def test_committed_rows_are_found_by_every_store_of_the_spec_and_no_other(tmp_path: Path) -> None:
    earlier = FeatureStore(str(tmp_path), SPEC)
    earlier.contains(POOL)
    assert filled(tmp_path, 3, 4).contains(keys(7)).all()
    for store in (earlier, FeatureStore(str(tmp_path), SPEC)):
        assert (store.read(keys(7)) == rows(7)).all()
    assert not FeatureStore(str(tmp_path), OTHER_SPEC).contains(keys(7)).any()


batches = st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=12), min_size=1, max_size=5)


@given(batches=batches, shape=arrays.array_shapes(max_dims=3, max_side=4), data=st.data())
@settings(max_examples=25)
def test_the_first_row_under_a_key_stays_and_is_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[int]],
    shape: tuple[int, ...],
    data: st.DataObject,
) -> None:
    store = FeatureStore(str(tmp_path_factory.mktemp("store")), SPEC)
    model: dict[int, bytes] = {}
    for seed, batch in enumerate(batches):
        features = np.random.default_rng(seed).integers(0, 2**32, (len(batch), *shape), np.uint32).view("<f4")
        before = len(model)
        for number, row in zip(batch, features, strict=True):
            model.setdefault(number, row.tobytes())
        assert store.commit(features, POOL[batch], PROVENANCE) == len(model) - before
    assert sum(map(len, store.refresh())) == len(model)
    assert [number for number in range(40) if store.contains(POOL)[number]] == sorted(model)
    wanted = data.draw(st.lists(st.sampled_from(sorted(model)), max_size=50))
    for reader in (store, FeatureStore(str(Path(store.folder).parent), SPEC)):
        found = reader.read(POOL[wanted])
        assert len(found) == len(wanted)
        assert [row.tobytes() for row in found] == [model[number] for number in wanted]


def test_keys_that_differ_in_one_byte_are_kept_apart(store: FeatureStore) -> None:
    alike = np.zeros((66, 32), np.uint8)
    for byte in range(32):
        alike[byte, byte] = 1
        alike[32 + byte, byte] = 128
    alike[65] = 255
    store.commit(rows(66)[::2], alike[::2], PROVENANCE)
    assert store.contains(alike).tolist() == [True, False] * 33
    store.commit(rows(66)[1::2], alike[1::2], PROVENANCE)
    assert (store.read(alike) == rows(66)).all()


def test_rows_that_are_all_stored_already_make_no_shard(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    assert store.commit(rows(5, seed=1), keys(5), PROVENANCE) == 0
    assert len(shards(store)) == 1
    assert (store.read(keys(5)) == rows(5)).all()


def test_keys_and_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    new = keys(9)[5:]
    for features, digests in (
        (rows(3), new),
        (rows(5), new),
        (rows(4), new[:, :31]),
        (rows(4), new.astype(np.int64)),
        (rows(4), new.ravel()),
        (rows(4, 7), new),
        (rows(4, 8).reshape(4, 2, 4), new),
    ):
        with pytest.raises(ValueError, match=r"keys of shape|rows of shape"):
            store.commit(features, digests, PROVENANCE)
    assert len(shards(store)) == 1


def test_shards_carry_spec_and_provenance_and_the_folder_its_spec(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    shard = open_shard(shards(store)[0])
    assert (shard.spec, shard.provenance) == (SPEC, PROVENANCE)
    record = json.loads(Path(store.folder, "spec.json").read_text())
    assert record == {"fingerprint": SPEC.fingerprint, "spec": SPEC.to_json()}


def test_a_damaged_spec_file_is_mended_by_the_next_commit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(tmp_path, 2)
    for content in (b"", b"{", b"[]", b"[" * 100_000, b'{"spec": {}}'):
        Path(store.folder, "spec.json").write_bytes(content)
        caplog.clear()
        assert [found.spec for found in stored_specs(str(tmp_path))] == [SPEC], "a shard tells"
        assert store.folder in caplog.text
    store.commit(rows(3)[2:], keys(3)[2:], PROVENANCE)
    caplog.clear()
    assert [found.spec for found in stored_specs(str(tmp_path))] == [SPEC]
    assert caplog.text == ""


def test_a_copied_folder_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(tmp_path, 2)
    copy = Path(f"{store.folder} (copy)")
    copy.mkdir()
    (copy / "spec.json").write_bytes(Path(store.folder, "spec.json").read_bytes())
    (tmp_path / "a folder of something else").mkdir()
    (tmp_path / "file").touch()
    assert [found.folder for found in stored_specs(str(tmp_path))] == [store.folder]
    assert str(copy) in caplog.text
    assert list(stored_specs(str(tmp_path / "missing"))) == []
    assert list(stored_specs(str(tmp_path / "file"))) == []


def test_a_cache_whose_name_is_no_utf8(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n")
    store = filled(folder, 2, 3)
    store.compact(100)
    assert (FeatureStore(folder, SPEC).read(keys(5)) == rows(5)).all()
