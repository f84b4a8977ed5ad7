"""Point 2: killed at any moment. Nothing committed is lost, and at most one shard of work is done again."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from reliability.conftest import Count, Figure
from reliability.harness.command import Command
from reliability.harness.crashes import Workshop, require_nothing_lost, rows_in
from reliability.harness.work import SHARD

from cache.digest_table import DigestTable
from cache.signatures import BACKBONE as SIGNATURE
from cache.store import FeatureStore
from featurize.engines.engine import Cost, Engine, Request
from featurize.extract.forward import WORKERS, Pace
from featurize.extract.network_extractor import SHARD_ROWS, NetworkExtractor
from featurize.pictures.find_images import find_images
from featurize.resolve import resolve

# The real command, with a byte written to a file for each picture that has just passed the network.
TAPPED = """
import os, sys
from featurize.engines.engine import Engine
tap, compute = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND), Engine.__call__
def counted(engine, pixels, cost):
    rows = compute(engine, pixels, cost)
    os.write(tap, b"." * len(pixels))
    return rows
Engine.__call__ = counted
from bottleneck_features.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    opened = Workshop(tmp_path_factory.mktemp("shop"))
    yield opened
    opened.close()


def test_a_store_killed_at_random_loses_nothing_and_one_shard_of_work_at_most(
    shop: Workshop, seed: int, count: Count, figure: Figure
) -> None:
    random_ = random.Random(seed)
    seconds = min(undisturbed(shop, number) for number in range(4))
    wanted = count(180, 8)
    committed, repeated = 0, []
    for attempt in itertools.count():
        cache = shop.folder / str(attempt)
        end = shop.run("extract", cache, kill_after=random_.uniform(0, seconds))
        if end.status != 0:  # else it was faster
            assert end.status == -signal.SIGKILL, end
            present = rows_in(cache)
            committed += len(present)
            repeated.append(len(end.said("computed") - present))
            require_nothing_lost(shop, cache, end)
        shutil.rmtree(cache, ignore_errors=True)
        if len(repeated) == wanted:
            break
    assert max(repeated) <= SHARD and committed > 0
    figure(2, f"{wanted} random kills of a store: 0 of {committed} committed rows lost, {max(repeated)} of a shard of "
              f"{SHARD} at most repeated")  # fmt: skip


def undisturbed(shop: Workshop, number: int) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    assert shop.run("extract", shop.folder / f"undisturbed {number}").status == 0
    return time.perf_counter() - began


def test_the_command_killed_at_random_with_all_its_processes(
    command: Command, tmp_path: Path, seed: int, count: Count, figure: Figure
) -> None:
    random_ = random.Random(seed)
    killed, repeated, kept = 0, [], []
    while killed < (wanted := count(20, 1)):
        cache = command.cache(tmp_path / str(killed))
        tap = tmp_path / f"{killed}.tap"
        tap.touch()
        _, _, _, *words = command.features(cache)
        job = subprocess.Popen([sys.executable, "-c", TAPPED, str(tap), *words], start_new_session=True, **quiet())
        most = random_.randrange(command.pictures)
        while tap.stat().st_size <= most and job.poll() is None:
            time.sleep(random_.uniform(0, 0.005))
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
        if job.wait() == 0:
            continue
        assert job.returncode == -signal.SIGKILL
        killed += 1
        present = command.rows(cache)
        repeated.append(tap.stat().st_size - present)
        kept.append(present)
        report = command.report(cache)
        assert report["computed"] == report["forward_passes"] == command.pictures - present
        assert command.rows(cache) == command.pictures
        command.run(command.words("cache", "verify", "--cache-dir", cache))
    assert max(repeated) <= command.shard_rows
    figure(2, f"{wanted} random kills of the command's process group: 0 of {sum(kept)} committed rows lost, "
              f"{max(repeated)} forward passes at most repeated with shards of {command.shard_rows}")  # fmt: skip


def quiet() -> dict[str, Any]:
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": REPOSITORY}


class Means:
    """A network whose features are the mean colour; see `featurize.engines.engine.Graph`."""

    name = "means"
    libraries = ()
    size = (32, 32)
    row_shape = (3,)

    def __init__(self, batch: int):
        self.batch = batch

    def compile(self, count: int, dtype: str) -> Callable[[], Request]:  # noqa: ARG002
        return lambda: lambda pixels: [pixels.mean(axis=(1, 2), dtype=np.float32)]


@pytest.fixture(scope="module")
def pictures(photographs: Callable[[int], Path]) -> list[str]:
    return find_images(str(photographs(24))).images


@pytest.mark.parametrize(
    ("batch", "shard_rows", "views"),
    [(1, 1, 1), (1, 20, 1), (4, 7, 1), (8, 20, 1), (64, 7, 1), (64, 20, 1), (1, 7, 3), (8, 2, 3), (64, 20, 3)],
)
def test_at_every_moment_no_more_than_one_shard_is_computed_and_not_committed(
    pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, shard_rows: int, views: int
) -> None:
    resolved = resolve(DigestTable(str(tmp_path)), backbone="nano", views=views)
    extractor = NetworkExtractor(resolved, str(tmp_path), shard_rows)
    extractor._engine = Engine(Means(batch))
    may_run_ahead = views == 1 and Pace.within(shard_rows, batch).batches > 1
    committed, highest, ahead = [0], [0], [0]
    call, commit = Engine.__call__, FeatureStore.commit

    def computing(self: Engine, pixels: np.ndarray, cost: Cost) -> np.ndarray:
        rows = call(self, pixels, cost)
        highest[0] = max(highest[0], extractor.forward_passes - committed[0])
        return rows

    def slowly(store: FeatureStore, rows: np.ndarray, *others: Any) -> int:
        if store.spec.backbone == SIGNATURE:
            return commit(store, rows, *others)
        passes, patience = -1, time.monotonic() + 600  # on a busy machine a thread may not have had its turn
        while passes != extractor.forward_passes or (
            may_run_ahead and not ahead[0] and passes <= committed[0] + len(rows) and time.monotonic() < patience
        ):  # until the threads have computed all that they may
            passes = extractor.forward_passes
            time.sleep(0.005)
        ahead[0] = max(ahead[0], passes - committed[0] - len(rows))
        new = commit(store, rows, *others)
        committed[0] += new
        return new

    monkeypatch.setattr(Engine, "__call__", computing)
    monkeypatch.setattr(FeatureStore, "commit", slowly)
    outcome = extractor.run(pictures)
    assert outcome.computed == len(pictures)
    assert committed[0] == outcome.forward_passes == views * len(pictures)
    assert highest[0] <= max(shard_rows, views), "a kill would have cost more than a shard"
    if may_run_ahead:
        assert ahead[0] > 0, "the network stood still while a shard was written"


@pytest.mark.parametrize("batch", [1, 4, 8, 64])
def test_with_the_usual_shards_every_thread_has_work_while_one_is_written(batch: int) -> None:
    pace = Pace.within(SHARD_ROWS, batch)
    assert pace.least == batch and pace.batch % batch == 0 and pace.batches >= WORKERS
    assert pace.commit + pace.batches * pace.batch == SHARD_ROWS + 1 and pace.commit >= SHARD_ROWS // 2


@given(most=st.integers(1, 9000), batch=st.integers(1, 64), views=st.integers(1, 9), count=st.integers(1, 2000))
def test_batches_have_every_picture_once_and_none_is_larger_than_may_be_in_flight(
    most: int, batch: int, views: int, count: int
) -> None:
    pace = Pace.within(most, batch, views)
    cut = pace.cut(range(5, 5 + count))
    assert [number for numbers in cut for number in numbers] == list(range(5, 5 + count))
    assert all(len(numbers) <= pace.batch and len(numbers) % pace.least == 0 for numbers in cut[:-1])
    assert pace.batch * pace.batches + pace.commit - 1 == max(1, most // views) and pace.commit >= 1
