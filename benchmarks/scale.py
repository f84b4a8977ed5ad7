"""A million rows on one machine: what each command takes, in a process that may take so much memory and no more.

    python benchmarks/scale.py [STEP ...] [--rows 1000000] [--folder /tmp/scale] [--gigabytes 4] [--stored float16]

Steps: fill, features, train, search, compare, evaluate, predict, report. Those that are named, else all but
`search`. Rows, labels and signatures are synthetic and lie in a cache that the store has written. Every picture is a
hard link to one of a few small files, which nothing decodes but the report. Rows of 100 classes have a part in common,
so that their covariance is far from the identity, 2% of the labels are wrong, and 1% of the pictures are
near-duplicates of others.

Each step is a process of its own. Linux limits its data segment (RLIMIT_DATA: all private writable memory, whether it
is touched or not), which is stricter than a limit on resident memory. Shown are seconds, those of the processor, the
largest resident size, and the largest data segment that was seen.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cache.digest_table import DigestTable, take_stamp
from cache.row_key import DIGEST_BYTES
from cache.signatures import SIDE, signature_store
from cache.store import SHARD_ROWS, FeatureStore
from featurize.open_extractor import open_extractor

WIDTH, CLASSES, COMMON = 1280, 100, 32
APART = 0.13  # deviation of the centres of classes, of noise of 1
WRONG, COPIES = 0.02, 0.01
POOL = 4096
LINKS = 50_000  # of one file; ext4 allows 65,000
PROVENANCE = {"engine": "none: synthetic rows"}
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", default="/tmp/scale")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="limit of each process, in 10^9 bytes; 0: none")
    parser.add_argument("--stored", default="float16", help="float16 or float32")
    given = parser.parse_args()
    folder = Path(given.folder) / f"{given.rows}-{given.stored}"
    spec = {"backbone": "nano", "size": 32, "stored": given.stored}
    steps = commands(folder, spec)
    chosen = given.steps or ["fill", *(name for name in steps if name != "search")]
    if unknown := {*chosen} - {"fill", *steps}:
        parser.error(f"unknown step {', '.join(sorted(unknown))}: choose of fill, {', '.join(steps)}")
    print(f"{given.rows} rows of {WIDTH} {given.stored}, {CLASSES} classes, {os.cpu_count()} cores", flush=True)
    for name in chosen:
        if name == "fill":
            started = time.perf_counter()
            if not (folder / "labels.csv").exists():
                fill(folder, given.rows, spec)
            print(f"{name:9} {time.perf_counter() - started:8.1f} s", flush=True)
            continue
        cost, output, code = limited(steps[name], int(given.gigabytes * 1e9), folder)
        (folder / f"{name}.log").write_text(output)
        print(f"{name:9} {cost}", flush=True)
        if code:
            print(f"  failed with {code}; its last lines:", *output.splitlines()[-8:], sep="\n    ", flush=True)
        elif shown := shown_of(folder / f"{name}.json"):
            print(f"  {shown}", flush=True)


def commands(folder: Path, spec: dict[str, Any]) -> dict[str, list[str]]:
    """The words of each step."""
    pipeline = [sys.executable, "-m", "pipeline"]
    chosen = [word for name, value in spec.items() for word in (f"--{name}", str(value))]
    labelled = ["--labels", str(folder / "labels.csv"), "--cache-dir", str(folder / "cache")]
    model = str(folder / "sgd.joblib")

    def saying(name: str) -> list[str]:
        return ["--json", str(folder / f"{name}.json")]

    trained = [*pipeline, "train", *labelled, *chosen, "--head", "sgd"]
    return {
        "features": [*pipeline, "features", *labelled, *chosen, *saying("features")],
        "train": [*trained, "--model", model, *saying("train")],
        "search": [*trained, "--search", "--model", str(folder / "searched.joblib"), *saying("search")],
        "compare": [*pipeline, "compare", *labelled, "--heads", "sgd", *saying("compare")],
        "evaluate": [*pipeline, "evaluate", *labelled, "--model", model, *saying("evaluate")],
        "predict": [*pipeline, "predict", "--model", model, "--images", str(folder / "photos"), "--output",
                    str(folder / "predictions.csv")],
        "report": [*pipeline, "report", *labelled, "--model", model, "--output", str(folder / "report.html")],
    }  # fmt: skip


def limited(words: list[str], most: int, folder: Path) -> tuple[str, str, int]:
    """What it took, in words, output and exit status of a process with a data segment of so many bytes at most."""

    limit = ["prlimit", f"--data={most}"] if most else []  # of util-linux
    seen = [0]
    started = time.perf_counter()
    with open(folder / "output", "wb+") as output:
        process = subprocess.Popen([*limit, *words], stdout=output, stderr=output, cwd=ROOT)
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, seen, done))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
        output.seek(0)
        text = output.read().decode(errors="replace")
    cost = f"{time.perf_counter() - started:8.1f} s  processor {usage.ru_utime + usage.ru_stime:8.1f} s"
    cost += f"  resident {usage.ru_maxrss * 1024 / 1e9:5.2f} GB  data {seen[0] / 1e9:5.2f} GB"
    return cost, text, process.returncode


def _watch(process: int, seen: list[int], done: threading.Event) -> None:
    while not done.wait(0.2):
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            return
        for line in status.splitlines():
            if line.startswith("VmData:"):
                seen[0] = max(seen[0], 1024 * int(line.split()[1]))


def shown_of(path: Path) -> str:
    """What a report of a step says of its scores and stages."""
    if not path.exists():
        return ""
    report = json.loads(path.read_text())
    names = ("accuracy", "leaked", "images", "computed", "stage_seconds", "seconds")
    found = {name: report[name] for name in names if name in report}
    if lines := report.get("lines"):
        found["lines"] = [{name: line[name] for name in ("head", "accuracy", "train_seconds")} for line in lines]
    return json.dumps(found)


def fill(folder: Path, rows: int, spec: dict[str, Any]) -> None:
    """Write the cache, the pictures and, last, the table of labels."""
    paths = _pictures(folder / "photos", rows)
    labels = np.arange(rows) % CLASSES
    cache = str(folder / "cache")
    signatures, table = signature_store(cache), DigestTable(cache)
    store = open_extractor(cache, **spec).store
    assert isinstance(store, FeatureStore)
    random = np.random.default_rng(0)
    noise, shapes = _noise(random), _shapes(random, POOL)
    centres = APART * random.standard_normal((CLASSES, WIDTH), np.float32)
    time.sleep(0.1)  # a file is only believed to be unchanged if it was read some time after it was written
    for first in range(0, rows, SHARD_ROWS):
        numbers = np.arange(first, min(first + SHARD_ROWS, rows))
        one, other = random.integers(0, POOL, (2, len(numbers)))
        features = (noise[one] + noise[other]) / np.sqrt(np.float32(2)) + centres[labels[numbers]]
        pictures = np.clip(128 + shapes[one] * random.uniform(0.5, 1.2, (len(one), 1, 1, 1)) + shapes[other], 0, 255)
        copies = np.flatnonzero(random.random(len(numbers)) < COPIES)
        copies = copies[copies >= CLASSES]
        features[copies] = features[copies - CLASSES] + 0.1 * noise[one[copies]]
        pictures[copies] = np.clip(pictures[copies - CLASSES] + random.integers(-2, 3, pictures[copies].shape), 0, 255)
        digests = np.frombuffer(b"".join(hashlib.sha256(b"%d" % number).digest() for number in numbers), np.uint8)
        digests = digests.reshape(-1, DIGEST_BYTES)
        signatures.commit(pictures.astype(np.uint8), digests, PROVENANCE)
        store.commit(features, digests, PROVENANCE)
        stamps = [(paths[number], take_stamp(paths[number])) for number in numbers]
        known = zip(stamps, digests, strict=True)
        table.record([(path, stamp, digest.tobytes()) for (path, stamp), digest in known if stamp])
    wrong = random.random(rows) < WRONG
    labels[wrong] = random.integers(0, CLASSES, int(wrong.sum()))
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        below = len(str(folder)) + 1
        names = (f"class {label:03}" for label in labels.tolist())
        writer.writerows((path[below:], name) for path, name in zip(paths, names, strict=True))


def _noise(random: np.random.Generator) -> np.ndarray:
    """Rows (POOL, WIDTH) with a part in common: the sum of two is one of millions of others."""
    common = random.standard_normal((COMMON, WIDTH), np.float32)
    common *= np.linspace(0.35, 0.03, COMMON, dtype=np.float32)[:, None]
    rows = random.standard_normal((POOL, WIDTH), np.float32)
    return rows + random.standard_normal((POOL, COMMON), np.float32) @ common


def _pictures(folder: Path, count: int) -> list[str]:
    """Hard links to a few small files, in folders of 10,000."""
    random = np.random.default_rng(1)
    originals = []
    for number in range(-(-count // LINKS)):
        folder.mkdir(parents=True, exist_ok=True)
        originals.append(str(folder.parent / f"original{number}.png"))
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(originals[-1])
    paths = []
    for number in range(count):
        if number % 10_000 == 0:
            below = str(folder / f"{number // 10_000:04}")
            os.makedirs(below, exist_ok=True)
        paths.append(f"{below}/{number:08}.png")
        with contextlib.suppress(FileExistsError):
            os.link(originals[number // LINKS], paths[-1])
    return paths


def _shapes(random: np.random.Generator, count: int) -> np.ndarray:
    """Signatures around 0 as photographs have: most of the contrast in large shapes, colours much alike."""
    pictures = np.zeros((count, SIDE, SIDE, 3), np.float32)
    contrast = random.uniform(15, 50, (count, 1, 1, 1)).astype(np.float32)
    for cells, share in ((1, 0.5), (2, 0.6), (4, 0.45), (8, 0.3), (SIDE, 0.12)):
        grey = random.standard_normal((count, cells, cells, 1), np.float32)
        colour = 0.35 * random.standard_normal((count, cells, cells, 3), np.float32)
        pictures += share * contrast * np.kron(grey + colour, np.ones((1, SIDE // cells, SIDE // cells, 1), np.float32))
    return pictures


if __name__ == "__main__":
    main()
