"""Memory that training takes: of each head in memory, or of the heads that stream with less than the features take.

    python benchmarks/cost/memory.py [--rows 20000] [--features 1280] [--classes 10] [--heads logreg,svm]
    python benchmarks/cost/memory.py --rows 8000 --features 256 --heads svm --params kernel=rbf
    python benchmarks/cost/memory.py --rows 200000 --memory 200000000

The rows are synthetic, classes around as many centres, stored by class; so are the signatures of the pictures. Each
training, of few epochs, is a process of its own, with `--memory` told that so many bytes are free. Shown is the largest
resident size above that before the features were there, also in sizes of the features, and what `training_bytes`
expects, which leaves blocks of fixed size out. Of `dense` the start of TensorFlow's computations is in it.
"""

import argparse
import hashlib
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from cache.row_key import FeatureSpec
from cache.signatures import SIDE
from cache.store import FeatureStore
from cache.stored_rows import StoredRows
from classify.data.dataset import Dataset
from classify.heads.head_table import HEADS, make_head, parse_params, training_bytes
from classify.train import train_head
from featurize.engines.keras_import import import_keras

SPEC = FeatureSpec(
    backbone="synthetic", weights="random", layer="none", pooling="avg", size=(1, 1), resize="antialias",
    preprocess="none", decoder=1,
)  # fmt: skip
SHARD = 2048
QUICK = {"dense": {"epochs": 2}, "logreg": {"max_iter": 20}, "svm": {"max_iter": 20}, "sgd": {"max_iter": 3}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--params", default="", help="of the heads, such as kernel=rbf")
    parser.add_argument("--memory", type=int, default=0, help="bytes that are free; 0: all rows are read at once")
    parser.add_argument("--heads", help="names of heads, parted by commas")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        train(*json.loads(given.only))
        return
    with tempfile.TemporaryDirectory() as folder:
        fill(FeatureStore(folder, SPEC), given.rows, given.features, given.classes)
        size = given.rows * given.features * 4
        print(f"features {size / 1e6:.0f} MB, free {f'{given.memory / 1e6:.0f} MB' if given.memory else 'enough'}\n")
        print("head       peak MB  x features  expected MB  seconds  accuracy")
        heads = (
            given.heads.split(",")
            if given.heads
            else [h for h, row in HEADS.items() if row.streams or not (given.memory or row.maps)]
        )
        for head in heads:
            params = parse_params(given.params) or QUICK.get(head, {})
            only = json.dumps([folder, given.rows, given.classes, head, params, given.memory])
            done = subprocess.run(
                [sys.executable, __file__, "--only", only], capture_output=True, text=True, check=True
            )
            peak, seconds, accuracy = json.loads(done.stdout)
            expected = training_bytes(head, params, given.rows, given.features, given.classes, given.rows) / 1e6
            costs = f"{peak / 1e6:8.0f} {peak / size:11.2f} {expected:12.0f} {seconds:8.1f}"
            print(f"{head:9} {costs} {accuracy:9.4f}", flush=True)


def fill(store: FeatureStore, rows: int, features: int, classes: int) -> None:
    random = np.random.default_rng(0)
    centres = np.abs(random.standard_normal((classes, features), np.float32)) / 4
    for start in range(0, rows, SHARD):
        numbers = np.arange(start, min(start + SHARD, rows))
        noise = np.abs(random.standard_normal((len(numbers), features), np.float32))
        store.commit(noise + centres[numbers * classes // rows], keys(numbers), {})


def keys(numbers: np.ndarray) -> np.ndarray:
    return np.array([list(hashlib.sha256(b"%d" % number).digest()) for number in numbers], np.uint8)


def train(folder: str, rows: int, classes: int, head: str, params: dict[str, Any], memory: int) -> None:
    """Print [largest resident size above that at the start, seconds, accuracy]."""
    logging.disable()
    digests = keys(np.arange(rows))
    store = FeatureStore(folder, SPEC)
    store.refresh()
    make_head(head, params)  # imports what it needs
    if head == "dense":
        import_keras()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    stored = StoredRows(store, digests, memory)
    data = Dataset(
        features=stored if memory else store.read(digests),
        labels=np.char.mod("class %d", np.arange(rows) * classes // rows),
        parts=np.full(rows, "all"),
        digests=digests,
        paths=[""] * rows,
        signatures=np.random.default_rng(0).integers(256, size=(rows, SIDE, SIDE, 3), dtype=np.uint8),
    )
    training = train_head(data, head, params)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([peak * 1024, time.perf_counter() - start, training.scores.accuracy]))


if __name__ == "__main__":
    main()
