"""Of more pictures than a report can compare with each other in memory, some that are drawn at random."""

import math
from dataclasses import replace

import numpy as np

import featurize.machine.memory
from cache.errors import UserError, log
from cache.stored_rows import StoredRows
from classify.data.dataset import Dataset
from classify.heads.head_table import training_bytes

MOST_IN_MEMORY = 100_000  # pictures: a report of more takes hours
DRAWN = 20_000
LEAST = 100
HEADS = ("logreg", "knn", "dense")  # that a report fits


def sampled(data: Dataset) -> Dataset:
    """`data` with its rows in memory: whole, or up to 20,000 of its pictures, always the same ones, as is announced.

    Drawn are those whose rows stay on the disk because they do not fit into memory, and those of more than 100,000
    pictures. Raises UserError where too few fit.
    """
    count = len(data.labels)
    if not isinstance(data.features, StoredRows) and count <= MOST_IN_MEMORY:
        return data
    width, classes = math.prod(data.features.shape[1:]), len(np.unique(data.labels))
    free = featurize.machine.memory.free_memory() // 2
    each = max(training_bytes(head, {}, 1, width, classes, 1) for head in HEADS)
    fitting = min(count, free // each)
    if fitting < min(count, LEAST):
        raise UserError(
            f"the rows of {count} pictures do not fit into memory, nor do {LEAST} of them: free some memory"
        )
    drawn = min(DRAWN, fitting)
    chosen = np.sort(np.random.default_rng(0).permutation(count)[:drawn])
    if drawn < count:
        log.warning("the report is of %d pictures, drawn at random from %d: its scores are of these", drawn, count)
    rows = data.features.read(chosen) if isinstance(data.features, StoredRows) else data.features[chosen]
    return replace(data.of(chosen), features=rows)
