"""Which backbone? Accuracy, speed, size, licence and origin of all that can be had here: the table of the guide.

    python benchmarks/backbones.py FOLDER [--weights NAME=FILE ...] [--record]

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`. Backbones that come with the installation are
measured, those of Keras whose weights are on this machine or named with --weights, and joined ones. Accuracy is that of
the default logistic regression, on the set's own split or in 5 folds; demo: on the crops of `make demo`. Pictures a
second are from files to features, on the photographs of `flowers`, in turns; the medians of `TURNS`. `--record` writes
the table into docs/which-backbone.md.
"""

import argparse
import datetime
import os
import re
import shutil
import statistics
import tempfile
from dataclasses import dataclass
from typing import Any

from accuracy.heads_on_sets import SETS

import pipeline
from classify.data.surfaces import surfaces_folder
from featurize.backbones.backbone_table import BACKBONES, Backbone
from featurize.backbones.weights import pretrained_place
from featurize.engines.keras_import import import_keras

GUIDE = os.path.join(os.path.dirname(__file__), "..", "docs", "which-backbone.md")
JOINED = [("efficientnet_lite0", "efficientnet_lite2"), ("mobilenet_v2", "efficientnet_lite2")]
BF16 = ("efficientnet_lite0", "efficientnet_lite2", "mobilenet_v2")
KERAS = "Keras", "see its documentation"
ORIGINS = {  # origin, licence of the weights
    "nano": ("this project", "MIT"),
    "efficientnet_lite0": ("Google, ImageNet", "Apache-2.0"),
    "efficientnet_lite2": ("Google, ImageNet", "Apache-2.0"),
    "mobilenet_v2": ("Google, ImageNet", "Apache-2.0"),
    "mobilenet_v2_035": ("Google, ImageNet", "Apache-2.0"),
}
TURNS = 3


@dataclass(frozen=True)
class Row:
    """One row of the table: a name for people, what `pipeline.train` is asked for, bytes and origin of its weights."""

    name: str
    spec: dict[str, Any]
    bytes: int = 0
    origin: tuple[str, str] = ("", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--weights", metavar="NAME=FILE", action="append", default=[])
    parser.add_argument("--cache-dir", default=".features")
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    files = dict(pair.split("=", 1) for pair in given.weights)
    with tempfile.TemporaryDirectory() as temporary:
        rows = measured_rows(files, os.path.join(temporary, "pixels.keras"))
        heading = ["backbone", *SETS, "mean of these", "demo", "pictures/s", "bf16", "weights", "origin", "licence"]
        lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
        print("\n".join(lines), flush=True)
        rates = pictures_per_second(rows, os.path.join(given.folder, "flowers"), temporary)
        for row in rows:
            scores = accuracies(row, given.folder, given.cache_dir, temporary)
            mean = sum(scores[:-1]) / len(SETS)
            size = f"{row.bytes / 1e6:.1f} MB" if row.bytes else "-"
            cells = [f"{score:.3f}" for score in (*scores[:-1], mean, scores[-1])]
            lines.append(f"| {' | '.join([row.name, *cells, *rates[row.name], size, *row.origin])} |")
            print(lines[-1], flush=True)
    if given.record:
        record("\n".join(lines))


def measured_rows(files: dict[str, str], pixels: str) -> list[Row]:
    """The backbones whose weights are here, joined ones, and what they are compared with; writes the model `pixels`."""
    single = {}
    for name, backbone in BACKBONES.items():
        path = files.get(name) or pretrained_place(backbone, backbone.size).path
        if os.path.isfile(path):
            single[name] = row_of(backbone, path, name in files)
    joined = []
    for names in JOINED:
        if all(name in single for name in names):
            parts = [single[name] for name in names]
            weights = "+".join(part.spec.get("weights", "") for part in parts).strip("+")
            spec = {"backbone": "+".join(names)} | ({"weights": weights} if weights else {})
            joined.append(Row(f"`{'+'.join(names)}`", spec, sum(part.bytes for part in parts), ("both", "both")))
    keras = import_keras()
    inputs = keras.Input((32, 32, 3))
    keras.Model(inputs, keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))).save(pixels)
    return [
        *single.values(),
        *joined,
        Row("`efficientnet_lite2`, random weights", {"backbone": "efficientnet_lite2", "weights": "random"}),
        Row("raw pixels, 32x32", {"backbone": pixels, "pooling": "flatten"}),
    ]


def row_of(backbone: Backbone, path: str, is_given: bool) -> Row:
    """The row of one backbone with the weights at `path`."""
    spec = {"backbone": backbone.name} | ({"weights": path} if is_given else {})
    return Row(f"`{backbone.name}`", spec, os.path.getsize(path), ORIGINS.get(backbone.name, KERAS))


def accuracies(row: Row, folder: str, cache_dir: str, temporary: str) -> list[float]:
    """Of the four sets, then of the demo."""
    places = {name: (os.path.join(folder, name), options) for name, options in SETS.items()}
    places["demo"] = (surfaces_folder(os.path.join(temporary, "surfaces")), {})
    found = []
    for data, options in places.values():
        model = os.path.join(temporary, "model.joblib")
        report = pipeline.train(data, model=model, cache_dir=cache_dir, **row.spec, **options)
        found.append(report["cv_accuracy"] or report["accuracy"])
    return found


def pictures_per_second(rows: list[Row], photographs: str, temporary: str) -> dict[str, tuple[str, str]]:
    """Row name -> pictures a second in float32 and in bf16, "-" where it is not measured."""
    ways = [(row, precision) for row in rows for precision in ("float32", "bf16") if _is_timed(row, precision)]
    rates: dict[tuple[str, str], list[float]] = {(row.name, precision): [] for row, precision in ways}
    for turn in range(TURNS + 1):
        for number, (row, precision) in enumerate(ways):
            cache = os.path.join(temporary, f"{turn} {number}")  # of its own: parts of joined ones are not there yet
            if turn:
                shutil.copytree(os.path.join(temporary, f"0 {number}", "graphs"), os.path.join(cache, "graphs"))
            report = pipeline.features(photographs, cache_dir=cache, precision=precision, **row.spec)
            if turn:  # the first one converts and compiles
                rates[row.name, precision].append(report["images"] / report["seconds"])
    cells = {key: f"{statistics.median(values):.0f}" for key, values in rates.items()}
    return {row.name: tuple(cells.get((row.name, way), "-") for way in ("float32", "bf16")) for row in rows}  # type: ignore[misc]


def _is_timed(row: Row, precision: str) -> bool:
    backbones = str(row.spec["backbone"]).split("+")
    return bool(row.bytes) and (precision == "float32" or set(backbones) <= set(BF16))


def record(table: str) -> None:
    """Write the table into the guide."""
    with open(GUIDE, encoding="utf-8") as file:
        guide = file.read()
    block = f"<!-- measured -->\nMeasured on {datetime.date.today()}, {os.cpu_count()} cores.\n\n{table}\n<!-- end -->"
    with open(GUIDE, "w", encoding="utf-8") as file:
        file.write(re.sub(r"<!-- measured -->.*<!-- end -->", lambda _: block, guide, flags=re.DOTALL))


if __name__ == "__main__":
    main()
