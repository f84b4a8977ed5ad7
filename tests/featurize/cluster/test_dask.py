"""Rows by workers of Dask: real processes with folders and environments of their own, one of which is killed."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import real_features
from helpers.datasets import dataset
from helpers.extractors import extractor_in
from helpers.storage.clusters import dask_cluster

pytest.importorskip("distributed")

from cache.digest_table import DigestTable
from classify.data.grouping import Grouping
from classify.hyperparameter_search import search_head
from featurize.cluster.connect import connected
from featurize.extract.network_extractor import NetworkExtractor


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers."""
    with dask_cluster(tmp_path_factory.mktemp("dask")) as address:
        yield address


def rows_stored(extractor: NetworkExtractor) -> np.ndarray:
    """The keys of all rows in the shards, doubles among them: (n, 32)."""
    return np.concatenate([shard.digests for shard in extractor.store.refresh()])


def test_the_rows_are_those_of_one_process(
    scheduler: str, pictures: list[str], expected: np.ndarray, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(os.path.dirname(pictures[0]))
    names = [os.path.basename(path) for path in pictures]  # relative to a folder that is not the workers'
    extractor = extractor_in(cache)
    with connected(scheduler):
        outcome = extractor.run(names)
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected)
    assert outcome.computed == outcome.forward_passes == len(rows_stored(extractor)) == 240
    assert len(DigestTable(str(cache)).unchanged(names)) == 240


def test_a_killed_worker_costs_its_task_at_most(
    scheduler: str, pictures: list[str], expected: np.ndarray, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from distributed import Client

    caplog.set_level(logging.INFO, "bottleneck")
    extractor = extractor_in(cache)
    killed: list[int] = []

    def kill(_stage: str, done: int, _total: int) -> None:
        if not killed:  # after the first answer
            with Client(scheduler, set_as_default=False) as client:
                killed.append(client.run(os.getpid).popitem()[1])
            os.kill(killed[0], signal.SIGKILL)
        assert done <= 240

    with connected(scheduler):
        outcome = extractor.run(pictures, kill)
    assert killed and not outcome.failures and outcome.succeeded == [*range(240)]
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected)
    stored = rows_stored(extractor)
    assert len(np.unique(stored, axis=0)) == 240 and len(stored) <= 240 + 64


def test_a_search_runs_there_and_finds_the_same(scheduler: str) -> None:
    features, labels = real_features.digits()
    data = dataset(features[:100], [f"digit {number}" for number in labels[:100]])
    rows = data.features, data.labels, Grouping(np.arange(100))
    here = search_head("knn", {}, 0, *rows)[1:]
    with connected(scheduler):
        there = search_head("knn", {}, 0, *rows)[1:]
    assert here == there
