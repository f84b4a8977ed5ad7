"""Locks of the kernel, and file systems that have none."""

import errno
import fcntl
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.models.model_records import RECORD
from helpers.storage.cached_rows import PROVENANCE, SPEC, filled, keys, rows, shards

import cache.files.lock
from cache.files.lock import holding
from cache.store import FeatureStore
from cache.upkeep.inventory import collect_garbage
from classify.heads.head_table import make_head
from classify.saved.persist import load, save


@pytest.fixture(params=[errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that answers `flock` as some do."""

    def flock(*_: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(cache.files.lock, "_announced", set())


def test_others_wait_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    path = str(tmp_path / "lock")
    order = []

    def wait() -> None:
        with holding(path, "somebody is busy: waiting") as alone:
            order.append(alone)

    other = threading.Thread(target=wait)
    with holding(path, "not said") as alone, holding(path, "not said") as again:
        other.start()
        other.join(0.2)
        order.append("first")
    other.join(600)
    assert alone and again and order == ["first", True]
    assert caplog.messages == [f"somebody is busy: waiting ({path})"]


def test_the_file_that_a_dead_holder_has_left_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("12345\nsome host\n")
    with holding(str(path)) as alone:
        assert alone


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    os.symlink(tmp_path / "outside", tmp_path / "lock")
    with pytest.raises(OSError, match="lock"), holding(str(tmp_path / "lock")):
        pass
    assert not (tmp_path / "outside").exists()


@pytest.mark.usefixtures("without_locks")
def test_without_locks_all_goes_on_and_it_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(tmp_path, 3, 4)
    with store.lock() as alone, store.lock(".run"):
        assert not alone
    assert store.compact(100) == (0, 1)
    assert (FeatureStore(str(tmp_path), SPEC).read(keys(7)) == rows(7)).all()
    assert [store.folder in message and "no locks" in message for message in caplog.messages] == [True]
    assert sorted(os.listdir(store.folder)) == sorted(
        [".commit.lock", ".run.lock", "spec.json", os.path.basename(shards(store)[0])]
    )


@pytest.mark.usefixtures("without_locks")
def test_without_locks_files_that_a_run_may_be_writing_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(tmp_path, 3, 4)
    unfinished = Path(store.folder, "0123.h5.0123456789ab.tmp")
    unfinished.write_bytes(b"half")
    Path(store.folder, "0123.h5.damaged").write_bytes(b"damaged")
    assert collect_garbage(str(tmp_path), 100) == {"files": 1, "rows": 0, "shards": 1}
    assert unfinished.exists() and str(unfinished) in caplog.text


@pytest.mark.usefixtures("without_locks")
def test_without_locks_rows_stored_twice_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs have looked before either has stored."""
    store, other = FeatureStore(str(tmp_path), SPEC), FeatureStore(str(tmp_path), SPEC)
    look = FeatureStore.refresh

    def looked_before_the_other_stored(self: FeatureStore) -> list:
        found = look(self)
        monkeypatch.setattr(FeatureStore, "refresh", look)
        assert other.commit(rows(7), keys(7), PROVENANCE) == 7
        return found

    monkeypatch.setattr(FeatureStore, "refresh", looked_before_the_other_stored)
    assert store.commit(rows(7), keys(7), PROVENANCE) == 7
    assert (store.read(keys(7)) == rows(7)).all()
    assert collect_garbage(str(tmp_path), 100) == {"files": 0, "rows": 7, "shards": 1}
    assert (store.read(keys(7)) == rows(7)).all()


@pytest.mark.usefixtures("without_locks")
def test_without_locks_models_are_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = np.array(["a", "b", "c", "d"] * 5)
    head = make_head("ridge", {}, 0).fit(rows(20), names)
    save(str(tmp_path / "m.joblib"), head, keys(20), RECORD)
    assert load(str(tmp_path / "m.joblib")).predictor.classes_.tolist() == ["a", "b", "c", "d"]
    assert len(caplog.messages) == 1 and str(tmp_path) in caplog.text
