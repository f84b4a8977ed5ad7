"""What `nano` is worth: the table in its model card, measured anew.

    python benchmarks/accuracy/backbones.py FOLDER --weights FILE --weights-035 FILE

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`; the files are Keras' weights of MobileNetV2, 1.0 at
224 and 0.35 at 224, without top. Accuracy is that of the default logistic regression, on the set's own split or in
5 folds. Forward passes are timed on decoded batches, on the same engine, the networks in turns; medians of the turns.
"""

import argparse
import datetime
import os
import re
import statistics
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from heads_on_sets import SETS

import pipeline
from classify.data.surfaces import surfaces_folder
from featurize.engines.keras_import import import_keras
from featurize.machine.parallel import in_order

CARD = os.path.join(os.path.dirname(__file__), "..", "..", "featurize", "backbones", "NANO.md")
TURNS = 15
BATCH = 256  # pictures in a turn


@dataclass(frozen=True)
class Row:
    """One row of the table: a name for people, and what `pipeline.train` is asked for."""

    name: str
    spec: dict[str, Any]
    file: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--weights-035", required=True)
    parser.add_argument("--cache-dir", default=".features")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = _rows(given.weights, given.weights_035, os.path.join(temporary, "pixels.keras"))
        rates = _passes_per_second(rows, temporary)
        lines = []
        for row in rows:
            scores = _accuracies(row, given.folder, given.cache_dir, temporary)
            size = f"{os.path.getsize(row.file) / 1e6:.1f} MB" if row.file else "-"
            mean = sum(scores[:-1]) / len(SETS)
            cells = [f"{score:.3f}" for score in (*scores[:-1], mean, scores[-1])]
            lines.append(f"| {row.name} | {' | '.join(cells)} | {rates[row.name]} | {size} |")
            print(lines[-1], flush=True)
    heading = ["backbone", *SETS, "mean of these", "demo", "passes/s", "file"]
    table = "\n".join([f"| {' | '.join(heading)} |", "|---" * len(heading) + "|", *lines])
    with open(CARD, encoding="utf-8") as file:
        card = file.read()
    block = f"<!-- measured -->\nMeasured on {datetime.date.today()}, {os.cpu_count()} cores.\n\n{table}\n<!-- end -->"
    with open(CARD, "w", encoding="utf-8") as file:
        file.write(re.sub(r"<!-- measured -->.*<!-- end -->", lambda _: block, card, flags=re.DOTALL))


def _rows(weights: str, weights_035: str, pixels: str) -> list[Row]:
    from featurize.backbones.backbone_table import find_backbone
    from featurize.backbones.weights import locate

    keras = import_keras()
    inputs = keras.Input((32, 32, 3))
    keras.Model(inputs, keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))).save(pixels)
    nano = locate(find_backbone("nano"), 96, None).path
    return [
        Row("`nano`", {"backbone": "nano"}, nano),
        Row("MobileNetV2 1.0 at 224", {"backbone": "mobilenet_v2", "weights": weights}, weights),
        Row(
            "MobileNetV2 0.35 at 96", {"backbone": "mobilenet_v2_035", "size": 96, "weights": weights_035}, weights_035
        ),
        Row("`nano`, random weights", {"backbone": "nano", "weights": "random"}, ""),
        Row("raw pixels, 32x32", {"backbone": pixels, "pooling": "flatten"}, ""),
    ]


def _accuracies(row: Row, folder: str, cache_dir: str, temporary: str) -> list[float]:
    """Of the four sets, then of the demo."""
    places = {name: (os.path.join(folder, name), options) for name, options in SETS.items()}
    places["demo"] = (surfaces_folder(os.path.join(temporary, "surfaces")), {})
    accuracies = []
    for data, options in places.values():
        model = os.path.join(temporary, "model.joblib")
        report = pipeline.train(data, model=model, cache_dir=cache_dir, **row.spec, **options)
        accuracies.append(report["cv_accuracy"] or report["accuracy"])
    return accuracies


def _passes_per_second(rows: list[Row], temporary: str) -> dict[str, str]:
    engines = {
        row.name: pipeline.open_extractor(temporary, **row.spec).engine for row in rows if "pixels" not in row.name
    }
    random = np.random.default_rng(0)
    batches = {name: random.integers(0, 256, (BATCH, *engine.size, 3), np.uint8) for name, engine in engines.items()}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(TURNS + 1):
        for name, engine in engines.items():
            chunks = np.split(batches[name], BATCH // 8)
            start = time.perf_counter()
            for _ in in_order(engine, chunks, ahead=len(chunks)):
                pass
            if turn:  # the first compiles
                seconds[name].append(time.perf_counter() - start)
    rates = {name: f"{BATCH / statistics.median(times):.0f}" for name, times in seconds.items()}
    return {row.name: rates.get(row.name, "-") for row in rows}


if __name__ == "__main__":
    main()
