"""The rate of two Dask workers beside one process with the same cores, and what killed workers cost.

    python benchmarks/large_data/cluster.py FOLDER [--backbone efficientnet_lite2]
        [--workers dask|local|ray] [--kills 20]

In turns, after a turn that is not counted, each into a new cache that knows the converted network: all pictures of the
folder by this process, and by as many workers of one thread as it has cores. Both are warm: what is timed is reading,
decoding, computing, the commits and the handing out, not the start of processes. Printed are the medians of pictures a
second and the median of the ratios within a turn. With `--kills` a worker is killed (SIGKILL) in the middle of each of
so many runs more; counted are rows that are missing, that differ from those of this process, and that are stored twice.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from helpers.storage.clusters import dask_cluster

from featurize.cluster.connect import connected
from featurize.extract.extractor import Extractor
from featurize.machine.parallel import THREADS
from featurize.open_extractor import open_extractor
from featurize.pictures.find_images import find_images

Progress = Callable[[str, int, int], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--workers", choices=("dask", "local", "ray"), default="dask")
    parser.add_argument("--pictures", type=int, default=1200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    paths = find_images(given.folder).images[: given.pictures]
    with tempfile.TemporaryDirectory() as folder, address_of(given.workers, Path(folder)) as address:
        graphs = Path(folder) / "graphs"
        cache = Path(folder) / "first"
        extractor = open_extractor(str(cache), backbone=given.backbone)
        outcome, expected = extractor.features(paths)
        shutil.copytree(cache / "graphs", graphs)
        with connected(address):
            turns = [turn(graphs, given.backbone, paths) for _ in range(given.turns + 1)][1:]
            show(np.array(turns), len(paths), given.workers)
            counts = [killed(graphs, given.backbone, paths, outcome.keys, expected) for _ in range(given.kills)]
    for number, count in enumerate(counts, start=1):
        print(f"kill {number}: missing {count[0]}, other {count[1]}, stored twice {count[2]}, failed {count[3]}")


@contextmanager
def address_of(kind: str, folder: Path) -> Iterator[str]:
    """The address of `THREADS` workers of one thread."""
    if kind != "dask":
        yield f"local:{THREADS}" if kind == "local" else "ray"
        return
    with dask_cluster(folder, THREADS) as address:
        yield address


@contextmanager
def new_cache(graphs: Path, backbone: str) -> Iterator[Extractor]:
    """An extractor whose cache has no row."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(graphs, Path(folder) / "graphs")
        yield open_extractor(folder, backbone=backbone)


def turn(graphs: Path, backbone: str, paths: list[str]) -> tuple[float, float]:
    """Seconds by this process, and by the workers."""
    import joblib

    with new_cache(graphs, backbone) as here, joblib.parallel_config("threading"):
        start = time.perf_counter()
        here.run(paths)
        alone = time.perf_counter() - start
    with new_cache(graphs, backbone) as there:
        start = time.perf_counter()
        there.run(paths)
        return alone, time.perf_counter() - start


def show(seconds: np.ndarray, pictures: int, kind: str) -> None:
    """Print the rates of turns (n, 2)."""
    alone, there = np.median(pictures / seconds, axis=0)
    print(f"pictures {pictures}, turns {len(seconds)}, load {os.getloadavg()[0]:.1f}, cores {THREADS}")
    print(f"one process {alone:.0f} pictures/s, {kind} {there:.0f} pictures/s")
    print(f"ratio within a turn {np.median(seconds[:, 0] / seconds[:, 1]):.2f}", flush=True)


def killed(
    graphs: Path, backbone: str, paths: list[str], keys: np.ndarray, expected: np.ndarray
) -> tuple[int, int, int, int]:
    """Rows missing, other, and stored twice after a run in which one worker was killed; and pictures that failed."""
    moment = random.random() * 0.8

    def kill(_stage: str, done: int, total: int) -> None:
        nonlocal moment
        if done >= moment * total:
            moment = 2
            os.kill(random.choice(worker_processes()), signal.SIGKILL)

    with new_cache(graphs, backbone) as extractor:
        outcome = extractor.run(paths, kill)
        stored = np.concatenate([shard.digests for shard in extractor.store.refresh()])
        there = extractor.store.contains(keys)
        other = (extractor.store.read(keys[there]) != expected[there]).any(axis=1).sum()
        twice = len(stored) - len(np.unique(stored, axis=0))
        return int((~there).sum()), int(other), twice, len(outcome.failures)


def worker_processes() -> list[int]:
    """The processes below this one that compute: those of Dask below its nannies, of joblib, of Ray."""
    import psutil

    below = psutil.Process().children(recursive=True)
    words = {each.pid: " ".join(each.cmdline()) for each in below if each.is_running()}
    marks = ("loky.backend.popen_loky_posix", "PoolActor")
    nannies = [each for each in below if "dask_worker" in words.get(each.pid, "")]
    found = [each.pid for nanny in nannies for each in nanny.children() if "spawn_main" in words.get(each.pid, "")]
    return found or [pid for pid, line in words.items() if any(mark in line for mark in marks)]


if __name__ == "__main__":
    main()
