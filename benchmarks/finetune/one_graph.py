"""What a prediction of a fine-tuned model costs beside a pass of the plain network: a Markdown table.

    python benchmarks/finetune/one_graph.py --weights FILE

The plain network ends in pooled features; the fine-tuned one has, above a cut, a tail of weights of its own, and then
hyperplanes for three classes drawn at random. Both are one compiled graph on each engine. They take turns on crops of a
photograph, one and as many at once as the graph likes best, for some seconds; a row has the medians of the rounds, and
the median of the ratios of two passes that followed each other.
"""

import argparse
import datetime
import tempfile
import time
from dataclasses import replace

import numpy as np
import skimage.data

from cache.digest_table import DigestTable
from featurize.backbones.tail import Tail, Tuned, weights_vector
from featurize.engines.choose import open_graph
from featurize.engines.engine import Engine
from featurize.resolve import resolve

CLASSES = 3
HEADINGS = ["engine", "at once", "plain, ms", "fine-tuned, ms", "ratio", "quartiles of the ratio", "rounds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--layer", default="block_12_add", help="the cut")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--engines", default="openvino,tensorflow", help="names, parted by commas")
    parser.add_argument("--seconds", type=float, default=10, help="for each row of the table")
    given = parser.parse_args()
    weights = {} if given.backbone == "nano" else {"weights": given.weights}
    print(f"{given.backbone} above {given.layer}, {CLASSES} classes, {datetime.date.today()}\n")
    print(f"| {' | '.join(HEADINGS)} |")
    print("|---" * len(HEADINGS) + "|")
    with tempfile.TemporaryDirectory() as folder:
        table = DigestTable(folder)
        plain = resolve(table, backbone=given.backbone, **weights)
        cut = resolve(table, backbone=given.backbone, layer=given.layer, pooling="none", **weights)
        whole = cut.tuned_by(random_model(Tail.of(cut.spec, cut.weights)))
        for name in given.engines.split(","):
            engines = [Engine(open_graph(replace(each, engine=name), folder)) for each in (plain, whole)]
            for count in sorted({1, engines[0].batch}):
                seconds = in_turns(engines, crops(count, engines[0].size), given.seconds)
                print(f"| {name} | {count} | {' | '.join(cells(seconds))} |", flush=True)


def random_model(place: Tail) -> Tuned:
    """The backbone's own tail, a little changed, and hyperplanes at random."""
    random = np.random.default_rng(0)
    tail = place.build()
    vector = weights_vector(tail)
    vector *= random.normal(1, 0.01, vector.shape).astype(np.float32)
    kernel = random.normal(size=(tail.output_shape[-1], CLASSES)).astype(np.float32)
    return Tuned(vector, kernel, np.zeros(CLASSES, np.float32))


def crops(count: int, size: tuple[int, int]) -> np.ndarray:
    """Parts of a photograph: (count, height, width, 3) uint8."""
    photograph = skimage.data.astronaut()
    height, width = size
    corners = np.random.default_rng(0).integers(0, np.subtract(photograph.shape[:2], size), (count, 2))
    return np.stack([photograph[top : top + height, left : left + width] for top, left in corners])


def in_turns(engines: list[Engine], pixels: np.ndarray, most: float) -> np.ndarray:
    """Seconds (rounds, engines) of one pass each, after two that are not counted; who begins changes each round."""
    rounds: list[list[float]] = []
    end = time.perf_counter() + most
    while time.perf_counter() < end or len(rounds) < 5:
        seconds = [0.0] * len(engines)
        for number in range(len(engines)):
            turn = (number + len(rounds)) % len(engines)
            start = time.perf_counter()
            engines[turn](pixels)
            seconds[turn] = time.perf_counter() - start
        rounds.append(seconds)
    return np.array(rounds[2:])


def cells(seconds: np.ndarray) -> list[str]:
    plain, tuned = 1000 * np.median(seconds, axis=0)
    low, ratio, high = np.quantile(seconds[:, 1] / seconds[:, 0], [0.25, 0.5, 0.75])
    return [f"{plain:.1f}", f"{tuned:.1f}", f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", str(len(seconds))]


if __name__ == "__main__":
    main()
