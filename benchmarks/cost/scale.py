"""What scale costs: warm runs over many files, large caches, the start of a prediction, memory. Needs no data.

    python benchmarks/cost/scale.py [warm] [keys] [read] [start] [memory] [--files 100000] [--backbone NAME]
        [--weights FILE]

All parts unless some are named. Pictures and rows are synthetic, but `start` predicts a photograph that comes
with scikit-image with the `--backbone`. Every figure is that of a new process with a warm page cache; where two things
are compared they run in turns in one process, and the ratio is the median of the turns'.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import pipeline
from cache.digest_table import DigestTable, take_stamp
from cache.row_key import FeatureSpec, content_digest
from cache.shard_file import encode_shard
from cache.store import FeatureStore
from classify.data.surfaces import surfaces_folder

SMALL: dict[str, Any] = {"backbone": "nano", "size": 32}
PROVENANCE = {"engine": "none: synthetic rows"}
SHARD_ROWS = 2048
TURNS = 15
STARTS = 5

WARM = """
import json, sys, pipeline
print(json.dumps(pipeline.features(sys.argv[1], cache_dir=sys.argv[2], **json.loads(sys.argv[3]))))
"""
FIND = """
import json, sys, time
start = time.perf_counter()
import numpy as np
from cache.row_key import FeatureSpec
from cache.store import FeatureStore
imported = time.perf_counter()
keys = np.load(sys.argv[3])
store = FeatureStore(sys.argv[1], FeatureSpec.from_json(json.loads(sys.argv[2])))
assert store.contains(keys).all()
found = time.perf_counter()
store.read(keys)
times = imported - start, found - imported, time.perf_counter() - found
print(json.dumps(times))
"""
PREDICT = "import sys, pipeline; print(repr(pipeline.predict(sys.argv[1], sys.argv[2])[0]))"


def main() -> None:
    parts = {"warm": warm, "keys": keys, "read": read, "start": start, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--files", type=int, default=100_000, help="pictures of `warm` and `memory`")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of `keys`")
    parser.add_argument("--width", type=int, default=8, help="numbers in a row of `keys`")
    parser.add_argument("--backbone", default="nano")
    parser.add_argument("--weights")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(parts):
        parser.error(f"unknown part {', '.join(unknown)}: choose of {', '.join(parts)}")
    for name in given.parts or parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](Path(folder), given)


def warm(folder: Path, given: argparse.Namespace) -> None:
    """A second run on unchanged files, then one with 100 more of them, which are also computed on their own."""
    photos, cache = folder / "photos", _cache(folder, "cache")
    _as_if_computed(_pictures(photos, given.files), cache)
    report, seconds, _ = _process(WARM, photos, cache, json.dumps(SMALL))
    assert report["cached"] == given.files
    print(
        f"warm run, {given.files} files: listing {report['startup_seconds']:.2f} s, the rest {report['seconds']:.2f} s"
    )
    print(f"  the process in all {seconds:.2f} s")
    _pictures(photos, 100, seed=1)
    _pictures(folder / "new", 100, seed=2)
    for what, data, where in (("to these", photos, cache), ("to none", folder / "new", _cache(folder, "new cache"))):
        report, seconds, _ = _process(WARM, data, where, json.dumps(SMALL))
        assert report["computed"] == report["forward_passes"] == 100
        print(f"100 files added {what}: start-up {report['startup_seconds']:.2f} s, the rest {report['seconds']:.2f} s")


def keys(folder: Path, given: argparse.Namespace) -> None:
    """A new process opens a large cache, finds 1,000 keys that lie anywhere in it, and reads their rows."""
    random = np.random.default_rng(0)
    spec, chosen = _spec(), []
    target = folder / spec.folder
    target.mkdir()
    for first in range(0, given.rows, SHARD_ROWS):
        count = min(SHARD_ROWS, given.rows - first)
        digests = random.integers(0, 256, (count, 32), np.uint8)
        rows = random.standard_normal((count, given.width), np.float32)
        (target / f"{first:016x}.h5").write_bytes(encode_shard(rows, digests, spec, PROVENANCE))
        chosen.append(digests)
    np.save(folder / "keys.npy", random.permutation(np.concatenate(chosen))[:1000])
    times = [_process(FIND, folder, json.dumps(spec.to_json()), folder / "keys.npy") for _ in range(STARTS)]
    imports, found, reading = (
        statistics.median(each) for each in zip(*(result for result, _, _ in times), strict=True)
    )
    print(f"1000 keys of {given.rows} rows ({given.width} numbers each): opening and finding {found:.2f} s")
    print(f"  reading their rows {reading:.2f} s; imports {imports:.2f} s; the process in all {_median(times):.2f} s")


def read(folder: Path, _given: argparse.Namespace) -> None:
    """All rows of a cache into an array, in turns with `np.load` of the same numbers."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((20_000, 1280), np.float32)
    digests = random.integers(0, 256, (len(rows), 32), np.uint8)
    store = FeatureStore(str(folder), _spec())
    for first in range(0, len(rows), SHARD_ROWS):
        store.commit(rows[first : first + SHARD_ROWS], digests[first : first + SHARD_ROWS], PROVENANCE)
    plain = folder / "rows.npy"
    np.save(plain, rows)
    assert np.array_equal(store.read(digests), rows)
    shuffled = random.permutation(digests)
    times: dict[str, list[float]] = {"np.load": [], "cache": [], "cache, shuffled": []}
    for _ in range(TURNS):
        for name, work in (
            ("np.load", lambda: np.load(plain)),
            ("cache", lambda: store.read(digests)),
            ("cache, shuffled", lambda: store.read(shuffled)),
        ):
            begun = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - begun)
    for name, seconds in times.items():
        speed = statistics.median(load / each for load, each in zip(times["np.load"], seconds, strict=True))
        print(f"reading {rows.shape} float32, {name}: {1e3 * statistics.median(seconds):.1f} ms, speed {speed:.2f}")


def start(folder: Path, given: argparse.Namespace) -> None:
    """New processes: nothing, the import, a photograph whose row is cached, one that is new; then a warm process."""
    options = {"backbone": given.backbone} | ({"weights": given.weights} if given.weights else {})
    crops = surfaces_folder(str(folder / "surfaces"))
    model = str(folder / "model.joblib")
    pipeline.train(os.path.join(crops, "test"), model=model, cache_dir=str(folder / "cache"), **options)
    photographs = iter(_photographs(folder, 2 * STARTS + 2))
    cached = next(photographs)
    _process(PREDICT, cached, model)
    for what, code, arguments in (
        ("python", "", lambda: []),
        ("import pipeline", "import pipeline", lambda: []),
        (f"one cached photograph, {given.backbone}", PREDICT, lambda: [cached, model]),
        (f"one new photograph, {given.backbone}", PREDICT, lambda: [next(photographs), model]),
    ):
        print(f"new process, {what}: {_median([_process(code, *arguments()) for _ in range(STARTS)]):.2f} s")
    classifier = pipeline.load(model)
    classifier.predict(next(photographs))
    new = list(photographs)
    for what in ("new", "cached"):
        seconds = []
        for photograph in new:
            begun = time.perf_counter()
            classifier.predict(photograph, use_cache=True)  # the second time it is cached
            seconds.append(time.perf_counter() - begun)
        print(f"warm process, one {what} photograph: {1e3 * statistics.median(seconds):.1f} ms")


def memory(folder: Path, given: argparse.Namespace) -> None:
    """The largest memory of a process that computes features, of few pictures and of many."""
    for count in (5000, given.files):
        photos = _folder_of(_pictures(folder / str(count), count))
        report, _, peak = _process(WARM, photos, _cache(folder, f"cache{count}"), json.dumps(SMALL))
        assert report["computed"] == count
        rate = count / report["seconds"]
        print(f"computing {count} files: largest memory {peak:.0f} MB ({rate:.0f} files/s)")


def _pictures(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """New small pictures, all different, in ten folders."""
    random = np.random.default_rng([seed, count])
    paths = [folder / f"class{number % 10}" / f"{seed}-{number:07d}.bmp" for number in range(count)]
    for path in paths[:10]:
        path.parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        Image.frombytes("RGB", (16, 16), random.bytes(768)).save(path)
    return paths


def _cache(folder: Path, name: str) -> str:
    """An empty cache, but for the converted network: to convert it takes more time and memory than to compute."""
    converted, cache = folder / "converted", folder / name
    if not converted.exists():
        _process(WARM, _folder_of(_pictures(folder / "first", 1)), converted, json.dumps(SMALL))
    cache.mkdir()
    (cache / "graphs").symlink_to(converted / "graphs")
    return str(cache)


def _folder_of(pictures: list[Path]) -> Path:
    return pictures[0].parent.parent


def _photographs(folder: Path, count: int) -> list[str]:
    """A photograph of 600 x 400 pixels as often as asked for, each file with another comment."""
    import skimage

    paths = [str(folder / f"photograph{number}.jpg") for number in range(count)]
    with Image.open(Path(skimage.__file__).parent / "data" / "coffee.png") as photograph:
        for number, path in enumerate(paths):
            photograph.save(path, quality=92, comment=str(number))
    return paths


def _as_if_computed(paths: list[Path], cache: str) -> None:
    """A cache that has rows for all pictures, and knows their files."""
    extractor = pipeline.open_extractor(cache, **SMALL)
    time.sleep(0.1)  # a file is only believed to be unchanged if it was read some time after it was written
    random = np.random.default_rng(0)
    for first in range(0, len(paths), SHARD_ROWS):
        entries = []
        for path in paths[first : first + SHARD_ROWS]:
            stamp = take_stamp(str(path))
            assert stamp
            entries.append((str(path), stamp, content_digest(path.read_bytes())))
        DigestTable(cache).record(entries)
        digests = np.frombuffer(b"".join(digest for _, _, digest in entries), np.uint8).reshape(-1, 32)
        extractor.store.commit(random.standard_normal((len(digests), 1280), np.float32), digests, PROVENANCE)


def _spec() -> FeatureSpec:
    return FeatureSpec("synthetic", "none", "", "avg", None, "antialias", "none", 1)


def _process(code: str, *arguments: object) -> tuple[Any, float, float]:
    """What a new process prints as its last line (JSON or text), its seconds, and its largest memory in MB."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    begun = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root}) as process:
        assert process.stdout
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit(f"a process failed: {code}")
    text = lines[-1] if lines else "null"
    return json.loads(text) if text[0] in "{[n" else text, seconds, usage.ru_maxrss / 1024


def _median(processes: list[tuple[Any, float, float]]) -> float:
    return statistics.median(seconds for _, seconds, _ in processes)


if __name__ == "__main__":
    main()
