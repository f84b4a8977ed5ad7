"""Rows by several processes of this machine: the same rows, each once, whatever dies on the way."""

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
from conftest import SPEC
from helpers.extractors import extractor_in, interrupt
from helpers.storage.clusters import DEADLY, DIES
from PIL import Image

import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.cluster.connect import connected
from featurize.extract.network_extractor import NetworkExtractor

# What a process starts with that has an older Pillow.
OTHER_PILLOW = """
import importlib.metadata
installed = importlib.metadata.version
importlib.metadata.version = lambda name: "0.1" if name == "pillow" else installed(name)
"""


def stored(extractor: NetworkExtractor) -> int:
    """Rows in the shards, doubles counted."""
    return sum(map(len, extractor.store.refresh()))


def test_the_rows_are_those_of_one_process(pictures: list[str], expected: np.ndarray, cache: Path) -> None:
    copies = [str(shutil.copy(pictures[0], cache.parent / f"copy{number}.png")) for number in range(3)]
    missing, broken = str(cache.parent / "missing.png"), cache.parent / "broken.png"
    broken.write_bytes(b"no picture")
    time.sleep(0.05)  # older than the clock of the file system can err
    extractor = extractor_in(cache)
    told: list[tuple[str, int, int]] = []
    sources = [*pictures, *copies, missing, str(broken)]
    with connected("local:2"):
        outcome = extractor.run(sources, lambda *now: told.append(now))
    np.testing.assert_array_equal(extractor.store.read(outcome.keys)[:240], expected)
    assert [failure.path for failure in outcome.failures] == [missing, str(broken)]
    assert outcome.succeeded == [*range(243)] and stored(extractor) == 240
    assert told[-1] == ("features", 245, 245) and outcome.forward_passes >= 240
    assert set(DigestTable(str(cache)).unchanged(sources)) == {*pictures, *copies}  # so that nothing is read again
    with connected("local:2"):
        again = extractor_in(cache).run(pictures)
    assert again.computed == again.forward_passes == 0


def test_what_was_computed_before_is_left_alone(pictures: list[str], expected: np.ndarray, cache: Path) -> None:
    first = extractor_in(cache)
    first.run(pictures[:100])
    os.unlink(cache / "digests.sqlite")  # as where the pictures have been moved
    extractor = extractor_in(cache)
    with joblib.parallel_config("loky", n_jobs=2):  # as `connected` does
        outcome = extractor.run(pictures)
    assert outcome.computed == outcome.forward_passes == 140 and stored(extractor) == 240
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected)


def test_views_and_joined_backbones(pictures: list[str], cache: Path, tmp_path: Path) -> None:
    asked = {"backbone": "nano+nano", "pooling": "avg+max", "views": 2}
    folder = os.path.dirname(pictures[0])
    pipeline.features(folder, cache_dir=str(cache), cluster="local:2", **asked)
    shutil.copytree(cache / "graphs", tmp_path / "other" / "graphs")
    pipeline.features(folder, cache_dir=str(tmp_path / "other"), **asked)
    from featurize.open_extractor import open_extractor

    one, two = (open_extractor(str(place), **asked) for place in (cache, tmp_path / "other"))
    keys = DigestTable(str(cache)).unchanged(pictures)
    digests = np.frombuffer(b"".join(keys[path] for path in pictures), np.uint8).reshape(-1, 32)
    for here, there in zip(one.stores, two.stores, strict=True):
        np.testing.assert_array_equal(here.read(digests), there.read(digests))


def test_few_pictures_and_pictures_in_memory_need_no_workers(pictures: list[str], cache: Path) -> None:
    extractor = extractor_in(cache)
    with connected("local:2"):
        outcome = extractor.run([Path(pictures[0]).read_bytes(), *pictures[1:20]])
    assert outcome.computed == 20 and not (cache / ".cluster").exists()


def test_an_interrupted_run_goes_on_from_what_is_stored(pictures: list[str], expected: np.ndarray, cache: Path) -> None:
    extractor = extractor_in(cache)
    with connected("local:2"), pytest.raises(KeyboardInterrupt) as interruption:
        extractor.run(pictures, lambda *_: interrupt())
    assert "new rows are kept" in str(interruption.value.__notes__)
    kept = stored(extractor)
    with connected("local:2"):
        outcome, rows = extractor_in(cache).features(pictures)
    assert kept > 0 and outcome.computed <= 240 - kept
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.usefixtures("fresh_processes")
def test_a_picture_that_kills_its_process_fails_alone(
    pictures: list[str], expected: np.ndarray, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DIES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    deadly = tmp_path / DEADLY
    Image.new("RGB", (64, 64), "red").save(deadly)
    extractor = extractor_in(cache)
    with connected("local:2"):
        outcome = extractor.run([*pictures[:60], str(deadly), *pictures[60:120]])
    ((path, reason),) = [(failure.path, failure.reason) for failure in outcome.failures]
    assert path == str(deadly) and "dies each time, 3 times" in reason
    assert len(outcome.succeeded) == 120
    np.testing.assert_array_equal(extractor.store.read(outcome.keys), expected[:120])


@pytest.mark.usefixtures("fresh_processes")
def test_a_worker_with_another_version_is_refused_with_both(
    pictures: list[str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(OTHER_PILLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    extractor = extractor_in(cache)
    with connected("local:2"), pytest.raises(UserError, match=r"has pillow 0\.1, this run has pillow 1\d\.") as refused:
        extractor.run(pictures)
    assert len(str(refused.value).splitlines()) == 1 and stored(extractor) == 0


@pytest.mark.usefixtures("fresh_processes")
def test_processes_share_the_cores(cache: Path, pictures: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    with connected("local:2"):
        extractor_in(cache).run(pictures)
        (threads,) = set(joblib.Parallel()(joblib.delayed(threads_of_worker)() for _ in range(4)))
    from featurize.machine.parallel import THREADS

    assert threads == max(1, round(THREADS / 2))
    assert caplog.messages.count(f"workers commit rows to the cache {cache}") == 1


def threads_of_worker() -> int:
    from featurize.machine.parallel import THREADS

    return THREADS


def test_the_command_line_says_who_computes(
    pictures: list[str], cache: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    words = ["features", "--data", os.path.dirname(pictures[0]), "--backbone", SPEC["backbone"], "--cache-dir", cache]
    status, out, err = run(*words, "--cluster", "local:2")
    assert (status, "computed 240" in out) == (0, True), err
