"""Point 6: runs side by side store each image once, and readers are never disturbed; with locks and without."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY, TESTS
from helpers.storage.cached_rows import PROVENANCE, SPEC, filled, keys, rows
from reliability.conftest import Count, Figure
from reliability.harness import work_beside
from reliability.harness.real_command import empty_cache, features, features_report, finish, start, stored

from cache.store import FeatureStore
from cache.upkeep.inventory import collect_garbage
from featurize.extract.pending_rows import MANY as WAITING

MANY = 48  # so many that a run waits for the other one; of FEW both compute what neither finds
FEW = 16


def test_two_commands_at_once_store_each_image_once(
    photographs: Callable[[int], Path], warm_cache: Path, tmp_path: Path, count: Count, figure: Figure
) -> None:
    rounds = count(50, 2)
    for number in (MANY, FEW):
        photos = photographs(number)
        alone = empty_cache(warm_cache, tmp_path / f"alone{number}")
        total = features_report(photos, alone)["computed"]
        right = stored(alone)
        assert 0 < len(right) == total <= number
        for round_ in range(rounds // 2):
            cache = empty_cache(warm_cache, tmp_path / f"{number}-{round_}")
            reports = [tmp_path / f"{number}-{round_}-{which}.json" for which in "ab"]
            both = [features(photos, cache, "--shard-rows", 10, "--json", path) for path in reports]
            for process in both:
                status, _, err = finish(process)
                assert status == 0, err
            found = [json.loads(path.read_text()) for path in reports]
            assert [report["failed"] for report in found] == [0, 0]
            if total > WAITING:
                assert sum(report["computed"] for report in found) == total, "one waited for the other"
            assert stored(cache) == right, "each once, bit by bit as of one run"
            shutil.rmtree(cache)
    figure(6, f"{rounds} rounds of two `features` at once: each image stored once, rows bit by bit those of one run")


def test_readers_see_no_error_while_rows_are_committed_and_merged(tmp_path: Path, count: Count, figure: Figure) -> None:
    """Each row that a reader has found once it finds from then on, and right."""
    commits = count(100, 10)
    total = commits * work_beside.BATCH
    with beside("read", tmp_path, 8, total) as readers:
        store, merging = FeatureStore(str(tmp_path), SPEC), FeatureStore(str(tmp_path), SPEC)
        done = threading.Event()
        merges = []

        def merge() -> None:
            while not done.is_set():
                merges.append(merging.compact(total // 4))
                done.wait(0.05)

        merger = threading.Thread(target=merge)
        merger.start()
        for number in range(commits):
            batch = slice(number * work_beside.BATCH, (number + 1) * work_beside.BATCH)
            assert store.commit(rows(total)[batch], keys(total)[batch], PROVENANCE) == work_beside.BATCH
        done.set()
        merger.join()
    reads = [int(out) for out in readers]
    assert min(reads) >= 1 and sum(fewer for _, fewer in merges) > 0
    assert (FeatureStore(str(tmp_path), SPEC).read(keys(total)) == rows(total)).all()
    figure(6, f"8 readers, {sum(reads)} reads during {commits} commits and {len(merges)} compactions: 0 errors")


def test_a_killed_holder_of_the_locks_blocks_nobody(
    photographs: Callable[[int], Path], warm_cache: Path, tmp_path: Path, figure: Figure
) -> None:
    photos, cache = photographs(MANY), empty_cache(warm_cache, tmp_path / "cache")
    features_report(photographs(1), cache)  # makes the folder of the spec
    (folder,) = {os.path.dirname(path) for path in map(str, cache.glob("*/*.h5"))}
    command = [sys.executable, "-m", "reliability.harness.work_beside", "hold", folder]
    holder = subprocess.Popen(command, cwd=TESTS, env=with_paths(), stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    waiting = features(photos, cache)
    assert waiting.stderr
    for line in waiting.stderr:
        if "waiting for it" in line:
            break
    else:
        raise AssertionError("the run did not wait for the holder of the lock")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    status, out, err = finish(waiting)
    assert status == 0 and "failed 0" in out, err
    figure(6, "the holder of both locks killed: the run that waited goes on")


def without_locks(error: str) -> list[str]:
    """strace, which lets every `flock` fail as on a file system that has none."""
    return ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=flock", "-e", f"inject=flock:error={error}"]


@pytest.fixture(scope="module")
def strace() -> None:
    """Skips where there is no strace, or it may not look into processes."""
    command = [*without_locks("ENOSYS"), "true"]
    if not shutil.which("strace") or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("strace is not to be had, or may not trace here")


@pytest.mark.usefixtures("strace")
def test_on_a_file_system_without_locks_all_commands_work(
    photographs: Callable[[int], Path], warm_cache: Path, tmp_path: Path, count: Count, figure: Figure
) -> None:
    photos = photographs(MANY)
    alone = empty_cache(warm_cache, tmp_path / "alone")
    features_report(photos, alone)
    right = stored(alone)
    errors = count(3, 1)
    for error in ("ENOSYS", "EOPNOTSUPP", "ENOLCK")[:errors]:
        cache = empty_cache(warm_cache, tmp_path / error)
        under = without_locks(error)
        both = [features(photos, cache, "--shard-rows", 10, under=under) for _ in range(2)]
        for status, _, err in map(finish, both):
            assert status == 0, err
            assert err.count("no locks") == 1, "said once"
        model = tmp_path / f"{error}.joblib"
        words = ("train", "--data", photos, "--backbone", "nano", "--head", "centroid", "--cache-dir", cache)
        status, out, err = finish(start(*words, "--model", model, under=under))
        assert status == 0 and "accuracy" in out and model.exists(), err
        assert err.count("no locks") == 1, "of the models' folder: nothing was to be computed"
        (folder,) = {path.parent for path in cache.glob("*/*.h5")}
        unfinished = folder / "0123.h5.0123456789ab.tmp"
        unfinished.write_bytes(b"half")
        status, _, err = finish(start("cache", "gc", "--cache-dir", cache, under=under))
        assert status == 0 and f"{unfinished} stays" in err and unfinished.exists()
        assert stored(cache) == right, "what both had stored is merged"
        assert finish(start("cache", "gc", "--cache-dir", cache))[0] == 0
        assert not unfinished.exists()
        status, _, err = finish(start("predict", "--model", model, "--cache-dir", cache, photos, under=under))
        assert status == 0, err
    figure(6, f"features (two at once), train, gc and predict on {errors} kinds of file systems without locks: right")


@pytest.mark.usefixtures("strace")
def test_a_run_killed_on_a_file_system_without_locks_leaves_nothing_that_blocks(
    photographs: Callable[[int], Path], warm_cache: Path, tmp_path: Path
) -> None:
    photos, cache = photographs(MANY), empty_cache(warm_cache, tmp_path / "cache")
    killed = features(photos, cache, "--shard-rows", 5, under=[*without_locks("ENOSYS"), "-e", "trace=rename,flock",
                                                              "-e", "inject=rename:signal=KILL:when=4"])  # fmt: skip
    assert finish(killed)[0] != 0
    status, out, err = finish(features(photos, cache, under=without_locks("ENOSYS")))
    assert status == 0 and "failed 0" in out, err
    alone = empty_cache(warm_cache, tmp_path / "alone")
    assert features_report(photos, alone)["computed"] == len(stored(cache))


def test_many_that_merge_at_once_without_locks_lose_nothing(tmp_path: Path, count: Count, figure: Figure) -> None:
    """Each merges to another size, so that their plans contradict each other; rows are added meanwhile."""
    rounds, total = count(40, 2), 60
    for round_ in range(rounds):
        store = filled(tmp_path / str(round_), *[5] * (total // 10))
        half = total // 2
        double = filled(tmp_path / "double", half)
        for path in Path(double.folder).glob("*.h5"):  # rows stored twice, as runs without locks may leave them
            os.rename(path, os.path.join(store.folder, path.name))
        shutil.rmtree(tmp_path / "double")
        right = rows(half)
        with beside("merge", tmp_path / str(round_), 3, half):
            pass
        left = FeatureStore(str(tmp_path / str(round_)), SPEC)
        assert (left.read(keys(half)) == right).all()
        collect_garbage(str(tmp_path / str(round_)), 100)
        assert [len(shard) for shard in left.refresh()] == [half]
        assert (left.read(keys(half)) == right).all()
    figure(6, f"{rounds} times three compactions at once without locks: 0 rows lost")


def test_commits_of_single_rows_that_merge_at_once_without_locks_lose_nothing(
    tmp_path: Path, count: Count, figure: Figure
) -> None:
    """Three processes store the same rows, each in its own order, and merge each other's shards."""
    rounds, total = count(20, 2), 40
    for round_ in range(rounds):
        with beside("commit", tmp_path / str(round_), 3, total):
            pass
        left = FeatureStore(str(tmp_path / str(round_)), SPEC)
        assert (left.read(keys(total)) == rows(total)).all()
        assert len(left.refresh()) < total / 2
    figure(6, f"{rounds} times three that store single rows and merge, at once without locks: 0 rows lost")


def with_paths() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, TESTS)))}


@contextlib.contextmanager
def beside(what: str, folder: Path, number: int, total: int) -> Iterator[list[str]]:
    """So many processes do `what` with the cache in `folder` meanwhile; in the end the list has what they print."""
    command = [sys.executable, "-m", "reliability.harness.work_beside", what, str(folder), str(total)]
    processes = [
        subprocess.Popen(
            [*command, str(which)], env=with_paths(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for which in range(number)
    ]
    printed: list[str] = []
    try:
        for process in processes:
            assert process.stdout and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        yield printed
    finally:
        for process in processes:
            printed.append(process.communicate(timeout=600)[0])
            assert process.returncode == 0
