"""Rows by clusters of Ray, whose backend of joblib hands on no answers by itself."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.extractors import extractor_in

pytest.importorskip("ray")

from featurize.cluster.connect import connected


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a cluster that was there before: its head is a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray")  # pytest's folders are longer than the name of a socket may be
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0", "--num-cpus=2"]
    start += [f"--ray-client-server-port={port}", "--include-dashboard=false", f"--temp-dir={folder}"]
    settings = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(start, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout and any("Ray runtime started" in line for line in process.stdout)
    yield f"ray://127.0.0.1:{port}"
    process.terminate()
    process.communicate()
    shutil.rmtree(folder, ignore_errors=True)


def actors() -> list[int]:
    """The processes of Ray that compute."""
    import psutil

    below = psutil.Process().children(recursive=True)
    return sorted(each.pid for each in below if "PoolActor" in " ".join(each.cmdline()))


@pytest.mark.parametrize("where", ["here", "head"])
def test_the_rows_are_those_of_one_process_though_a_worker_is_killed(
    where: str,
    pictures: list[str],
    expected: np.ndarray,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    address = "ray" if where == "here" else request.getfixturevalue("head")
    extractor = extractor_in(cache)
    told: list[int] = []

    def kill(_stage: str, done: int, _total: int) -> None:
        if not told:
            os.kill(actors()[0], signal.SIGKILL)
        told.append(done)

    with connected(address):
        outcome = extractor.run(pictures, kill)
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected)
    assert not outcome.failures and told[-1] == 240 and len(told) > 1
    stored = np.concatenate([shard.digests for shard in extractor.store.refresh()])
    assert len(np.unique(stored, axis=0)) == 240 and len(stored) <= 240 + 128


def test_actors_stay_for_the_next_run(pictures: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    extractor = extractor_in(cache)
    found: list[list[int]] = []
    with connected("ray"):
        for some in (pictures[:120], pictures[120:]):
            outcome = extractor.run(some, lambda *_: found.append(actors()))
            assert outcome.computed == 120
        assert found[0] and all(each == found[0] for each in [*found, actors()])
    assert not actors()
