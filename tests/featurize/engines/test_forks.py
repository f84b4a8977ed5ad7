"""What has computed can be forked and pickled: the copy answers the same or says why not, and never hangs."""

import logging
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import BUNDLED, REPOSITORY, SPEC

import pipeline
from cache.files.lock import holding
from cache.shard_file import DamagedShardError
from featurize.extract.extractor import RowsMissingError

# Each child runs under an alarm that ends it, so that one that hangs is a failure and not a test without end.
FORKING = """
import os, signal, sys, threading
import numpy as np
import pipeline

def child(work):
    pid = os.fork()
    if not pid:
        signal.alarm(120)
        try:
            work()
        except pipeline.UserError as error:
            print("UserError:", error)
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    print("exit status", os.waitstatus_to_exitcode(status), flush=True)

picture, known = {picture!r}, {known!r}
"""
NEW = str(BUNDLED / "coffee.png")


def forked(known: str, *lines: str) -> list[str]:
    """What a process that runs `lines` prints."""
    code = "\n".join([FORKING.format(picture=NEW, known=known), *lines])
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def cache(warm_cache: Path) -> str:
    return str(warm_cache)


@pytest.fixture(scope="module")
def known(surfaces: Path) -> str:
    """A picture whose row is in the cache."""
    return str(next((surfaces / "brick").iterdir()))


def extractor(cache: str, engine: str) -> str:
    return f"e = pipeline.open_extractor({cache!r}, engine={engine!r}, **{SPEC!r})"


COMPUTE = "rows = e.without_cache([picture])[1]"
SAME = (
    "def same():\n    assert np.array_equal(e.without_cache([picture] * 9)[1], rows.repeat(9, axis=0)); print('same')"
)


def test_a_forked_process_builds_an_engine_of_its_own(cache: str, known: str) -> None:
    pytest.importorskip("openvino")
    grandchild = "def twice():\n    same(); child(same)"
    lines = forked(known, extractor(cache, "openvino"), COMPUTE, SAME, grandchild, "child(same); child(twice); same()")
    done = ["same", "exit status 0"]
    assert lines == [*done, "same", *done, "exit status 0", "same"]


def test_a_process_forked_from_one_that_used_tensorflow_says_what_to_do(cache: str, known: str) -> None:
    lines = forked(known, extractor(cache, "tensorflow"), COMPUTE, SAME, "child(same); same()")
    assert lines[1:] == ["exit status 0", "same"]
    assert lines[0].startswith("UserError: ") and "TensorFlow" in lines[0] and "'spawn'" in lines[0]


def test_a_process_forked_while_another_thread_computes_says_what_to_do(cache: str, known: str) -> None:
    pytest.importorskip("openvino")
    busy = (
        "from contextlib import contextmanager; from featurize.engines import engine\n"
        "inside, leave, at_work = threading.Event(), threading.Event(), engine.at_work\n"
        "def slowly():\n    with at_work():\n        inside.set(); leave.wait(); yield\n"
        "engine.at_work = contextmanager(slowly)\n"
        "thread = threading.Thread(target=lambda: e.without_cache([picture])); thread.start(); inside.wait()"
    )
    lines = forked(known, extractor(cache, "openvino"), busy, SAME, "child(same); leave.set(); thread.join()")
    assert lines[0].startswith("UserError: ") and "OpenVINO" in lines[0] and lines[1:] == ["exit status 0"]


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_pictures_in_the_cache_need_no_engine_in_a_forked_process(cache: str, known: str, engine: str) -> None:
    pytest.importorskip(engine)
    cached = "def cached():\n    print(e.features([known])[1].shape)"
    lines = forked(known, extractor(cache, engine), COMPUTE, cached, "child(cached)")
    assert lines == ["(1, 1280)", "exit status 0"]


def test_a_pool_of_forked_processes_predicts(cache: str, surfaces: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=cache, **SPEC)
    pool = (
        f"import multiprocessing; c = pipeline.load({model!r}, cache_dir={cache!r})\n"
        "def label(path):\n    return c.predict([path], use_cache=False)[0]\n"
        "here = label(picture)\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(pool.map_async(label, [picture] * 4).get(200) == [here] * 4)"
    )
    assert forked("", pool) == ["True"]


def test_a_classifier_that_has_computed_can_be_pickled(cache: str, surfaces: Path, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=cache, **SPEC)
    classifier = pipeline.load(model, cache_dir=cache)
    found = classifier.predict_proba([NEW], use_cache=False)
    assert classifier.extractor.forward_passes == 1
    copy = pickle.loads(pickle.dumps(classifier))  # noqa: S301
    assert copy.extractor.forward_passes == 0
    assert np.array_equal(copy.predict_proba([NEW], use_cache=False), found)
    assert (copy.extractor.forward_passes, classifier.extractor.forward_passes) == (1, 1)


def test_what_a_worker_raises_reaches_its_parent() -> None:
    for error in (DamagedShardError("a.h5", "cut short"), RowsMissingError("no rows")):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert type(copy) is type(error) and str(copy) == str(error)


def test_joblib_takes_a_classifier_that_has_computed_to_other_processes(
    cache: str, surfaces: Path, tmp_path: Path
) -> None:
    from joblib import Parallel, delayed

    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=cache, **SPEC)
    classifier = pipeline.load(model, cache_dir=cache)
    here = classifier.predict_proba([NEW], use_cache=False)
    there = Parallel(2, "loky")(delayed(classifier.predict_proba)([NEW], use_cache=False) for _ in range(2))
    assert all(np.array_equal(one, here) for one in there)


def test_a_forked_process_does_not_keep_the_lock_that_its_parent_held(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lock")
    with holding(path):
        stopped, stop = os.pipe()
        if not (pid := os.fork()):
            os.close(stop)
            os.read(stopped, 1)  # until the parent ends it
            os._exit(0)
    try:
        takes_it = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert subprocess.run([sys.executable, "-c", takes_it, path], check=False).returncode == 0
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(stop)
        os.close(stopped)


def test_a_forked_process_waits_for_a_lock_that_its_parent_holds(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lock")
    told, tell = os.pipe()
    with holding(path):
        if not (pid := os.fork()):
            signal.alarm(120)
            handler = logging.StreamHandler(os.fdopen(tell, "w"))  # says that it waits before it does
            logging.getLogger("bottleneck").addHandler(handler)
            logging.getLogger("bottleneck").setLevel(logging.INFO)
            with holding(path, "waiting"):
                os._exit(0)
        os.close(tell)
        assert os.read(told, 7) == b"waiting"
    assert os.waitpid(pid, 0)[1] == 0
    os.close(told)
