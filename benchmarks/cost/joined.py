"""What joined backbones cost beside what nobody can do without: one decode of every picture and a pass of each network.

    python benchmarks/cost/joined.py FOLDER [--backbone efficientnet_lite0+efficientnet_lite2] [--precision bf16]

In turns, in one process, after a turn that is not counted: `features` of the joined backbones into a new cache, with
all that belongs to it (hashing, the commits); the same of each part alone; one decode of all files on all cores, at the
larger input, and the decode for all inputs, which reads a JPEG twice where the inputs want it reduced to other sizes;
and the pass of each network alone on decoded pictures, by OpenVINO in its throughput mode, by the size of
request that was fastest before, and as the project computes it. Printed are the medians in milliseconds a picture and
the median of the ratios within a turn, with quartiles: of the time, and of the time that all cores worked for it, which
says more where other processes take theirs.
"""

import argparse
import datetime
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

import pipeline
from featurize.decoding.decode import NetworkInput, decode, decode_inputs
from featurize.machine.parallel import THREADS
from featurize.pictures.find_images import find_images
from featurize.pictures.sources import digest_of, read

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "contenders"))
from bound import by_engine, openvino_ways, seconds
from job import Job

Clock = tuple[float, float]  # seconds passed, seconds that all cores of this process worked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="efficientnet_lite0+efficientnet_lite2")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--turns", type=int, default=9)
    given = parser.parse_args()
    images = list({digest_of(path): path for path in find_images(given.folder).images}.values())  # each content once
    paths = images[:: max(1, len(images) // given.pictures)][: given.pictures]
    names = given.backbone.split("+")
    with tempfile.TemporaryDirectory() as folder:
        ways = {"joined": partial(features, folder, given.backbone, given.precision, paths)}
        ways |= {f"{name} alone": partial(features, folder, name, given.precision, paths) for name in names}
        ways |= bounds(folder, names, given.precision, paths)
        turns = []
        for turn in range(given.turns + 1):
            order = list(ways)[:: -1 if turn % 2 else 1]
            clocks = {name: clocked(ways[name]) for name in order}
            turns.append([clocks[name] for name in ways])
    print_table(list(ways), np.array(turns[1:]), len(names), len(paths))


def features(folder: str, backbone: str, precision: str, paths: list[str]) -> None:
    """All rows of `paths`, into a new cache."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        spec = {"backbone": backbone, "engine": "openvino", "precision": precision}
        assert pipeline.open_extractor(cache, **spec).run(paths).computed == len(paths)


def bounds(folder: str, names: list[str], precision: str, paths: list[str]) -> dict[str, Callable[[], None]]:
    """Both decodes of all files, the pass of each network in throughput mode, then that of each by the project."""
    inputs = []
    throughput: dict[str, Callable[[], None]] = {}
    ours: dict[str, Callable[[], None]] = {}
    sizes = []
    for number, name in enumerate(names):
        cache = f"{folder}/{number}"
        engine = pipeline.open_extractor(cache, backbone=name, engine="openvino", precision=precision).engine
        size, ways = openvino_ways(Job("", name, cache, precision=precision), len(paths))
        pixels = decoded(paths, size)
        fastest = min(ways, key=lambda way: min(seconds(way, pixels) for _ in range(2)))
        throughput[f"pass of {name}"] = partial(fastest, pixels)
        ours[f"our pass of {name}"] = partial(by_engine(engine), pixels)
        sizes.append(size)
        inputs.append(NetworkInput(size))
    decodes = {"one decode": partial(decoded, paths, max(sizes)), "decode for all": partial(decoded_for, paths, inputs)}
    return decodes | throughput | ours


def decoded(paths: list[str], size: tuple[int, int]) -> np.ndarray:
    """Pixels (n, height, width, 3) of all files, decoded on all cores."""
    pixels = np.empty((len(paths), *size, 3), np.uint8)

    def fill(number: int) -> None:
        pixels[number] = decode(read(paths[number]), size)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(fill, range(len(paths))):
            pass
    return pixels


def decoded_for(paths: list[str], inputs: list[NetworkInput]) -> None:
    """Decode all files for all inputs, on all cores."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda path: decode_inputs(read(path), inputs), paths):
            pass


def clocked(work: Callable[[], object]) -> Clock:
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def print_table(names: list[str], clocks: np.ndarray, parts: int, pictures: int) -> None:
    """clocks: (turns, ways, 2). Ways: joined, each of the `parts` alone, both decodes, and twice the pass of each."""
    print(f"{datetime.date.today()}, {pictures} pictures, {len(clocks)} turns, {THREADS} cores\n")
    print(f"{'':30} {'ms a picture':>12} {'of all cores':>12}")
    for name, milliseconds in zip(names, 1000 * np.median(clocks, axis=0) / pictures, strict=True):
        print(f"{name:30} {milliseconds[0]:12.2f} {milliseconds[1]:12.2f}")
    joined, decode, decode_all = clocks[:, 0], clocks[:, 1 + parts], clocks[:, 2 + parts]
    alone, throughput, ours = (clocks[:, i : i + parts].sum(axis=1) for i in (1, 3 + parts, 3 + 2 * parts))
    for what, others in (
        ("one decode and both passes", decode + throughput),
        ("the decode for all and both passes", decode_all + throughput),
        ("the decode for all and both passes of ours", decode_all + ours),
        ("the parts alone", alone),
    ):
        ratios = joined / others
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75], axis=0)
        shown = [f"{m:.3f} ({a:.3f} to {b:.3f})" for a, m, b in zip(low, middle, high, strict=True)]
        print(f"joined / {what}: {shown[0]}, of all cores {shown[1]}")


if __name__ == "__main__":
    main()
