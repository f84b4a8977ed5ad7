"""What no way can exceed on these cores: 1 / (d + f) pictures a second.

d: seconds to decode all files on all cores, by this project's decoder, divided by their number. f: seconds of the
forward pass alone on decoded batches, likewise: by OpenVINO, on the graph that the project keeps, opened here by itself
in throughput mode, the fastest of a few sizes of request; by TensorFlow as the project calls it.
"""

import glob
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from job import Job, answer, read_job

import pipeline
from featurize.decoding.decode import decode
from featurize.engines.engine import Engine
from featurize.engines.silent_openvino import import_openvino

REQUESTS = (1, 4, 32)  # pictures
WARM = 256  # pictures before the clock starts

Forward = Callable[[np.ndarray], Any]


def main() -> None:
    job = read_job()
    size, ways = openvino_ways(job, len(job.paths)) if job.engine == "openvino" else _tensorflow(job)
    paths = job.paths

    def pixels_of(path: str) -> np.ndarray:
        with open(path, "rb") as file:
            return decode(file.read(), size, job.resize)

    pixels = np.empty((len(paths), *size, 3), np.uint8)
    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for position, picture in enumerate(pool.map(pixels_of, paths)):
            pixels[position] = picture
    decoding = time.perf_counter() - start
    passing = min(seconds(way, pixels) for way in ways)
    answer(job, seconds=decoding + passing, decode_seconds=decoding, forward_seconds=passing)


def openvino_ways(job: Job, pictures: int) -> tuple[tuple[int, int], list[Forward]]:
    """The size (height, width) of the network's input, and its forward passes, at most `pictures` at once."""
    openvino = import_openvino()
    core = openvino.Core()
    graphs = glob.glob(os.path.join(job.cache_dir, "graphs", "*", "network.xml"))
    if not graphs:
        sys.exit("prepare has left no graph of OpenVINO")
    _, height, width, _ = core.read_model(graphs[0]).input(0).partial_shape
    size = height.get_length(), width.get_length()

    def way(count: int) -> Forward:
        model = core.read_model(graphs[0])
        model.reshape([count, *size, 3])
        steps = openvino.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8)
        steps.input().preprocess().convert_element_type(openvino.Type.f32)
        precision = "bf16" if job.precision == "bf16" else "f32"
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
        queue = openvino.AsyncInferQueue(core.compile_model(steps.build(), "CPU", hints))

        def forward(pixels: np.ndarray) -> None:
            for end in (*range(count, len(pixels), count), len(pixels)):  # the last request is full too
                queue.start_async({0: pixels[end - count : end]}, share_inputs=True)
            queue.wait_all()

        return forward

    return size, [way(count) for count in REQUESTS if count <= pictures]


def _tensorflow(job: Job) -> tuple[tuple[int, int], list[Forward]]:
    engine = pipeline.open_extractor(job.cache_dir, **job.spec).engine
    return engine.size, [by_engine(engine)]


def by_engine(engine: Engine) -> Forward:
    """A pass as the project computes it: batches in threads."""

    def forward(pixels: np.ndarray) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            batches = (pixels[first : first + engine.batch] for first in range(0, len(pixels), engine.batch))
            for _ in pool.map(engine, batches):
                pass

    return forward


def seconds(forward: Forward, pixels: np.ndarray) -> float:
    """What a pass of `pixels` (n, height, width, 3) takes, after one of the first `WARM` of them."""
    forward(pixels[:WARM])  # compiled and warm before the clock starts
    start = time.perf_counter()
    forward(pixels)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
