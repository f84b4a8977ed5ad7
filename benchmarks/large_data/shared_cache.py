"""What a push and a pull ask of object storage: requests, bytes, time. Needs no data and no network.

    python benchmarks/large_data/shared_cache.py [--rows 50000] [--latency 0.05]

Rows are synthetic, 1,280 numbers of float32 each. The storage is a server of the S3 protocol on loopback
(tests/helpers/storage/object_storage.py), a process of its own on the same processor, which waits `--latency` seconds
before each answer. Requests and bytes are counted by the server; in brackets for a million rows. A listing has 1,000
objects.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from helpers.storage import object_storage

from cache.files.disk_space import readable
from cache.remote.pull import pull
from cache.remote.push import push
from cache.remote.selection import Transfer
from cache.row_key import FeatureSpec
from cache.store import SHARD_ROWS, FeatureStore

SPEC = FeatureSpec(
    backbone="synthetic", weights="", layer="", pooling="avg", size=(224, 224), resize="antialias", preprocess="none",
    decoder=1,
)  # fmt: skip
WIDTH = 1280
KINDS = ("LIST", "GET", "PUT", "DELETE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, object_storage.running() as server:
        os.environ.update(server.environment)
        address = f"s3://{server.new_bucket()}/features"
        here, other = os.path.join(folder, "here"), os.path.join(folder, "other")
        fill(here, options.rows)
        print(f"{options.rows} rows of {WIDTH} float32, {options.latency:g} s latency; a million rows in brackets")

        def measure(name: str, copy: Callable[[str, str], Transfer], cache_dir: str) -> None:
            server.reset(latency=options.latency)
            start = time.perf_counter()
            done = copy(cache_dir, address)
            seconds = time.perf_counter() - start
            counts = server.counts()
            requests = ", ".join(
                f"{counts[kind]} {kind}"
                + ("" if kind == "LIST" else f" ({counts[kind] * 1_000_000 / options.rows:,.0f})")
                for kind in KINDS
                if counts[kind]
            )
            read = f"{readable(counts['bytes'])} read ({readable(counts['bytes'] * 1_000_000 / options.rows)})"
            print(f"{name:<34} {done.rows:>7} rows {readable(done.bytes):>8}  {seconds:6.2f} s  {requests}; {read}")

        measure("push, nothing there", push, here)
        measure("push again", push, here)
        measure("pull, nothing here", pull, other)
        measure("pull again", pull, other)
        FeatureStore(here, SPEC).compact(2 * SHARD_ROWS)
        measure("push, all shards merged meanwhile", push, here)


def fill(cache_dir: str, count: int) -> None:
    """Commit synthetic rows."""
    random = np.random.default_rng(0)
    store = FeatureStore(cache_dir, SPEC)
    for start in range(0, count, SHARD_ROWS):
        rows = random.standard_normal((min(SHARD_ROWS, count - start), WIDTH), np.float32)
        store.commit(rows, random.integers(0, 256, (len(rows), 32), np.uint8), {"engine": "none: synthetic rows"})


if __name__ == "__main__":
    main()
