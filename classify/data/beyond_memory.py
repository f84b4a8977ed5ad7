"""Whether features fit into memory: they are read at once, or stay on the disk for the heads that can stream."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import featurize.machine.memory
from cache.errors import UserError, log
from cache.files.disk_space import readable
from cache.stored_rows import Rows, StoredRows
from classify.heads.head_table import CLASS_COPIES, HEADS, make_head, training_bytes
from featurize.extract.extractor import Extractor, RowsMissingError
from featurize.extract.outcome import Outcome, Progress
from featurize.pictures.sources import Source

FLOAT32 = 4  # bytes of a number
PREDICTING = 3  # memory that predictions take, in sizes of the features: these, those chosen among them, a spare one


def features_for(
    head: str | None,
    extractor: Extractor,
    sources: Sequence[Source],
    progress: Progress | None = None,
    params: dict[str, Any] | None = None,
    classes: int = 0,
) -> tuple[Outcome, Rows]:
    """As `Extractor.features`, for training `head` or, with None, for predictions, which every head makes in chunks.

    params: of the head. classes: how many labels there are. Where the memory that this takes (see
    `classify.heads.head_table.training_bytes`) is not free now, the rows stay on the disk, which is announced. Raises
    UserError then for a head that cannot stream, and for several views of each picture: nothing streams these. Rows
    that are missing in a cache that cannot be written are an error for training; for predictions they are computed and
    not kept.
    """
    try:
        outcome = extractor.run(sources, progress)
    except RowsMissingError:
        if head is not None:
            raise
        return extractor.complete(sources, progress)
    stored = StoredRows(extractor.store, outcome.keys, featurize.machine.memory.free_memory())
    count = len(extractor.stores)

    def needed(views: int) -> int:
        # What takes rows computes with them in float32, however they are stored; maps stay as they are.
        itemsize = stored.store.spec.row_dtype.itemsize if extractor.spec.pooling == "none" else FLOAT32
        rows, features = len(stored) * views, math.prod(stored.shape[1:]) * itemsize // FLOAT32
        if head is None:
            return FLOAT32 * rows * (PREDICTING * features + CLASS_COPIES * classes)
        return training_bytes(head, params, rows, features, classes, len(stored))

    if needed(count) <= stored.memory:
        return extractor.read(outcome, progress)
    views = f" in {count} views" if count > 1 else ""
    sizes = (
        f"the features of {len(stored)} images{views} take {readable(stored.nbytes * count)}, "
        f"{head or 'predicting'} in memory {readable(needed(count))}, and {readable(stored.memory)} are free"
    )
    if views:
        fitting = max((fewer for fewer in range(1, count) if needed(fewer) <= stored.memory), default=1)
        raise UserError(
            f"{sizes}: take no more than {fitting} with --views and --predict-views (views=, predict_views=)"
        )
    if head and HEADS[head].maps:
        raise UserError(f"{sizes}: {head} cannot stream them, give a cut further up (--cut) or --stored float16")
    if head and not HEADS[head].streams:
        able = " or ".join(f"HEAD={name}" for name, row in HEADS.items() if row.streams)
        smaller = ", or POOLING=avg" if extractor.spec.pooling == "flatten" else ""
        smaller += ", or kernel=linear" if make_head(head, params).pair_bytes else ""
        raise UserError(f"{sizes}: {head} cannot stream them, use {able}{smaller}")
    log.info("%s: they are streamed from the cache, %d rows at once", sizes, min(stored.rows_at_once, len(stored)))
    return outcome, stored


def require_memory(head: str, params: dict[str, Any], rows: np.ndarray, classes: int) -> None:
    """Raise UserError where training `head` on n rows, or maps, that are in memory would take more than is free."""
    features = rows.nbytes // FLOAT32 // len(rows)
    needed = training_bytes(head, params, len(rows), features, classes, len(rows)) - rows.nbytes
    free = featurize.machine.memory.free_memory()
    if needed > free:
        raise UserError(
            f"training {head} on {len(rows)} pictures takes {readable(needed)} more, and {readable(free)} are free: "
            "name fewer pictures"
        )
