"""Every format of an export by every head and backbone: how far its answers are off, its size, its time a picture.

    python benchmarks/deploy/exports.py FOLDER --work /tmp/exports [--backbones nano efficientnet_lite0+nano]
        [--heads svm] [--formats onnx xml] [--precisions float32 float16] [--weights FILE]

Each head is trained on FOLDER (`finetune` for two epochs, for its graph and not for its accuracy) and exported in each
format, which proves it on training pictures in the runtime of that format. A line is printed for each as it comes. At
the end each runtime is given decoded pictures, one at a time, and a table in Markdown is printed: its milliseconds are
the smallest of three medians of `--pictures`, with a few before that are not counted.

The work folder keeps the cache, the models, the exports and results.jsonl, a line for each export: what is there is
not made again. Only the times are measured anew.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import pipeline
from cache.errors import UserError
from classify.exports.about import side_files
from classify.exports.inputs import INPUT
from classify.exports.runtimes import Exported, open_exported
from featurize.decoding.decode import decode
from featurize.pictures.find_images import find_images
from featurize.pictures.sources import read

BACKBONES = ["nano", "efficientnet_lite0", "mobilenet_v2", "efficientnet_lite0+efficientnet_lite2"]
HEADS = ["logreg", "svm", "dense", "ridge", "sgd", "centroid", "finetune"]
FORMATS = ["onnx", "tflite", "keras", "xml"]
WARM, ROUNDS = 3, 3  # pictures that are not counted, medians of which the smallest is


class Wanted(NamedTuple):
    """One line of the table."""

    backbone: str
    head: str
    format: str
    precision: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--heads", nargs="+", default=HEADS)
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--weights", help="of mobilenet_v2")
    parser.add_argument("--pictures", type=int, default=50)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    results = given.work / "results.jsonl"
    for wanted in every(given):
        if wanted in known(results):
            continue
        found = exported(wanted, given)
        with results.open("a") as file:
            print(json.dumps([wanted, found]), file=file)
        print(*wanted, *(f"{name} {value}" for name, value in found.items()), flush=True)
    found_all = known(results)
    print_table({wanted: found_all[wanted] for wanted in every(given)}, given)


def every(given: argparse.Namespace) -> Iterator[Wanted]:
    """What is asked for, the exports of one model one after the other."""
    for backbone in given.backbones:
        for head in given.heads:
            for format in given.formats:
                yield from (Wanted(backbone, head, format, precision) for precision in given.precisions)


def known(results: Path) -> dict[Wanted, dict[str, Any]]:
    """What has been exported before."""
    lines = results.read_text().splitlines() if results.exists() else []
    return {Wanted(*wanted): found for wanted, found in map(json.loads, lines)}


def path_of(wanted: Wanted, given: argparse.Namespace) -> str:
    """Where an export is."""
    return str(given.work / "exports" / f"{wanted.backbone}-{wanted.head}-{wanted.precision}.{wanted.format}")


def exported(wanted: Wanted, given: argparse.Namespace) -> dict[str, Any]:
    """difference, equal (labels) and bytes of one export, or why there is none."""
    try:
        report = pipeline.export_model(trained(wanted, given), path_of(wanted, given), precision=wanted.precision)
    except UserError as error:
        return {"refused": str(error)}
    names = {"difference": "largest_difference", "equal": "equal_labels", "bytes": "bytes"}
    return {name: report[field] for name, field in names.items()}


def milliseconds(wanted: Wanted, given: argparse.Namespace) -> float:
    """What one picture takes in the runtime of an export."""
    path = path_of(wanted, given)
    about = json.loads(Path(side_files(path)[0]).read_text())
    paths = find_images(given.folder).images
    paths = paths[:: max(1, len(paths) // given.pictures)][: given.pictures]
    inputs = about.get("inputs") or [{"name": INPUT, "size": about["size"], "resize": about["resize"]}]
    pixels = [
        {
            each["name"]: decode(read(one), tuple(each["size"]), each["resize"])[None].astype(np.float32)
            for each in inputs
        }
        for one in paths
    ]
    run = open_exported(path)
    for one in pixels[:WARM]:
        run(one)
    return 1000 * min(statistics.median(seconds(run, one) for one in pixels) for _ in range(ROUNDS))


def seconds(run: Exported, pixels: dict[str, np.ndarray]) -> float:
    started = time.perf_counter()
    run(pixels)
    return time.perf_counter() - started


def trained(wanted: Wanted, given: argparse.Namespace) -> str:
    """The path of a model, trained where it is not there yet."""
    model = str(given.work / "models" / f"{wanted.backbone}-{wanted.head}.joblib")
    if not os.path.exists(model):
        options: dict[str, Any] = {"backbone": wanted.backbone, "cache_dir": str(given.work / "cache")}
        if "mobilenet_v2" in wanted.backbone:
            options["weights"] = given.weights
        if wanted.head == "finetune":
            options |= {"views": 1, "head_params": {"epochs": 2}}
        pipeline.train(given.folder, wanted.head, model=model, **options)
    return model


def print_table(found: dict[Wanted, dict[str, Any]], given: argparse.Namespace) -> None:
    """A line for each export."""
    print("\n| backbone | head | format | largest difference | equal labels | MB | ms a picture |")
    print("|---|---|---|---|---|---|---|")
    for wanted, numbers in found.items():
        kind = wanted.format if wanted.precision == "float32" else f"{wanted.format}, {wanted.precision}"
        row = f"| {wanted.backbone} | {wanted.head} | {kind} |"
        if "refused" in numbers:
            print(row, f"{numbers['refused']} | | | |", flush=True)
        else:
            size, ms = f"{numbers['bytes'] / 1e6:.2f}", f"{milliseconds(wanted, given):.2f}"
            print(row, f"{numbers['difference']:.1e} | {numbers['equal']:.1%} | {size} | {ms} |", flush=True)


if __name__ == "__main__":
    main()
