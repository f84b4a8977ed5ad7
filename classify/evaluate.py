"""Score a saved head on labelled images, never on those that it was trained on."""

import logging

import numpy as np

import featurize.memory
from cache.errors import UserError
from cache.joined import Store
from cache.stored_rows import StoredRows
from classify.copies import copy_groups
from classify.dataset import Dataset
from classify.metrics import Scores
from classify.persist import Saved
from classify.split import leaks
from classify.train import score_head

log = logging.getLogger("bottleneck")


def evaluate_head(saved: Saved, data: Dataset, store: Store) -> tuple[Scores, list[str]]:
    """Scores of what `rows_to_score` chooses, and the paths of the pictures left out as trained on.

    The majority-class baseline is that of the scored pictures' training classes as the record counts them. Raises as
    `rows_to_score`.
    """
    rows, left_out = rows_to_score(saved, data, store)
    scores = score_head(saved.predictor, data, saved.record["training_counts"], rows)
    return scores, [data.paths[i] for i in left_out]


def rows_to_score(saved: Saved, data: Dataset, store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the test part (else validation, else all) of `data`, and of the pictures left out as trained on.

    Re-encoded copies of pictures that it was trained on are left out as well, as far as the rows of these are in
    `store`, unless nothing else is left. Raises UserError where no picture is left, or where one has a label that the
    model does not know.
    """
    rows = data.part(data.own_test_part()) if data.has_own_split else np.arange(len(data.labels))
    if data.has_own_split:
        log.info("scoring the %s folder: %d pictures", data.own_test_part(), len(rows))
    excluded = leaks(saved.trained_on, data.digests[rows])
    if excluded.all():
        raise UserError("nothing to score: the model was trained on every one of these pictures")
    alike = _of_training_pictures(saved, store, data, rows)
    if alike.all():
        log.warning("all pictures are re-encoded copies of those that were trained on, or much like them")
    else:
        excluded |= alike
    left_out, rows = rows[excluded], rows[~excluded]
    if len(left_out):
        log.warning(
            "%d pictures were trained on, as they are or re-encoded, and are left out, the first is %s",
            len(left_out),
            data.paths[left_out[0]],
        )
    unknown = sorted(set(data.labels[rows].tolist()) - set(saved.record["classes"]))
    if unknown:
        raise UserError(
            f"the pictures have the label {unknown[0]!r}, the model knows {', '.join(saved.record['classes'])}"
        )
    return rows, left_out


def _of_training_pictures(saved: Saved, store: Store, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Mask (m,) of the `rows` (m,) of `data` that show a picture of the training part whose features are in `store`."""
    trained_on = saved.trained_on
    known = trained_on[store.contains(trained_on)]
    if len(known) < len(trained_on):
        log.info(
            "re-encoded copies of %d pictures that it was trained on are not told: their features are not in %s",
            len(trained_on) - len(known),
            store.folder,
        )
    if not len(known):
        return np.zeros(len(rows), bool)
    trained = StoredRows(store, known, featurize.memory.free_memory())
    # The labels of these pictures are not recorded: the model says them as it learnt them.
    labels = np.concatenate([saved.predictor.predict(trained), data.labels[rows]])
    groups = copy_groups(np.concatenate([known, data.digests[rows]]), labels, trained, data.originals(rows))
    return np.isin(groups[len(known) :], groups[: len(known)])
