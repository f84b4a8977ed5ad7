"""Whether features fit into memory: they are read at once, or stay on the disk for the heads that can stream."""

import math
from collections.abc import Sequence

import featurize.machine.memory
from cache.errors import UserError, log
from cache.stored_rows import Rows, StoredRows
from classify.heads.head_table import HEADS
from featurize.extract.extractor import Extractor, RowsMissingError
from featurize.extract.outcome import Outcome, Progress
from featurize.machine.disk import readable
from featurize.pictures.sources import Source

FLOAT32 = 4  # bytes of a number
PREDICTING = 3  # memory that predictions take, in sizes of the features: these, those chosen among them, a spare one


def features_for(
    head: str | None, extractor: Extractor, sources: Sequence[Source], progress: Progress | None = None
) -> tuple[Outcome, Rows]:
    """As `Extractor.features`, for training `head` or, with None, for predictions, which every head makes in chunks.

    Where the memory that this takes (see `HeadEntry.copies`) is not free now, the rows stay on the disk, which is
    announced. Raises UserError then for a head that cannot stream, and for several views of each picture: nothing
    streams these. Rows that are missing in a cache that cannot be written are an error for training; for predictions
    they are computed and not kept.
    """
    try:
        outcome = extractor.run(sources, progress)
    except RowsMissingError:
        if head is not None:
            raise
        return extractor.complete(sources, progress)
    stored = StoredRows(extractor.store, outcome.keys, featurize.machine.memory.free_memory())
    # What takes rows computes with them in float32, however they are stored; maps stay as they are.
    in_memory = stored.nbytes if extractor.spec.pooling == "none" else FLOAT32 * math.prod(stored.shape)
    of_one_view, count = in_memory * (HEADS[head].copies if head else PREDICTING), len(extractor.stores)
    needed = of_one_view * count
    if needed <= stored.memory:
        return extractor.read(outcome, progress)
    views = f" in {count} views" if count > 1 else ""
    sizes = (
        f"the features of {len(stored)} images{views} take {readable(stored.nbytes * count)}, "
        f"{head or 'predicting'} in memory {readable(needed)}, and {readable(stored.memory)} are free"
    )
    if views:
        fitting = max(1, stored.memory // of_one_view)
        raise UserError(
            f"{sizes}: take no more than {fitting} with --views and --predict-views (views=, predict_views=)"
        )
    if head and HEADS[head].maps:
        raise UserError(f"{sizes}: {head} cannot stream them, give a cut further up (--cut) or --stored float16")
    if head and not HEADS[head].streams:
        able = " or ".join(f"HEAD={name}" for name, row in HEADS.items() if row.streams)
        smaller = ", or POOLING=avg" if extractor.spec.pooling == "flatten" else ""
        raise UserError(f"{sizes}: {head} cannot stream them, use {able}{smaller}")
    log.info("%s: they are streamed from the cache, %d rows at once", sizes, min(stored.rows_at_once, len(stored)))
    return outcome, stored
