"""Workers that share no file system with the run push rows to a bucket or a mounted folder; the run pulls them."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from helpers.extractors import extractor_in, interrupt
from helpers.storage.clusters import dask_cluster
from helpers.storage.object_storage import Server, Storage
from helpers.storage.remote_rows import objects_at

pytest.importorskip("distributed")

import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from cache.remote.other_side import StorageError
from cache.remote.push import push
from cache.signatures import signature_store
from cache.store import FeatureStore
from featurize.cluster.active_cluster import active_through, pushing_through
from featurize.cluster.connect import connected
from featurize.cluster.drive import fill
from featurize.cluster.tasks import Answer
from featurize.cluster.worker_rows import _push
from featurize.cluster.workers import DaskWorkers
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.outcome import Outcome, Progress
from featurize.open_extractor import open_extractor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

HERE = "/proc/self/cwd"  # in each process its own folder: what a run has there, its workers have not


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory, storage_server: Server) -> Iterator[str]:
    """The address of a scheduler with two workers, which find the storage."""
    with dask_cluster(tmp_path_factory.mktemp("dask"), environment=storage_server.environment) as address:
        yield address


@pytest.fixture(params=["s3", "folder"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place that run and workers reach."""
    if request.param == "s3":
        return str(request.getfixturevalue("storage").url) + "/features"
    return str(tmp_path / "nas" / "features")


@pytest.fixture
def extractor(cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> NetworkExtractor:
    """That of a cache without rows, which no worker reaches."""
    caplog.set_level(logging.INFO, "bottleneck")
    monkeypatch.chdir(cache.parent)
    return extractor_in(f"{HERE}/cache")


@dataclass(frozen=True)
class HeardWorkers(DaskWorkers):
    """Workers whose answers are also kept in `heard`."""

    heard: list[Answer] = field(default_factory=list)

    def answers(self, *given: Any) -> Iterator[Any]:
        for answer in super().answers(*given):
            self.heard.append(answer)
            yield answer


def computed(
    extractor: NetworkExtractor, scheduler: str, pictures: list[str], address: str, progress: Progress | None = None
) -> tuple[Outcome, list[Answer]]:
    """What became of pictures on that cluster, and all that its workers have answered."""
    from joblib.parallel import get_active_backend

    with connected(scheduler), pushing_through(address), extractor.new_outcome(pictures) as (outcome, cost):
        workers = HeardWorkers(*get_active_backend())
        assert fill(extractor, workers, outcome, cost, progress)
    assert active_through() == ""
    return outcome, workers.heard


def rows_in(folder: str | Path, extractor: NetworkExtractor) -> int:
    """Rows in the shards of a cache, or of a mounted folder, doubles counted."""
    return sum(map(len, FeatureStore(str(folder), extractor.spec).refresh()))


def test_rows_go_through_the_other_side_and_not_through_the_scheduler(
    extractor: NetworkExtractor,
    scheduler: str,
    pictures: list[str],
    expected: np.ndarray,
    address: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    missing = str(tmp_path / "missing.png")
    told: list[tuple[str, int, int]] = []
    outcome, heard = computed(extractor, scheduler, [*pictures, missing], address, lambda *now: told.append(now))
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected)
    assert outcome.computed == outcome.forward_passes == rows_in(extractor.cache_dir, extractor) == 240
    assert [failure.path for failure in outcome.failures] == [missing] and told[-1] == ("features", 241, 241)
    assert len(heard) > 1 and all(answer.pushed and not answer.reached and answer.shards == [] for answer in heard)
    assert f"workers push their rows to {address}, for they cannot reach the cache {HERE}/cache" in caplog.messages
    assert f"240 rows are pulled from {address}" in caplog.messages
    assert set(DigestTable(f"{HERE}/cache").unchanged(pictures)) == {*pictures}  # so that nothing is read again

    other = extractor_in(tmp_path / "other")  # another machine, which has neither rows nor digests
    outcome, heard = computed(other, scheduler, pictures, address)
    assert outcome.computed == outcome.forward_passes == 0 and all(answer.shards == [] for answer in heard)
    np.testing.assert_array_equal(other.store.read(outcome.keys), expected)
    with connected(scheduler), pushing_through(address):
        assert extractor.run(pictures).forward_passes == 0
    assert "very-secret-key" not in caplog.text


@pytest.mark.parametrize("known", [True, False])
def test_what_was_pushed_before_is_pulled_and_not_computed(
    extractor: NetworkExtractor,
    scheduler: str,
    pictures: list[str],
    expected: np.ndarray,
    address: str,
    known: bool,
    warm_cache: Path,
    tmp_path: Path,
) -> None:
    push(str(warm_cache), address)  # of other pictures
    other = extractor_in(tmp_path / "other")
    other.run(pictures[:100])
    push(other.cache_dir, address)
    if known:
        Outcome(pictures).take_digests(extractor.table)
    outcome, heard = computed(extractor, scheduler, pictures, address)
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected)
    assert outcome.computed == outcome.forward_passes == 140
    assert rows_in(extractor.cache_dir, extractor) == 240  # those of the other pictures have stayed there
    assert sum(len(answer.outcome.digests) for answer in heard if answer.outcome) == (140 if known else 380)


def test_pictures_that_are_too_few_to_be_handed_out_are_pulled_as_well(
    extractor: NetworkExtractor, scheduler: str, pictures: list[str], tmp_path: Path
) -> None:
    other = extractor_in(tmp_path / "other")
    other.run(pictures[:20])
    push(other.cache_dir, str(tmp_path / "nas"))
    with connected(scheduler), pushing_through(str(tmp_path / "nas")):
        assert extractor.run(pictures[:20]).forward_passes == 0


def test_views_and_joined_backbones_go_through_as_well(
    extractor: NetworkExtractor, scheduler: str, pictures: list[str], tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"backbone": "nano+nano", "pooling": "avg+max", "views": 2}
    joined = open_extractor(extractor.cache_dir, **asked)
    other = open_extractor(str(tmp_path / "other"), **asked)
    for each, passes in ((joined, 4 * 60), (other, 0)):
        with connected(scheduler), pushing_through(str(tmp_path / "nas")):
            outcome = each.run(pictures[:60])
        assert (outcome.forward_passes, len(outcome.succeeded)) == (passes, 60)
    for one, two in zip(joined.stores, other.stores, strict=True):
        np.testing.assert_array_equal(one.read(outcome.keys), two.read(outcome.keys))
    known = signature_store(other.cache_dir).contains(outcome.keys)
    assert known.all()


def test_workers_that_reach_the_cache_commit_there_and_push_nothing(
    scheduler: str, pictures: list[str], expected: np.ndarray, cache: Path, address: str, tmp_path: Path
) -> None:
    other = extractor_in(tmp_path / "other")
    other.run(pictures[:100])
    push(other.cache_dir, address)
    before = objects_at(address, other.spec.folder)
    extractor = extractor_in(cache)
    outcome, heard = computed(extractor, scheduler, pictures, address)
    assert all(answer.reached and not answer.pushed for answer in heard) and outcome.forward_passes == 140
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected)
    assert objects_at(address, extractor.spec.folder) == before


def test_a_killed_worker_costs_its_task_at_most(
    extractor: NetworkExtractor, scheduler: str, pictures: list[str], expected: np.ndarray, tmp_path: Path
) -> None:
    from distributed import Client

    killed: list[int] = []

    def kill(*_: object) -> None:
        if not killed:  # after the first answer
            with Client(scheduler, set_as_default=False) as client:
                killed.append(client.run(os.getpid).popitem()[1])
            os.kill(killed[0], signal.SIGKILL)

    outcome, _ = computed(extractor, scheduler, pictures, str(tmp_path / "nas"), kill)
    assert killed and not outcome.failures and outcome.succeeded == [*range(240)]
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected)
    assert 240 <= rows_in(tmp_path / "nas", extractor) <= 240 + 64


def test_a_run_that_is_interrupted_goes_on_from_what_was_pushed(
    extractor: NetworkExtractor, scheduler: str, pictures: list[str], expected: np.ndarray, tmp_path: Path
) -> None:
    nas = tmp_path / "nas"
    with pytest.raises(KeyboardInterrupt) as interruption:
        computed(extractor, scheduler, pictures, str(nas), lambda *_: interrupt())
    assert "the next run with the same --through goes on from there" in str(interruption.value.__notes__)
    kept = rows_in(nas, extractor)
    outcome, _ = computed(extractor_in(f"{HERE}/cache"), scheduler, pictures, str(nas))
    assert kept > 0 and outcome.forward_passes <= 240 - kept
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected)


def test_pictures_whose_rows_cannot_be_pushed_fail_with_the_reason(
    extractor: NetworkExtractor, scheduler: str, pictures: list[str], tmp_path: Path
) -> None:
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas" / extractor.spec.folder).write_bytes(b"")  # a file where a folder belongs
    outcome, _ = computed(extractor, scheduler, pictures[:3], str(tmp_path / "nas"))
    assert outcome.succeeded == [] and [failure.path for failure in outcome.failures] == pictures[:3]
    assert {*outcome.reasons.values()} == {
        f"{tmp_path / 'nas' / extractor.spec.folder} cannot be listed: Not a directory"
    }


def test_a_push_that_fails_names_no_credential(storage: Storage, warm_cache: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written, there is no such bucket") as failed:
        _push(str(warm_cache), f"{storage.url}-gone/features")
    assert "very-secret-key" not in str(failed.value)


def test_rows_that_do_not_come_back_end_the_run(
    extractor: NetworkExtractor, scheduler: str, pictures: list[str], tmp_path: Path
) -> None:
    def cut(*_: object) -> None:
        for path in (tmp_path / "nas" / extractor.spec.folder).glob("*.h5"):
            os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(UserError, match=r"^rows of \d+ pictures that workers have pushed do not come back") as ended:
        computed(extractor, scheduler, pictures, str(tmp_path / "nas"), cut)
    assert len(str(ended.value).splitlines()) == 1
    outcome, _ = computed(extractor, scheduler, pictures, str(tmp_path / "nas"))
    assert outcome.succeeded == [*range(240)]


def test_a_place_that_is_another_one_for_workers_is_refused_before_anything_is_computed(
    extractor: NetworkExtractor, scheduler: str, pictures: list[str]
) -> None:
    with pytest.raises(UserError, match=rf"{HERE}/nas is not the place here that it is for the run") as refused:
        computed(extractor, scheduler, pictures, f"{HERE}/nas")
    assert len(str(refused.value).splitlines()) == 1


def test_what_no_rows_can_go_through_is_one_line(
    run: Callable[..., tuple[int, str, str]],
    pictures: list[str],
    cache: Path,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as where it is not installed
    (cache.parent / "file").write_bytes(b"")
    words = ["features", "--data", os.path.dirname(pictures[0]), "--backbone", SPEC["backbone"], "--cache-dir", cache]
    for cluster, through, line in (
        (None, "nas", "through nas: there are no workers that rows could come from; give --cluster (cluster=) as well"),
        ("local:1", "nas", "through nas: there are no workers that rows could come from"),
        ("local:2", "", "the address is empty"),
        ("local:2", "nix://bucket/features", "no driver has such addresses"),
        ("local:2", "s3://key:very-secret-key@bucket/features", "may hold no password, key or signature"),
        ("local:2", "ftp://user:very-secret-key@host/features", "no driver has such addresses"),
        ("local:2", "gs://bucket/features", "install gcsfs to access Google Storage): pip install '.[gcs]'"),
        ("local:2", f"{storage.url}-gone/features", "-gone/features cannot be written, there is no such bucket"),
        ("local:2", cache.parent / "file", "cannot be listed: Not a directory"),
        ("local:2", "/proc/features", "/proc/features cannot be written: "),
        ("local:2", cache, f"{cache} is the cache {cache} itself"),
    ):
        there = ["--cluster", cluster] if cluster else []
        status, out, err = run(*words, *there, "--through", through)
        assert (status, out) == (2, "") and line in err and len(err.splitlines()) == 1, (through, err)
        assert "very-secret-key" not in err


def test_the_option_is_one_of_functions_and_commands(
    run: Callable[..., tuple[int, str, str]], surfaces: Path, warm_cache: Path, tmp_path: Path
) -> None:
    nas = tmp_path / "nas"
    push(str(warm_cache), str(nas))
    asked = {"cache_dir": str(tmp_path / "a"), "cluster": "local:2", "through": nas}
    assert pipeline.features(str(surfaces), **SPEC, **asked)["forward_passes"] == 0
    words = ["--data", surfaces, "--backbone", SPEC["backbone"], "--cluster", "local:2", "--through", nas]
    status, out, err = run("train", *words, "--cache-dir", tmp_path / "b", "--model", tmp_path / "m.joblib")
    assert (status, "forward passes 0" in out) == (0, True), (out, err)
    status, out, err = run("compare", *words, "--cache-dir", tmp_path / "b", "--heads", "centroid", "--folds", "2")
    assert status == 0, err
