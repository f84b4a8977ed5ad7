"""What warm runs cost, in counts: files looked at, opened and read, keys looked up, libraries imported."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BUNDLED, SPEC
from helpers.storage.cached_rows import filled, keys, rows

import pipeline

# Runs `{work}` in a new process and prints, as JSON, how often each file was opened and its status asked for, and
# which modules were imported.
COUNTING = """
import json, os, sys
from collections import Counter
opened, asked = Counter(), Counter()
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        opened[os.fsdecode(arguments[0])] += 1
sys.addaudithook(hook)
stat = os.stat
def counting(path, *arguments, **options):
    asked[os.fsdecode(path) if isinstance(path, (str, bytes)) else repr(path)] += 1
    return stat(path, *arguments, **options)
os.stat = counting
{work}
print(json.dumps(dict(opened=opened, asked=asked, modules=list(sys.modules))))
"""
HEAVY = {"tensorflow", "keras", "openvino", "sklearn", "scipy", "pandas", "joblib", "skimage"}


@pytest.fixture
def cache(warm_cache: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(warm_cache, tmp_path / "cache"))


def counted(work: str) -> dict[str, Any]:
    """What `work`, Python code, opens, asks for and imports in a new process."""
    code = COUNTING.replace("{work}", work)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def features_of(folder: Path, cache: str) -> dict[str, Any]:
    return counted(f"import pipeline; pipeline.features({str(folder)!r}, cache_dir={cache!r}, **{SPEC!r})")


def test_importing_pipeline_imports_the_standard_library_and_little_of_it() -> None:
    modules = set(counted("import pipeline")["modules"])
    assert not modules & (HEAVY | {"numpy", "PIL", "h5py", "click", "rich", "isal"})
    assert not modules & {"sqlite3", "asyncio", "email", "importlib.metadata", "csv", "concurrent.futures"}


def test_a_warm_run_asks_once_for_the_status_of_each_image_and_opens_none(surfaces: Path, cache: str) -> None:
    found = features_of(surfaces, cache)
    images = [str(path) for path in surfaces.glob("*/*.png")]
    assert [found["asked"].get(path, 0) for path in images] == [1] * 36
    assert not found["opened"].keys() & set(images)
    assert [count for path, count in found["opened"].items() if path.endswith(".h5")] == [1]
    assert not set(found["modules"]) & HEAVY


def test_new_images_are_all_that_is_read_and_their_shard_all_that_is_written(photos: Path, cache: str) -> None:
    time.sleep(0.05)  # a file that changed in this tick of the clock is read again the next time
    pipeline.features(str(photos), cache_dir=cache, **SPEC)  # the copies are known by their paths too
    old_images = {str(path) for path in photos.glob("*/*.png")}
    old_shards = {str(path) for path in Path(cache).glob("*/*.h5")}
    new = [shutil.copy(BUNDLED / name, photos / "grass" / name) for name in ("coffee.png", "moon.png")]
    found = features_of(photos, cache)
    assert [found["asked"][path] for path in old_images] == [1] * 36
    assert not found["opened"].keys() & old_images
    assert {str(path) for path in new} <= found["opened"].keys()
    assert [found["opened"][path] for path in old_shards] == [1]
    assert len(list(Path(cache).glob("*/*.h5"))) == 2


def test_only_what_is_missing_is_looked_up_again(photos: Path, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(BUNDLED / "coffee.png", photos / "grass")
    shutil.copy(BUNDLED / "coffee.png", photos / "brick")
    extractor = pipeline.open_extractor(cache, **SPEC)
    asked: list[int] = []
    contains = extractor.store.contains

    def counting(digests: np.ndarray) -> np.ndarray:
        asked.append(len(digests))
        return contains(digests)

    monkeypatch.setattr(extractor.store, "contains", counting)
    outcome = extractor.run(sorted(str(path) for path in photos.glob("*/*.png")))
    assert (len(outcome.sources), outcome.computed) == (38, 1)
    assert asked == [38, 2]  # images


@pytest.fixture
def model(surfaces: Path, cache: str, tmp_path: Path) -> str:
    path = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=path, cache_dir=cache, **SPEC)
    return path


def predicting(image: str, model: str) -> dict[str, Any]:
    return counted(f"import pipeline; assert pipeline.predict({image!r}, {model!r})[0] is not None")


def test_predicting_a_cached_photograph_reads_its_row_and_needs_no_engine(
    surfaces: Path, cache: str, model: str
) -> None:
    image = str(surfaces / "grass" / "grass.3.png")
    found = predicting(image, model)
    assert not set(found["modules"]) & HEAVY
    assert image not in found["opened"] and found["asked"][image] == 2  # is it a folder, and has it changed?
    graphs = os.path.join(cache, "graphs")
    assert not [path for path in found["opened"] if path.startswith(graphs)]


def test_predicting_a_new_photograph_needs_the_engine_alone(model: str) -> None:
    pytest.importorskip("openvino")
    predicting(str(BUNDLED / "coffee.png"), model)  # converts the network, where that is still to be done
    image = str(BUNDLED / "rocket.jpg")
    found = predicting(image, model)
    assert image in found["opened"] and "openvino" in found["modules"]
    assert not set(found["modules"]) & (HEAVY - {"openvino"})


@pytest.mark.parametrize("order", ["as stored", "shuffled"])
def test_every_byte_of_a_cache_is_read_once_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    store = filled(tmp_path, 500, 500, 24)
    wanted = np.arange(1024) if order == "as stored" else np.random.default_rng(0).permutation(1024)
    read: list[int] = []
    preadv = os.preadv

    def counting(file: int, buffers: list[Any], offset: int) -> int:
        read.append(preadv(file, buffers, offset))
        return read[-1]

    monkeypatch.setattr(os, "preadv", counting)
    assert (store.read(keys(1024)[wanted]) == rows(1024)[wanted]).all()
    assert sum(read) == rows(1024).nbytes
