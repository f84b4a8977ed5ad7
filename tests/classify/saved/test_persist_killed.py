"""Saving heads: whoever dies, and whoever saves at the same time, the old model loads or the new one."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers.models.model_records import RECORD, few_digits, refusal, saved_model, two_heads
from helpers.storage.cached_rows import keys

import classify.saved.persist
from cache.files.atomic import write_atomically
from classify.saved.persist import load, save


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    return few_digits()


@pytest.fixture
def heads() -> list[Any]:
    return two_heads()


@pytest.fixture
def model(tmp_path: Path) -> str:
    return saved_model(tmp_path / "models" / "m.joblib", two_heads()[0], 100)


def test_a_process_that_dies_at_any_call_leaves_the_old_model_or_the_new_one(tmp_path: Path) -> None:
    """As by `kill -9`: nothing is cleaned up. Between heads with arrays and without."""
    code = """
import itertools, os, shutil, sys
sys.path[:0] = ["tests"]
import numpy as np, joblib
from helpers.storage.cached_rows import keys
from helpers.models.model_records import RECORD, few_digits, refusal, saved_model, two_heads
from helpers.real_features import textures
from classify.heads.head_table import make_head
from classify.saved.persist import load, save

X, y = textures()
heads = [make_head("logreg").fit(X, y), make_head("svm").fit(X, y), make_head("knn").fit(X, y)]
expected = [head.predict_proba(X) for head in heads]
CALLS = "open", "write", "fsync", "replace", "unlink", "close"
points = 0
os.fsync = lambda _: None  # which is for power failures, and slow
for old, new in (0, 1), (1, 2), (2, 0):
    for last in itertools.count():
        shutil.rmtree(sys.argv[1], ignore_errors=True)
        model = os.path.join(sys.argv[1], "m.joblib")
        save(model, heads[old], keys(240), RECORD)
        if not (child := os.fork()):
            step = itertools.count()
            def dying(work):
                def call(*arguments):
                    if next(step) == last:
                        os._exit(9)
                    return work(*arguments)
                return call
            for name in CALLS:
                setattr(os, name, dying(getattr(os, name)))
            save(model, heads[new], keys(240), RECORD)
            os._exit(0)
        finished = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        found = load(model).predictor.predict_proba(X)
        assert any(np.array_equal(found, expected[one]) for one in (old, new)), (old, new, last)
        save(model, heads[new], keys(240), RECORD)
        assert np.array_equal(load(model).predictor.predict_proba(X), expected[new])
        assert not [name for name in os.listdir(sys.argv[1]) if name.endswith(".next")]
        if finished:
            break
        points += 1
print(points)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "models")]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert int(done.stdout) > 30


def test_killed_while_saving_for_the_first_time_there_is_no_model(
    tmp_path: Path, heads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: str, data: bytes) -> None:
        if path.endswith(".joblib"):
            raise OSError(28, "No space left on device", path)
        write_atomically(path, data)

    model = str(tmp_path / "m.joblib")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(classify.saved.persist, "write_atomically", full_disk)
        save(model, heads[0], keys(100), RECORD)
    assert model in refusal(model)
    save(model, heads[0], keys(100), RECORD)
    assert load(model).estimator.C == 0.1


def test_two_who_save_under_one_name_leave_one_whole_model(model: str, heads: list[Any]) -> None:
    errors: list[BaseException] = []

    def work(head: Any) -> None:
        try:
            for _ in range(15):
                save(model, head, keys(100), RECORD)
        except BaseException as error:  # noqa: BLE001 - a thread would keep it to itself
            errors.append(error)

    threads = [threading.Thread(target=work, args=(head,)) for head in heads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and load(model).estimator.C in (0.1, 10.0)
    assert not list(Path(model).parent.glob("*.next"))


def test_who_loads_while_another_saves_gets_the_old_model_or_the_new_one(
    model: str, heads: list[Any], rows: tuple[np.ndarray, np.ndarray]
) -> None:
    expected = [head.predict_proba(rows[0]) for head in heads]
    done = threading.Event()

    def work() -> None:
        for number in range(60):
            save(model, heads[number % 2], keys(100), RECORD)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        found = load(model).predictor.predict_proba(rows[0])
        assert any(np.array_equal(found, one) for one in expected)
    thread.join()
