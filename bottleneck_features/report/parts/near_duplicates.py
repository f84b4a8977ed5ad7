"""Groups of near-duplicates as a report lists them."""

import numpy as np

from bottleneck_features.report.findings import DuplicateGroup
from classify.data.split import Indices, duplicate_groups


def near_duplicate_groups(
    groups: Indices, digests: np.ndarray, labels: np.ndarray, folders: np.ndarray, parts: np.ndarray
) -> list[DuplicateGroup]:
    """The groups of two and more, in the order of their first members.

    groups, labels, folders (of the data's own split) and parts ("train", "scored", "other"): (n,).
    """
    exact = duplicate_groups(digests)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    found = [
        DuplicateGroup(
            kind="exact" if len(set(exact[some])) == 1 else "near",
            members=some.tolist(),
            straddles=len(set(folders[some])) > 1 or {"train", "scored"} <= set(parts[some]),
            labels_differ=len(set(labels[some])) > 1,
        )
        for some in members
        if len(some) > 1
    ]
    return sorted(found, key=lambda group: group.members[0])
