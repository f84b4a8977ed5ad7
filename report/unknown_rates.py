"""How well a model tells pictures that are unlike its training pictures, measured on pictures that it has."""

import numpy as np
from numpy.typing import NDArray

from classify.copies import copy_groups
from classify.dataset import Dataset
from classify.unknowns import Known

MOST_CLASSES = 10  # that are left out in turn


def rates(
    dataset: Dataset, train_rows: NDArray[np.intp], scored_rows: NDArray[np.intp], keep: float = 0.95
) -> list[tuple[str, int, int]]:
    """What `reject=keep` does with pictures of `dataset`, measured: (name, how many, of how many) of each rate.

    train_rows, scored_rows: indices. "known pictures kept" is about the scored pictures, copies of training pictures
    left out. With 3 classes or more there is "pictures of CLASS rejected" for the 10 largest classes: about all
    pictures of a class, by the training pictures of the others. Nothing of maps. Raises UserError as `Known.limit`.
    """
    if dataset.tail:
        return []
    rows = np.concatenate([train_rows, scored_rows])
    features, labels = dataset.originals(rows), dataset.labels[rows]
    groups = copy_groups(dataset.digests[rows], labels, features)
    training = np.arange(len(rows)) < len(train_rows)

    def known(chosen: NDArray[np.bool_]) -> Known:
        return Known.of(features[np.flatnonzero(chosen)], groups[chosen])

    def within(known: Known, chosen: NDArray[np.bool_]) -> int:
        return int((known.distances_of(features[np.flatnonzero(chosen)]) <= known.limit(keep)).sum())

    scored = ~training & ~np.isin(groups, groups[training])
    found = [("known pictures kept", within(known(training), scored) if scored.any() else 0, int(scored.sum()))]
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) > 2:
        for name in classes[np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])]:
            left_out = labels == name
            kept = within(known(training & ~left_out), left_out)
            found.append((f"pictures of {name} rejected", int(left_out.sum()) - kept, int(left_out.sum())))
    return found
