"""How well outliers are rejected, measured on pictures whose class was left out of the training pictures."""

import numpy as np
from numpy.typing import NDArray

from bottleneck_features.report.findings import Rate
from cache.errors import UserError, log
from classify.data.dataset import Dataset
from classify.data.grouping import united
from classify.scoring.outliers import OutlierDetector

MOST_CLASSES = 10  # that are left out in turn


def outlier_rates(
    dataset: Dataset, train_rows: NDArray[np.intp], scored_rows: NDArray[np.intp], keep: float = 0.95
) -> list[Rate]:
    """What `reject=keep` does with pictures of `dataset`.

    train_rows, scored_rows: indices. "known pictures kept" is a share of the scored pictures without near-duplicates of
    training pictures. With 3 classes or more there is "pictures of CLASS rejected" for each of the 10 largest classes:
    a share of all its pictures, by the training pictures of the other classes. Feature maps have no rates. A rate with
    too few different training pictures to promise `keep` is left out, which is announced.
    """
    if dataset.tail or not len(train_rows):
        return []
    rows = np.concatenate([train_rows, scored_rows])
    features, labels = dataset.originals(rows), dataset.labels[rows]
    groups, _ = dataset.duplicates(rows)
    names = dataset.named(rows)
    named = None if names is None else united(groups, names).numbers
    training = np.arange(len(rows)) < len(train_rows)

    found: list[Rate] = []
    refused: list[str] = []

    def measure(name: str, by: NDArray[np.bool_], about: NDArray[np.bool_], kept: bool) -> None:
        if not by.any() or not about.any():
            return
        together = None if named is None else named[by]
        known = OutlierDetector.of(features[np.flatnonzero(by)], groups[by], together)
        try:
            within = known.distances_of(features[np.flatnonzero(about)]) <= known.limit(keep)
        except UserError as error:
            refused.append(f"{name}: {error}")
        else:
            found.append(Rate.of(name, within == kept, None if named is None else named[about]))

    measure("known pictures kept", training, ~training & ~np.isin(groups, groups[training]), True)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) > 2:
        for name in classes[np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])]:
            left_out = labels == name
            measure(f"pictures of {name} rejected", training & ~left_out, left_out, False)
    if refused:
        log.warning("rates of rejection that cannot be measured: %d, the first is %s", len(refused), refused[0])
    return found
