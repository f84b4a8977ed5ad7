"""How well a model tells pictures that are unlike its training pictures, measured on pictures that it has."""

import logging

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from classify.data.dataset import Dataset
from classify.scoring.outliers import Known

log = logging.getLogger("bottleneck")

MOST_CLASSES = 10  # that are left out in turn


def rates(
    dataset: Dataset, train_rows: NDArray[np.intp], scored_rows: NDArray[np.intp], keep: float = 0.95
) -> list[tuple[str, int, int]]:
    """What `reject=keep` does with pictures of `dataset`, measured: (name, how many, of how many) of each rate.

    train_rows, scored_rows: indices. "known pictures kept" is about the scored pictures, copies of training pictures
    left out. With 3 classes or more there is "pictures of CLASS rejected" for the 10 largest classes: about all
    pictures of a class, by the training pictures of the others. Nothing of maps, nor where too few
    different training pictures are left to promise this share, as is announced.
    """
    if dataset.tail:
        return []
    rows = np.concatenate([train_rows, scored_rows])
    features, labels = dataset.originals(rows), dataset.labels[rows]
    groups, _ = dataset.duplicates(rows)
    training = np.arange(len(rows)) < len(train_rows)

    found: list[tuple[str, int, int]] = []
    refused: list[str] = []

    def measure(name: str, by: NDArray[np.bool_], about: NDArray[np.bool_], kept: bool) -> None:
        if not by.any() or not about.any():
            return
        known = Known.of(features[np.flatnonzero(by)], groups[by])
        try:
            within = known.distances_of(features[np.flatnonzero(about)]) <= known.limit(keep)
        except UserError as error:
            refused.append(f"{name}: {error}")
        else:
            found.append((name, int((within == kept).sum()), len(within)))

    measure("known pictures kept", training, ~training & ~np.isin(groups, groups[training]), True)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) > 2:
        for name in classes[np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])]:
            left_out = labels == name
            measure(f"pictures of {name} rejected", training & ~left_out, left_out, False)
    if refused:
        log.warning("rates of rejection that cannot be measured: %d, the first is %s", len(refused), refused[0])
    return found
