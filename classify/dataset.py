"""Labelled images as rows of features, aligned with their labels."""

from typing import Any

import numpy as np

from classify.beyond_memory import features_for
from classify.heads import HEADS
from classify.labels import LabelledImages
from classify.train import Dataset
from classify.view_counts import Views
from featurize.extractor import Extractor
from featurize.hashing import Progress
from featurize.report import report_of


def dataset_of(
    extractor: Extractor,
    found: LabelledImages,
    views: Views,
    head: str | None,
    started: float,
    progress: Progress | None,
) -> tuple[Dataset, dict[str, Any]]:
    """The labelled images with their rows, computed where the cache lacks them, and the report of `pipeline.features`.

    `head` is the one to be trained, if any: where the rows do not fit into memory, not every one can use them.
    `started`: seconds that went before.
    """
    extraction, rows = features_for(head, extractor, found.paths, progress)
    kept = extraction.succeeded
    dataset = Dataset(
        features=rows,
        labels=np.array(found.labels, dtype=object)[kept].astype(str),
        parts=np.array(found.parts)[kept],
        digests=extraction.keys,
        paths=[found.paths[i] for i in kept],
        views=views.train,
        predict_views=views.predict,
        tail=extractor.tail() if head and HEADS[head].maps else None,
    )
    report = report_of(extractor, extraction, found.failures, started)
    return dataset, report | {"views": views.train, "recipe": views.recipe, "predict_views": views.predict}
