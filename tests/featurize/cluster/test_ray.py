"""Rows by a local cluster of Ray, whose backend of joblib hands on no answers by itself."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers.extractors import extractor_in

pytest.importorskip("ray")

from featurize.cluster.connect import connected


def actors() -> list[int]:
    """The processes of Ray that compute."""
    import psutil

    below = psutil.Process().children(recursive=True)
    return sorted(each.pid for each in below if "PoolActor" in " ".join(each.cmdline()))


def test_the_rows_are_those_of_one_process_though_a_worker_is_killed(
    pictures: list[str], expected: np.ndarray, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    extractor = extractor_in(cache)
    told: list[int] = []

    def kill(_stage: str, done: int, _total: int) -> None:
        if not told:
            os.kill(actors()[0], signal.SIGKILL)
        told.append(done)

    with connected("ray"):
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
