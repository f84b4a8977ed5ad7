"""Seconds that every head takes to fit and to predict, and that logistic regression takes to search C.

    python benchmarks/cost/training_time.py [--shapes 20000x1280x120,2000x25088x3] [--heads logreg,svm]
    python benchmarks/cost/training_time.py --search [--shapes 4000x1280x120]

A shape is ROWSxFEATURESxCLASSES. No data is needed: the rows are drawn, and look like bottleneck features. Beside each
head stands scikit-learn's own estimator, where there is one (without the temperature that ours fits by 5 more fits).

`--search` compares `train --search` of `logreg`, the refit included, with scikit-learn's plain
`GridSearchCV(LogisticRegression(), ...)` over the same 10 values of C, folds and normalised float32 rows. Ours runs
once before and once after the other, because other work on the machine slows all of them.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import LinearSVC

from classify.data.grouping import Grouping
from classify.data.split import GroupedFolds
from classify.heads.head_table import HEADS, fit_head, make_head, search_grid
from classify.heads.numerics import unit_rows
from classify.hyperparameter_search import SEARCH_FOLDS, search_head

SHAPES = "20000x1280x120,2000x25088x3,2000x25088x120"
FACTORS = 200  # independent directions in which pictures differ, in falling strength
PLAIN: dict[str, Callable[[], Any]] = {
    "logreg": lambda: LogisticRegression(C=10.0, max_iter=1000),
    "svm": lambda: LinearSVC(C=0.5),
    "ridge": RidgeClassifier,
    "knn": lambda: KNeighborsClassifier(15, metric="cosine", algorithm="brute"),
    "centroid": NearestCentroid,
}


def draw(n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, d) float32 of length 1, a third of the numbers above 0, and their classes (n,) of k.

    Class centres and as many random deviations along shared directions, noise of each feature, and a ReLU. The
    deviations leave a good fit right about 60% to 90% of new rows.
    """
    random = np.random.default_rng(0)
    classes = random.permutation(np.arange(n) % k)
    directions = random.normal(size=(FACTORS, d)) / np.sqrt(np.arange(1, FACTORS + 1))[:, None]
    deviation = 6.0 if k < 10 else 3.0
    factors = random.normal(size=(k, FACTORS))[classes] + deviation * random.normal(size=(n, FACTORS))
    rows = factors.astype(np.float32) @ directions.astype(np.float32)
    rows /= rows.std()
    rows += 0.7 * random.standard_normal((n, d), np.float32) - 0.5
    return unit_rows(np.maximum(rows, 0)), classes


def main() -> None:
    """Print a row for each shape and head, or for each shape and kind of search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=SHAPES, help="parted by commas")
    parser.add_argument(
        "--heads",
        default=",".join(name for name, row in HEADS.items() if not row.maps),
        help="names of heads, parted by commas",
    )
    parser.add_argument("--search", action="store_true", help="search C of logreg instead")
    parser.add_argument("--alone", action="store_true", help="without scikit-learn's own estimators")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for shape in options.shapes.split(","):
        n, d, k = map(int, shape.split("x"))
        rows, classes = draw(n + max(1000, n // 10), d, k)
        data = rows[:n], classes[:n], rows[n:], classes[n:]
        print(f"\n{n:,} rows of {d:,} features, {k} classes; {len(rows) - n:,} held out", flush=True)
        if options.search:
            compare_searches(*data, alone=options.alone)
        else:
            compare_fits(*data, options.heads.split(","), alone=options.alone)


def compare_fits(
    rows: np.ndarray, classes: np.ndarray, unseen: np.ndarray, truth: np.ndarray, heads: list[str], *, alone: bool
) -> None:
    print(f"{'':22} {'s to fit':>9} {'s to predict':>13} {'accuracy':>9} {'log loss':>9}")
    for name in heads:
        estimators: dict[str, Callable[[], Any]] = {name: lambda name=name: make_head(name)}
        if name in PLAIN and not alone:
            estimators[type(PLAIN[name]()).__name__] = PLAIN[name]
        for label, make in estimators.items():
            start = time.perf_counter()
            fitted = fit_head(make(), rows, classes)
            middle = time.perf_counter()
            chosen = fitted.predict(unseen)
            end = time.perf_counter()
            loss = log_loss(truth, fitted.predict_proba(unseen)) if name in (label, "logreg") else np.nan
            print(
                f"{label:22} {middle - start:9.2f} {end - middle:13.2f} {np.mean(chosen == truth):9.4f} {loss:9.4f}",
                flush=True,
            )


def compare_searches(
    rows: np.ndarray, classes: np.ndarray, unseen: np.ndarray, truth: np.ndarray, *, alone: bool
) -> None:
    groups = np.arange(len(rows))
    folds = GroupedFolds(SEARCH_FOLDS)
    grid = search_grid("logreg")

    def ours() -> tuple[Any, dict[str, Any], float]:
        estimator, best, table = search_head("logreg", {}, 0, rows, classes, Grouping(groups), scoring="accuracy")
        return estimator, best, max(row["accuracy"] for row in table)

    def plain() -> tuple[Any, dict[str, Any], float]:
        searched = GridSearchCV(LogisticRegression(), grid, cv=[*folds.split(rows, classes, groups)])
        searched.fit(rows, classes)
        return searched.best_estimator_, searched.best_params_, searched.best_score_

    print(f"{'':28} {'seconds':>9} {'best C':>7} {'in folds':>9} {'held out':>9} {'log loss':>9}")
    seconds: dict[str, list[float]] = {"train --search": [], "GridSearchCV": []}
    for label in ["train --search"] if alone else ["train --search", "GridSearchCV", "train --search"]:
        start = time.perf_counter()
        fitted, best, accuracy = (plain if label == "GridSearchCV" else ours)()
        seconds[label].append(time.perf_counter() - start)
        chances = fitted.predict_proba(unseen)
        right = np.mean(chances.argmax(axis=1) == truth)
        print(
            f"{label:28} {seconds[label][-1]:9.1f} {best['C']:7g} {accuracy:9.4f} {right:9.4f} "
            f"{log_loss(truth, chances):9.4f}",
            flush=True,
        )
    if not alone:
        ratio = np.mean(seconds["train --search"]) / seconds["GridSearchCV"][0]
        print(f"{'ratio':28} {ratio:9.3f}")


if __name__ == "__main__":
    main()
