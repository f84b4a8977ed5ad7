"""Folds side by side: bit by bit what they give one after the other, in order, and what is said is said once."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from helpers.datasets import dataset
from helpers.real_features import Data
from threadpoolctl import threadpool_info

import featurize.machine.memory
from cache.errors import UserError, log
from classify.data.dataset import Dataset
from classify.data.grouping import Grouping
from classify.data.split import folds
from classify.heads.head_table import training_bytes
from classify.hyperparameter_search import search_head
from classify.scoring.out_of_fold import Folds, cross_validate
from classify.scoring.parallel_folds import in_parallel, jobs_for
from classify.train import train_head

EACH = np.arange(200)


@pytest.fixture
def data(digits: Data) -> Dataset:
    X, y = digits
    return dataset(X[:200], [f"digit {number}" for number in y[:200]])


def plan(data: Dataset, n_jobs: int | None, search: bool = False) -> Folds:
    return Folds(Grouping(EACH), folds(data.labels, EACH, 4, 0), search, 0, n_jobs=n_jobs)


def threads_of_blas(_: Any = None) -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


# ---- the function


def test_results_are_in_the_order_of_the_tasks_and_two_are_at_work_at_once() -> None:
    both = threading.Barrier(2, timeout=60)  # no task passes it alone

    def task(number: int) -> tuple[int, int]:
        both.wait()
        return number, threading.get_ident()

    found = [*in_parallel(task, range(6), 2)]
    assert [number for number, _ in found] == [0, 1, 2, 3, 4, 5]
    assert {thread for _, thread in found} != {threading.get_ident()}
    alone = [*in_parallel(lambda _: threading.get_ident(), range(3), 1)]
    assert alone == [threading.get_ident()] * 3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_has_one_thread_of_linear_algebra(n_jobs: int) -> None:
    before = threads_of_blas()
    assert [*in_parallel(threads_of_blas, range(4), n_jobs)] == [{1}] * 4
    assert threads_of_blas() == before


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_is_raised_and_what_follows_is_not_begun(n_jobs: int) -> None:
    begun: list[int] = []

    def task(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise UserError("two")
        return number

    found, before = [], threads_of_blas()
    with pytest.raises(UserError, match="two"):
        for result in in_parallel(task, range(2000), n_jobs):
            found.append(result)
    assert found == [0, 1][: len(found)] and len(begun) < 2000
    assert threads_of_blas() == before


def say(number: int) -> int:
    log.warning("said %d", number)
    warnings.warn("it is late", RuntimeWarning, stacklevel=1)
    return os.getpid()


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_what_is_said_is_said_once_also_from_other_processes(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    with joblib.parallel_config(backend=backend), pytest.warns(RuntimeWarning, match="it is late") as warned:
        processes = [*in_parallel(say, range(3), 2)]
    assert (set(processes) == {os.getpid()}) == (backend == "threading")
    assert sorted(caplog.messages) == ["said 0", "said 1", "said 2"]
    assert len(warned) <= 3


def test_as_many_are_at_work_as_memory_is_free_for(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    assert jobs_for("ridge", {}, data.features, data.labels, 3) == 3
    assert jobs_for("finetune", {}, data.features, data.labels, 3) == 1
    each = training_bytes("ridge", {}, 200, 64, 10, 200)
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 2 * each + 10)
    assert jobs_for("ridge", {}, data.features, data.labels, 3) == 2
    assert caplog.messages == ["memory is free for 2 fits of ridge at once, not for 3"]
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 0)
    assert jobs_for("ridge", {}, data.features, data.labels, 3) == 1


# ---- heads


@pytest.mark.parametrize(
    ("head", "params"),
    [(name, {}) for name in ("logreg", "sgd", "svm", "ridge", "knn", "centroid")]
    + [("svm", {"kernel": "rbf"}), ("dense", {"epochs": 3, "hidden": 8, "batch_norm": True})],
)
def test_answers_are_the_same_bit_by_bit(head: str, params: dict[str, Any], data: Dataset) -> None:
    counted: list[int] = []
    one, two = (cross_validate(data, head, params, plan(data, jobs), None, counted.append) for jobs in (1, 2))
    np.testing.assert_array_equal(one.answers.probabilities, two.answers.probabilities)
    np.testing.assert_array_equal(one.answers.rows, two.answers.rows)
    assert [fold["accuracy"] for fold in one.folds] == [fold["accuracy"] for fold in two.folds]
    assert counted == [1, 2, 3, 4] * 2


def test_other_backends_of_joblib_give_the_same(data: Dataset) -> None:
    told: list[tuple[str, int, int]] = []
    for search in (False, True):
        here = cross_validate(data, "logreg", {}, plan(data, 2, search))
        with joblib.parallel_config(backend="loky"):
            there = cross_validate(data, "logreg", {}, plan(data, 2, search), lambda *now: told.append(now))
        np.testing.assert_array_equal(here.answers.probabilities, there.answers.probabilities)
        assert [fold["params"] for fold in here.folds] == [fold["params"] for fold in there.folds]


@pytest.mark.parametrize(("head", "params"), [("logreg", {}), ("svm", {"normalize": "standard"}), ("knn", {})])
def test_a_search_finds_the_same(head: str, params: dict[str, Any], data: Dataset) -> None:
    found = []
    for jobs in (1, 2):
        told: list[tuple[int, int]] = []
        rows = data.features, data.labels, Grouping(EACH)
        searched = search_head(head, params, 0, *rows, progress=lambda *now, to=told: to.append(now), n_jobs=jobs)
        found.append(searched[1:])
        assert [done for done, _ in told] == list(range(told[0][1] + 1))
    assert found[0] == found[1]


def test_a_training_reports_the_same(data: Dataset) -> None:
    one, two = (
        train_head(data, "ridge", {}, cv=3, search=True, n_jobs=jobs, accept=0.9).report() | {"stage_seconds": None}
        for jobs in (1, 2)
    )
    assert one == two


def test_solvers_that_stop_early_are_each_announced_once(data: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_validate(data, "logreg", {"max_iter": 2}, plan(data, 2))
    assert len(caplog.messages) == 4 and all("did not converge" in message for message in caplog.messages)


# ---- the command


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is another signal there")
def test_ctrl_c_ends_a_comparison_whose_folds_go_on(warm_cache: Path, surfaces: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(warm_cache, tmp_path / "cache")
    words = ["compare", "--data", str(surfaces), "--cache-dir", str(cache), "--n-jobs", "2", "--folds", "3"]
    code = "import os, sys, threading, classify.scoring.out_of_fold as folds\n"
    code += "def fit_on(*_):\n    os.write(1, b'fits\\n')\n    threading.Event().wait()\n"
    code += "folds.fit_on = fit_on\nfrom bottleneck_features.commands.main import main\nmain(sys.argv[1:])"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, *words], **pipes) as running:
        assert running.stdout is not None and running.stdout.readline() == "fits\n"
        running.send_signal(signal.SIGINT)
        _, said = running.communicate()
    assert running.returncode in (130, -signal.SIGINT) and "interrupted by SIGINT" in said and "Traceback" not in said
