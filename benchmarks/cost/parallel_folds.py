"""What folds side by side save: --cv and compare with one fold at a time, with one a core, in threads or processes.

    python benchmarks/cost/parallel_folds.py [--shapes 20000x1280x20,600x1280x5] [--heads logreg,svm] [--folds 5]
    python benchmarks/cost/parallel_folds.py --pictures FOLDER --cache-dir CACHE --backbone efficientnet_lite2

The first form cross-validates heads on rows that are drawn: n x features x classes. The second compares all heads, or
`--heads`, on the pictures of a folder, whose features are computed first.

Ways take turns, `--rounds` times; a ratio is the median over the rounds of seconds of one fold at a time by seconds of
the way. Processor seconds are medians; what other programs do meanwhile changes seconds more than these.

* one: one fold at a time, one thread of linear algebra (n_jobs=1).
* blas: one fold at a time, linear algebra with all cores.
* threads: one fold a core, in threads (n_jobs=None).
* processes: one fold a core, in processes of joblib's loky, which have been started before.
"""

import argparse
import datetime
import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import joblib
import numpy as np
import psutil

import pipeline
from classify.data.dataset import Dataset
from classify.data.grouping import Grouping
from classify.data.split import folds
from classify.scoring.out_of_fold import CrossValidation, Folds, cross_validate, fit_fold

WAYS = ("one", "blas", "threads", "processes")
Run = Callable[[], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="20000x1280x20,600x1280x5")
    parser.add_argument("--heads", default="")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures")
    parser.add_argument("--cache-dir")
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--ways", default=",".join(WAYS))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"{datetime.date.today()}, {cores} cores, load {load:.1f}, {given.folds} folds, {given.rounds} rounds\n")
    ways = [way for way in given.ways.split(",") if not given.pictures or way != "blas"]
    print("| what | " + " | ".join(f"{way}: s, processor s, ratio" for way in ways) + " | the same |")
    print("|---" * (len(ways) + 2) + "|")
    for name, runs in compared(given, ways) if given.pictures else cross_validated(given, ways):
        print(f"| {name} | {row(runs, given.rounds)} |", flush=True)


def cross_validated(given: argparse.Namespace, ways: list[str]) -> Iterator[tuple[str, dict[str, Run]]]:
    heads = given.heads.split(",") if given.heads else ["logreg", "svm", "ridge", "sgd", "knn", "centroid"]
    for shape, head in itertools.product(given.shapes.split(","), heads):
        data = drawn(*map(int, shape.split("x")))
        splits = folds(data.labels, each := np.arange(len(data.labels)), given.folds, 0)
        yield f"{head}, {shape}", {way: partial(answers, data, head, Grouping(each), splits, way) for way in ways}


def answers(data: Dataset, head: str, groups: Grouping, splits: list[Any], way: str) -> np.ndarray:
    """Probabilities of all pictures, each by a head that was not fitted on it."""
    plan = Folds(groups, splits, search=False, seed=0, n_jobs=1 if way == "one" else None)
    if way == "blas":
        found = CrossValidation.of([fit_fold(data, head, {}, plan, None, number) for number in range(len(splits))])
    elif way == "processes":
        with joblib.parallel_config(backend="loky"):
            found = cross_validate(data, head, {}, plan)
    else:
        found = cross_validate(data, head, {}, plan)
    return found.answers.probabilities


def compared(given: argparse.Namespace, ways: list[str]) -> Iterator[tuple[str, dict[str, Run]]]:
    options = {"backbone": given.backbone, "cache_dir": given.cache_dir}
    pipeline.features(given.pictures, **options)
    heads = given.heads.split(",") if given.heads else None

    def lines(way: str) -> np.ndarray:
        jobs = {"folds": given.folds, "heads": heads, "n_jobs": 1 if way == "one" else None}
        with joblib.parallel_config(**({"backend": "loky"} if way == "processes" else {})):
            report = pipeline.compare(given.pictures, **jobs, **options)
        return np.array([[line["accuracy"], line["log_loss"]] for line in report["lines"]])

    name = f"compare {os.path.basename(given.pictures)}, {given.heads or 'all heads'}"
    yield name, {way: partial(lines, way) for way in ways}


def drawn(count: int, features: int, classes: int) -> Dataset:
    """Rows like pooled features: not negative, of classes that overlap."""
    random = np.random.default_rng(0)
    labels = random.integers(classes, size=count)
    centres = random.normal(size=(classes, features)).astype(np.float32)
    rows = np.maximum(random.standard_normal((count, features), np.float32) + 0.35 * centres[labels], 0)
    digests = random.integers(256, size=(count, 32)).astype(np.uint8)
    parts, paths = np.full(count, "all", dtype="U10"), [str(number) for number in range(count)]
    return Dataset(rows, np.array([f"class {label:03}" for label in labels]), parts, digests, paths)


def row(runs: dict[str, Run], rounds: int) -> str:
    """The cells of a line: median seconds, processor seconds and ratio of each way, and which give the same."""
    measured: dict[str, list[tuple[float, float]]] = {way: [] for way in runs}
    found: dict[str, np.ndarray] = {}
    for way, run in runs.items():
        found[way] = run()  # warm: workers are started, pages are there
    for _ in range(rounds):
        for way, run in runs.items():
            start, used = time.perf_counter(), processor_seconds()
            run()
            measured[way].append((time.perf_counter() - start, processor_seconds() - used))
    cells = []
    for pairs in measured.values():
        seconds, processor = np.median(pairs, axis=0)
        ratio = np.median([one / other for (one, _), (other, _) in zip(measured["one"], pairs, strict=True)])
        cells.append(f"{seconds:.2f}, {processor:.2f}, {ratio:.2f}")
    same = [way for way in runs if np.array_equal(found[way], found["one"])]
    return f"{' | '.join(cells)} | {', '.join(same)}"


def processor_seconds() -> float:
    """Of this process and of the workers that it has."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(each.cpu_times().user + each.cpu_times().system for each in processes)


if __name__ == "__main__":
    main()
