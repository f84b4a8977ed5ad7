"""How many labels a classifier takes: pictures asked as `classify.labelling.ask` does, against random order.

    python benchmarks/labelling.py FOLDER [--wrong 0.05] [--rare]

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`; the last line has all of them together. A simulated
person names ten pictures at a time. Printed are the labels after which the accuracy on the test pictures first reaches
0.95 and 0.98 of that of `logreg` fitted on all training pictures with their right labels: medians of 5 seeds, "-" where
it is not reached with `--most` labels. Sets without a split of their own are split anew for each seed.

--wrong: the share of answers that are wrong. --rare: every second class has a tenth of the pictures of the others.
"""

import argparse
import datetime
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pipeline
from classify.data.duplicates import near_duplicates
from classify.data.split import holdout
from classify.heads.numerics import unit_rows
from classify.labelling.ask import Pool, ask, margins
from classify.labelling.hyperplanes import Hyperplanes, fit_hyperplanes
from classify.labels.read_labels import read_labels
from featurize.extract.missing_signatures import signatures_of

sys.path.insert(0, str(Path(__file__).resolve().parent / "accuracy"))
from heads_on_sets import SETS

BATCH, BARS, SEEDS = 10, (0.95, 0.98), 5
Way = Callable[[Pool, np.ndarray, np.ndarray | None, int], np.ndarray]


@dataclass(frozen=True)
class Data:
    """rows (n, d) of length 1, labels (n,), groups (n,) of near-duplicates, test (n,): the data's own test part."""

    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    test: np.ndarray

    def of(self, which: np.ndarray) -> "Data":
        return Data(self.rows[which], self.labels[which], self.groups[which], self.test[which])


def at_random(pool: Pool, labelled: np.ndarray, probabilities: np.ndarray | None, seed: int) -> np.ndarray:  # noqa: ARG001
    return pool.order[~labelled[pool.order]][:BATCH]


def least_margin(pool: Pool, labelled: np.ndarray, probabilities: np.ndarray | None, seed: int) -> np.ndarray:
    if probabilities is None:
        return at_random(pool, labelled, None, seed)
    left = np.flatnonzero(~labelled)
    return left[np.argsort(margins(probabilities[left]), kind="stable")[:BATCH]]


WAYS: dict[str, Way] = {
    "random": at_random,
    "least margin": least_margin,
    "ask": lambda pool, labelled, probabilities, seed: ask(pool, labelled, probabilities, BATCH, seed),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--cache-dir", default=".features")
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--wrong", type=float, default=0.0)
    parser.add_argument("--rare", action="store_true")
    parser.add_argument("--most", type=int, default=450)
    given = parser.parse_args()
    print(f"{given.backbone}, logreg, {SEEDS} seeds, {given.wrong:.0%} wrong, {datetime.date.today()}\n")
    print(f"| set | pictures | classes | full | {' | '.join(f'{way}, {bar}' for bar in BARS for way in WAYS)} |")
    print("|---" * (4 + len(BARS) * len(WAYS)) + "|")
    sets = {name: read(os.path.join(given.folder, name), name, given) for name in SETS}
    for name, data in (sets | {"all": together([*sets.values()])}).items():
        full, needed = [], {(way, bar): [] for bar in BARS for way in WAYS}
        for seed in range(SEEDS):
            training, test = parted(data, seed, given.rare)
            full.append(accuracy(fit_hyperplanes(training.rows, training.labels), test))
            for way, choose in WAYS.items():
                reached = curve(choose, training, test, seed, given)
                for bar in BARS:
                    needed[way, bar].append(first(reached, bar * full[-1]))
        cells = ["-" if math.isinf(found := float(np.median(each))) else f"{found:.0f}" for each in needed.values()]
        shown = [name, str(len(training.labels)), str(len(np.unique(data.labels))), f"{np.mean(full):.3f}", *cells]
        print(f"| {' | '.join(shown)} |", flush=True)


def read(folder: str, name: str, given: argparse.Namespace) -> Data:
    found = read_labels(folder, **{key: value for key, value in SETS[name].items() if key != "cv"})
    extractor = pipeline.open_extractor(given.cache_dir, backbone=given.backbone)
    outcome, rows = extractor.features(found.paths)
    kept = outcome.succeeded
    signatures = signatures_of(extractor.cache_dir, [found.paths[i] for i in kept], outcome.keys)
    test = np.array([part in ("test", "validation") for part in found.parts])[kept]
    groups = near_duplicates(outcome.keys, signatures)
    return Data(unit_rows(np.asarray(rows)), np.array(found.labels)[kept], groups, test)


def together(sets: list[Data]) -> Data:
    shift = np.cumsum([0, *(data.groups.max() + 1 for data in sets)])
    groups = np.concatenate([data.groups + first for data, first in zip(sets, shift, strict=False)])
    rows, labels = (np.concatenate([getattr(data, name) for data in sets]) for name in ("rows", "labels"))
    return Data(rows, labels, groups, np.zeros(len(rows), bool))


def parted(data: Data, seed: int, rare: bool) -> tuple[Data, Data]:
    train, test = np.flatnonzero(~data.test), np.flatnonzero(data.test)
    if not len(test):
        train, test = holdout(data.labels, data.groups, 0.3, seed)
    if rare:
        random = np.random.default_rng(seed)
        few = np.isin(data.labels[train], np.unique(data.labels)[1::2])
        train = train[~few | (random.random(len(train)) < 0.1)]
    return data.of(train), data.of(test)


def curve(choose: Way, training: Data, test: Data, seed: int, given: argparse.Namespace) -> list[tuple[int, float]]:
    """(labels, accuracy) after each batch."""
    random = np.random.default_rng(1000 + seed)
    names = np.unique(training.labels)
    answers = training.labels.copy()
    for number in np.flatnonzero(random.random(len(answers)) < given.wrong):
        answers[number] = random.choice(names[names != answers[number]])
    pool = Pool.of(training.rows, training.groups, seed)
    labelled, planes, probabilities, reached = np.zeros(len(answers), bool), None, None, []
    while labelled.sum() < min(given.most, len(answers)) and len(asked := choose(pool, labelled, probabilities, seed)):
        labelled[asked] = True
        if len(np.unique(answers[labelled])) < 2:
            continue
        planes = fit_hyperplanes(training.rows[labelled], answers[labelled], planes)
        probabilities = planes.probabilities(training.rows)
        reached.append((int(labelled.sum()), accuracy(planes, test)))
    return reached


def accuracy(planes: Hyperplanes, test: Data) -> float:
    answers = np.array(planes.classes)[planes.probabilities(test.rows).argmax(axis=1)]
    return float((answers == test.labels).mean())


def first(reached: list[tuple[int, float]], bar: float) -> float:
    return next((labels for labels, found in reached if found >= bar), math.inf)


if __name__ == "__main__":
    main()
