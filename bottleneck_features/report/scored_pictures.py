"""Which pictures the model was fitted on and which are scored, and what heads say that have not seen a picture."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.stored_rows import Rows
from classify.data.dataset import Dataset
from classify.data.grouping import Grouping
from classify.data.split import Indices, Split, folds, leaks
from classify.evaluate import scored_of
from classify.heads.head_table import fit_head, make_head
from classify.heads.numerics import Floats
from classify.saved.persist import Saved

FOLDS = 5


@dataclass(frozen=True)
class HeldOut:
    """How n pictures are held out.

    parts: (n,) "train" (fitted on), "scored" or "other". splits: row indices (fitted on, scored); several where every
    picture is scored by the fold that leaves it out. leaking: (m,) bool, which of the m scored pictures are
    near-duplicates of training pictures. words: the same for readers.
    """

    parts: np.ndarray
    splits: list[Split]
    leaking: np.ndarray
    words: str

    @property
    def scored(self) -> Indices:
        """Indices of the pictures that are scored."""
        return np.flatnonzero(self.parts == "scored")

    @property
    def train(self) -> Indices:
        """Indices of the pictures that something is fitted on."""
        return np.unique(np.concatenate([train for train, _ in self.splits]))


def held_out(saved: Saved, data: Dataset, cache_dir: str, groups: Grouping) -> HeldOut:
    """The pictures that a saved model was not fitted on are scored, as `evaluate` does; without any, all are, in folds.

    groups: what no fold parts. Raises UserError where neither can be done.
    """
    fitted = leaks(saved.trained_on, data.digests)
    own = data.own_test_part() if data.has_own_split else None
    if fitted[data.parts == own if own else slice(None)].all():
        splits = folds_of(data.labels, groups)
        if not splits:
            raise UserError("the model was trained on every picture, and there are too few of a class to hold some out")
        parts = np.full(len(fitted), "other", "<U6")
        parts[np.concatenate([test for _, test in splits])] = "scored"
        return HeldOut(parts, splits, np.zeros(int((parts == "scored").sum()), bool), f"{len(splits)} folds")
    chosen = scored_of(saved, data, cache_dir)
    scored = chosen.rows
    parts = np.where(fitted, "train", "other").astype("<U6")
    parts[scored] = "scored"
    if own:
        words = f"the folder {own}"
    elif fitted.any():
        words = f"{len(scored) / len(parts):.0%} of the pictures"
    else:
        words = "all pictures, the model being trained on others"
    return HeldOut(parts, [(np.flatnonzero(parts == "train"), scored)], chosen.leaking, words)


def folds_of(labels: np.ndarray, together: Grouping) -> list[Split]:
    """Five folds of the pictures, fewer of a small class, with all near-duplicates of a picture in one fold.

    labels: (n,). Near-duplicates with different labels count under that of the first one. A class whose pictures are
    all near-duplicates is left out. Without two classes there are no folds. Named groups stay together as well; a class
    that one of them has alone is trained on in every fold.
    """
    if together.named:
        return together.inner_folds(labels, FOLDS, seed=0)
    groups = together.numbers
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    agreed = labels[first][inverse]
    names, sizes = np.unique(labels[first], return_counts=True)
    rows = np.flatnonzero(np.isin(agreed, names[sizes > 1]))
    if (sizes > 1).sum() < 2:
        return []
    found = folds(agreed[rows], groups[rows], min(FOLDS, int(sizes[sizes > 1].min())), seed=0)
    return [(rows[train], rows[test]) for train, test in found]


def out_of_fold(
    splits: list[Split],
    rows: Rows,
    labels: np.ndarray,
    groups: Indices,
    classes: list[str],
    *heads: tuple[str, dict[str, Any]],
) -> Floats:
    """Probabilities of each picture by heads that were fitted on the other folds: their mean.

    rows: (n, ...); labels, groups of near-duplicates: (n,); heads: names and parameters. Returns (n, k), columns in the
    order of `classes`.
    """
    result = np.zeros((len(labels), len(classes)))
    for train, test in splits:
        for head, params in heads:
            fitted = fit_head(make_head(head, params), rows[train], labels[train], groups[train])
            columns = np.array([classes.index(str(name)) for name in fitted.classes_])
            result[test[:, None], columns] += fitted.predict_proba(rows[test]) / len(heads)
    return result
