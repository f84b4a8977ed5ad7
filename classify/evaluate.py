"""Score a saved head on labelled images, never on those that it was trained on."""

import logging

import numpy as np

from cache.errors import UserError
from classify.metrics import Scores
from classify.persist import Saved
from classify.split import leaks
from classify.train import Dataset, score_head

log = logging.getLogger("bottleneck")


def evaluate_head(saved: Saved, data: Dataset) -> tuple[Scores, list[str]]:
    """Scores on the test part (else validation, else all) of `data`, and the pictures left out as trained on.

    The majority-class baseline is that of the scored pictures' training classes as the record counts them.
    Raises UserError where no picture is left, or where one has a label that the model does not know.
    """
    rows = data.part(data.own_test_part()) if data.has_own_split else np.arange(len(data.labels))
    if data.has_own_split:
        log.info("scoring the %s folder: %d pictures", data.own_test_part(), len(rows))
    known = leaks(saved.trained_on, data.digests[rows])
    excluded = [data.paths[i] for i in rows[known]]
    rows = rows[~known]
    if excluded:
        log.warning("%d pictures were trained on and are left out, the first is %s", len(excluded), excluded[0])
    if not len(rows):
        raise UserError("nothing to score: the model was trained on every one of these pictures")
    unknown = sorted(set(data.labels[rows]) - set(saved.record["classes"]))
    if unknown:
        raise UserError(
            f"the pictures have the label {unknown[0]!r}, the model knows {', '.join(saved.record['classes'])}"
        )
    return score_head(saved.predictor, data, saved.record["training_counts"], rows), excluded
