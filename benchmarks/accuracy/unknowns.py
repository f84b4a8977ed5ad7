"""Are pictures of other things told from known ones? Two Markdown tables, both with 95% of known pictures to be kept.

    python benchmarks/accuracy/unknowns.py FOLDER --weights FILE

FOLDER holds `alpaca`, `arctic_wildlife`, `cats_dogs` and `flowers`. Of each set four fifths are drawn to train on, five
times (`--splits`); the others tell how many known pictures are kept. Rejected: the median over these splits of the
share of all pictures of another set, and under `left out` the mean over the classes of the set itself, each left out
once, where there are three or more. The first table is of `predict(reject=0.95)`, the second compares ways to tell:
means over the sets, over the 12 pairs of sets, the worst of these, and means over the left-out classes.
"""

import argparse
import datetime
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from heads_on_sets import SETS

import pipeline
from classify.data.duplicates import near_duplicates
from classify.data.split import GroupedFolds, holdout
from classify.heads.head_table import make_head
from classify.heads.numerics import unit_rows
from classify.labels.read_labels import read_labels
from classify.scoring.outliers import OutlierDetector
from featurize.extract.missing_signatures import signatures_of
from featurize.extract.network_extractor import Extractor

KEEP = 0.95


@dataclass(frozen=True)
class Data:
    """Rows (n, d), labels (n,) and groups of copies (n,)."""

    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def of(self, chosen: np.ndarray) -> "Data":
        return Data(self.rows[chosen], self.labels[chosen], self.groups[chosen])


# (training pictures, rows of several sets) -> the share of each that is beyond the limit
Way = Callable[[Data, list[np.ndarray]], list[float]]
# training rows (n, d) -> what makes points (m, w) of rows (m, d)
Points = Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights")
    parser.add_argument("--cache-dir")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--only-first", action="store_true", help="the first table alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        extractor = pipeline.open_extractor(given.cache_dir or folder, backbone=given.backbone, weights=given.weights)
        sets = {name: read(os.path.join(given.folder, name), name, extractor) for name in SETS}
    print(f"{given.backbone}, {datetime.date.today()}\n")
    headings = ["trained on", "kept", *SETS, "left out"]
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for name in SETS:
        kept, rejected, left_out = measured(by_known, name, sets, given.splits)
        cells = ["" if other == name else f"{rejected[other]:.3f}" for other in SETS]
        print(f"| {name} | {kept:.3f} | {' | '.join(cells)} | {'' if left_out is None else f'{left_out:.3f}'} |")
    if given.only_first:
        return
    headings = ["way", "kept", "rejected", "worst pair", "left out"]
    print(f"\n| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for line, way in WAYS.items():
        results = [measured(way, name, sets, given.splits) for name in SETS]
        pairs = [share for _, rejected, _ in results for share in rejected.values()]
        left = [left_out for _, _, left_out in results if left_out is not None]
        kept = float(np.mean([kept for kept, _, _ in results]))
        print(f"| {line} | {kept:.3f} | {np.mean(pairs):.3f} | {min(pairs):.3f} | {np.mean(left):.3f} |", flush=True)


def read(folder: str, name: str, extractor: Extractor) -> Data:
    found = read_labels(folder, **{key: value for key, value in SETS[name].items() if key != "cv"})
    outcome, rows = extractor.features(found.paths)
    labels = np.array(found.labels)[outcome.succeeded]
    paths = [found.paths[i] for i in outcome.succeeded]
    signatures = signatures_of(extractor.cache_dir, paths, outcome.keys)
    return Data(rows, labels, near_duplicates(outcome.keys, signatures))


def measured(way: Way, name: str, sets: dict[str, Data], splits: int) -> tuple[float, dict[str, float], float | None]:
    """(share of known pictures kept, of each other set rejected, of classes left out rejected) of a set."""
    data = sets[name]
    others = [other for other in sets if other != name]
    shares = []
    for seed in range(splits):
        train, test = holdout(data.labels, data.groups, 0.2, seed)
        shares.append(way(data.of(train), [data.rows[test], *(sets[other].rows for other in others)]))
    known, *rejected = np.median(shares, axis=0).tolist()
    classes = np.unique(data.labels)
    found = 1 - known, dict(zip(others, rejected, strict=True))
    if len(classes) < 3:
        return *found, None
    left_out = [way(data.of(data.labels != label), [data.rows[data.labels == label]])[0] for label in classes]
    return *found, float(np.mean(left_out))


def by_known(training: Data, pictures: list[np.ndarray]) -> list[float]:
    known = OutlierDetector.of(training.rows, training.groups)
    return [float((known.distances_of(rows) > known.limit(KEEP)).mean()) for rows in pictures]


def by_distance(neighbours: int, points: Points = lambda _: unit_rows) -> Way:
    """By the mean square distance from the nearest of the points that `points` of the training rows makes of rows."""

    def way(training: Data, pictures: list[np.ndarray]) -> list[float]:
        change = points(training.rows)
        known = change(training.rows)

        def distances(rows: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
            squares = (rows**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * rows @ known.T
            if groups is not None:
                squares[groups[:, None] == groups] = np.inf
            return np.partition(squares, neighbours - 1, axis=1)[:, :neighbours].mean(axis=1)

        limit = limit_of(distances(known, training.groups))
        return [float((distances(change(rows)) > limit).mean()) for rows in pictures]

    return way


def by_probability(training: Data, pictures: list[np.ndarray]) -> list[float]:
    """By that of the answer of a logistic regression, the limit from answers out of fold."""
    doubts = np.empty(len(training.rows))
    for train, test in GroupedFolds(5).split(None, training.labels, training.groups):
        fitted = make_head("logreg").fit(training.rows[train], training.labels[train])
        doubts[test] = 1 - fitted.predict_proba(training.rows[test]).max(axis=1)
    head, limit = make_head("logreg").fit(training.rows, training.labels), limit_of(doubts)
    return [float((1 - head.predict_proba(rows).max(axis=1) > limit).mean()) for rows in pictures]


def limit_of(distances: np.ndarray) -> float:
    return float(np.sort(distances)[min(len(distances), math.ceil((len(distances) + 1) * KEEP)) - 1])


def _standardised(training: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    units = unit_rows(training)
    mean, deviation = units.mean(axis=0), units.std(axis=0)
    return lambda rows: (unit_rows(rows) - mean) / (deviation + deviation.mean() / 2)  # some hardly ever change


def _centred(training: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    mean = unit_rows(training).mean(axis=0)
    return lambda rows: unit_rows(unit_rows(rows) - mean)


def _sketched(numbers: int) -> Points:
    def points(training: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        signs = np.random.RandomState(0).choice([-1.0, 1.0], (training.shape[1], numbers)) / math.sqrt(numbers)
        return lambda rows: unit_rows(rows) @ signs.astype(np.float32)

    return points


WAYS: dict[str, Way] = {
    "mean cosine of the nearest 5, in int8 (`reject`)": by_known,
    "the same in float32": by_distance(5),
    "the nearest 1": by_distance(1),
    "the nearest 3": by_distance(3),
    "the nearest 10": by_distance(10),
    "the nearest 5, in 256 random projections": by_distance(5, _sketched(256)),
    "the nearest 5, in 1024 random projections": by_distance(5, _sketched(1024)),
    "the nearest 5, rows not brought to length 1": by_distance(5, lambda _: lambda rows: rows),
    "the nearest 5, features standardised": by_distance(5, _standardised),
    "the nearest 5, cosine about the mean row": by_distance(5, _centred),
    "probability of the answer (`logreg`)": by_probability,
}


if __name__ == "__main__":
    main()
