"""A process that predicts for ever: the cache is read, does not grow, and an answer costs what the first ones cost."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED, REPOSITORY
from conftest import SPEC as NANO
from helpers.storage.cached_rows import PROVENANCE, SPEC, keys, rows, shards
from PIL import Image

import pipeline
from cache.digest_table import take_stamp
from cache.store import FeatureStore


@pytest.fixture(scope="module")
def model(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model beside its cache."""
    folder = tmp_path_factory.mktemp("serving")
    shutil.copytree(warm_cache, folder / "cache")
    path = folder / "m.joblib"
    pipeline.train(str(surfaces), model=str(path), cache_dir=str(folder / "cache"), **NANO)
    return path


@pytest.fixture
def new(tmp_path: Path) -> list[str]:
    """Pictures that no cache has, and one that is damaged."""
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        with Image.open(BUNDLED / "coffee.png") as picture:
            picture.crop((number, 0, number + 100, 100)).save(path)
    (tmp_path / "damaged.jpg").write_bytes(b"no picture")
    return [*map(str, paths), str(tmp_path / "damaged.jpg")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_predictions_from_python_read_the_cache_and_leave_it_as_it_is(
    model: Path, new: list[str], surfaces: Path
) -> None:
    cache = model.parent / "cache"
    before = contents(cache)
    classifier = pipeline.load(str(model))
    known = sorted(map(str, surfaces.glob("*/*.png")))
    images = [*known, *new, Path(new[0]).read_bytes()]
    found = classifier.predict_proba(images)
    assert classifier.extractor.forward_passes == 4, "the known ones come from the cache, copies pass once"
    assert pipeline.predict(images, str(model)).tolist() == classifier.predict(images).tolist()
    assert len(classifier.top_k(images, 1)) == len(pipeline.top_k(images, str(model), 1)) == len(images)
    assert np.array_equal(pipeline.predict_proba(images, str(model)), found, equal_nan=True)
    assert contents(cache) == before
    assert np.isnan(found[len(known) + 4]).all()
    np.testing.assert_allclose(found[-1], found[len(known)], rtol=0, atol=1e-12)  # a copy, at another place of a block
    everything = classifier.predict_proba(images, use_cache=False)
    np.testing.assert_allclose(everything, found, rtol=0, atol=1e-5)
    assert contents(cache) == before


def test_the_cache_is_written_where_that_is_asked_for(model: Path, new: list[str], tmp_path: Path) -> None:
    cache = str(shutil.copytree(model.parent / "cache", tmp_path / "cache"))
    store = pipeline.load(str(model), cache_dir=cache).extractor.store
    words = ["predict", "--model", str(model), "--cache-dir", cache, *new[1:]]
    for option, stored in (["--no-cache"], 36), ([], 39):
        command = [sys.executable, "-m", "pipeline", *words, *option]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
        assert sum(map(len, store.refresh())) == stored
    pipeline.predict(new, str(model), cache_dir=cache, use_cache=True)
    assert sum(map(len, store.refresh())) == 40


def test_many_predictions_are_made_some_at_a_time(model: Path, new: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    images = [*new, *new]
    classifier = pipeline.load(str(model))
    expected, table = classifier.predict_proba(images), classifier.top_k(images, 1, reject=0.95)
    monkeypatch.setattr("classify.saved.classifier.PICTURES", 3)
    np.testing.assert_allclose(classifier.predict_proba(images), expected, rtol=0, atol=1e-6)
    again = classifier.top_k(images, 1, reject=0.95)
    assert again["reason"].tolist() == table["reason"].tolist() and again["path"].tolist() == images


SERVER = """
import os, sys, time
from pathlib import Path
import numpy as np
import pipeline

model, cache, folder = sys.argv[1:]
classifier = pipeline.load(model, cache_dir=cache)
store = classifier.extractor.store
random = np.random.default_rng(0)
pictures = sorted(Path(folder).glob("*.png"))
bytes_of = [path.read_bytes() for path in pictures]

def commit(count):
    for first in range(0, count, 2000):
        some = min(2000, count - first)
        rows = random.standard_normal((some, *store.row_shape), np.float32)
        store.commit(rows, random.integers(0, 256, (some, 32), np.uint8), {"engine": "none"})

def serve(mark):
    time.sleep(0.1)  # a folder that changed within the last tick of the file system's clock is listed again
    classifier.predict(str(pictures[0]))  # what it costs to look at rows that are new is no cost of a prediction
    os.path.lexists(f"/begin-{mark}")
    for path, data in zip(pictures, bytes_of):
        classifier.predict(str(path))
        classifier.predict(data)
    os.path.lexists(f"/end-{mark}")

commit(100)
serve("few")
commit(20_000)
serve("many")
"""


def test_a_prediction_costs_the_same_file_operations_after_20000(model: Path, new: list[str], tmp_path: Path) -> None:
    if not shutil.which("strace") or subprocess.run(["strace", "true"], check=False, capture_output=True).returncode:
        pytest.skip("strace is not to be had, or may not trace here")
    cache = shutil.copytree(model.parent / "cache", tmp_path / "cache")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", str(trace), "-e", "trace=%file,getdents64", sys.executable, "-c", SERVER]
    done = subprocess.run(
        [*command, str(model), str(cache), os.path.dirname(new[0])],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = {name: calls_between(trace, name) for name in ("few", "many")}
    assert calls["few"].total() > 0 and "getdents64" not in calls["few"]
    assert calls["many"] == calls["few"], "also of those that list a folder"


def calls_between(trace: Path, name: str) -> Counter[str]:
    lines = trace.read_text().splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if f"/{edge}-{name}" in line) for edge in ("begin", "end"))
    return Counter(call[1] for line in lines[begin + 1 : end] if (call := re.match(r"\d+ +(\w+)\(", line)))


def files_in(store: FeatureStore) -> int:
    return len(os.listdir(store.folder))


def test_however_few_rows_come_at_a_time_few_files_stand_there(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 20,000 predictions with writing: 700 rows one at a time, then as many at a time as merging makes of them."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power fails here
    all_keys, all_rows = keys(20_000), rows(20_000, 2)
    written = []
    write = FeatureStore._write

    def counting(self: FeatureStore, some: np.ndarray, *rest: Any) -> None:
        written.append(len(some))
        write(self, some, *rest)

    monkeypatch.setattr(FeatureStore, "_write", counting)
    most, start = 0, 0
    for step, stop in ((1, 700), (8, 3_100), (64, 20_000)):
        while start < stop:
            batch = slice(start, min(start + step, stop))
            assert store.commit(all_rows[batch], all_keys[batch], PROVENANCE) == batch.stop - batch.start
            start = batch.stop
            most = max(most, files_in(store))
    assert most <= 50
    assert sum(written) <= 5 * 20_000, "a row is written as often as there are sizes of shards"
    assert sum(map(len, FeatureStore(os.path.dirname(store.folder), SPEC).refresh())) == 20_000
    assert (FeatureStore(os.path.dirname(store.folder), SPEC).read(all_keys) == all_rows).all()


def test_no_shard_is_merged_beyond_what_a_run_asks_for(store: FeatureStore) -> None:
    for number in range(60):
        store.commit(rows(60)[number : number + 1], keys(60)[number : number + 1], PROVENANCE, shard_rows=10)
    sizes = [len(shard) for shard in store.refresh()]
    assert max(sizes) <= 10 and len(sizes) <= 7 + 60 // 5
    assert (store.read(keys(60)) == rows(60)).all()


def test_a_folder_of_thousands_of_single_rows_is_mended_by_the_next_commit(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions before have left them."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    with monkeypatch.context() as before:
        before.setattr(FeatureStore, "merge_small", lambda *_: None)
        for number in range(300):
            store.commit(rows(400)[number : number + 1], keys(400)[number : number + 1], PROVENANCE)
        assert len(shards(store)) == 300
    assert store.commit(rows(400)[300:], keys(400)[300:], PROVENANCE) == 100
    assert len(shards(store)) == 2
    assert (store.read(keys(400)) == rows(400)).all()


def test_rows_of_other_engines_are_not_merged_with_each_other(store: FeatureStore) -> None:
    for number in range(24):
        engine = {"engine": ("openvino", "tensorflow")[number % 2], "written": str(number)}
        store.commit(rows(24)[number : number + 1], keys(24)[number : number + 1], engine)
    found = sorted((shard.provenance["engine"], len(shard)) for shard in store.refresh())
    assert found == [("openvino", 1)] * 4 + [("openvino", 8)] + [("tensorflow", 1)] * 4 + [("tensorflow", 8)]


def test_a_merge_that_fails_costs_the_commit_nothing(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = FeatureStore._write

    def full_disk(self: FeatureStore, some: np.ndarray, *rest: Any) -> None:
        if len(some) > 1:
            raise OSError(28, "No space left on device", self.folder)
        write(self, some, *rest)

    monkeypatch.setattr(FeatureStore, "_write", full_disk)
    for number in range(8):
        assert store.commit(rows(8)[number : number + 1], keys(8)[number : number + 1], PROVENANCE) == 1
    assert "not merged now: No space left" in caplog.text and len(shards(store)) == 8
    assert (store.read(keys(8)) == rows(8)).all()


def test_a_damaged_shard_among_those_to_be_merged_is_set_aside(store: FeatureStore) -> None:
    for number in range(7):
        store.commit(rows(8)[number : number + 1], keys(8)[number : number + 1], PROVENANCE)
    content = bytearray(Path(spoiled := shards(store)[2]).read_bytes())
    content[store.refresh()[2].offset] ^= 1
    Path(spoiled).write_bytes(content)
    assert store.commit(rows(8)[7:], keys(8)[7:], PROVENANCE) == 1
    assert np.flatnonzero(~store.contains(keys(8))).tolist() == [2] and os.path.exists(spoiled + ".damaged")
    assert (store.read(np.delete(keys(8), 2, 0)) == np.delete(rows(8), 2, 0)).all()


def test_a_reader_lists_the_folder_only_when_it_has_changed(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(rows(3), keys(3), PROVENANCE)
    os.utime(store.folder)
    reader = FeatureStore(os.path.dirname(store.folder), SPEC)
    listed = []
    listing = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or listing(path))
    # as if the tick of the file system's clock in which the folder was changed were over
    later = lambda path: (stamp := take_stamp(path)) and stamp._replace(taken=stamp.taken + 10**10)  # noqa: E731
    monkeypatch.setattr("cache.store.take_stamp", later)
    assert reader.contains(keys(5)).tolist() == [True] * 3 + [False] * 2
    first = len(listed)
    for _ in range(5):
        assert reader.contains(keys(5)).sum() == 3 and (reader.read(keys(3)) == rows(3)).all()
    assert len(listed) == first > 0
    store.commit(rows(5)[3:], keys(5)[3:], PROVENANCE)
    assert reader.contains(keys(5)).all() and len(listed) > first


def test_digests_of_predicted_files_are_not_remembered(model: Path, new: list[str]) -> None:
    table = model.parent / "cache" / "digests.sqlite"
    with sqlite3.connect(table) as connection:
        (before,) = connection.execute("SELECT count(*) FROM files").fetchone()
        pipeline.predict(new, str(model))
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (before,)
