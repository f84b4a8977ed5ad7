"""Classes with a single picture are left out of a training that holds pictures out, and the others are trained on."""

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.errors import UserError, listed, log
from classify.data.dataset import Dataset
from classify.data.split import Indices, duplicate_groups, paired
from classify.labels.read_labels import LabelledImages

SHOWN = 10


def without_single(found: LabelledImages, in_folds: bool) -> LabelledImages:
    """The pictures that can be trained on, as far as the labels tell; each is taken for a different one.

    in_folds: whether the data's own train part is cut into folds. Where it is not, or nothing is held out but by the
    data themselves, a class may have a single picture: it is trained on. Raises UserError as `_kept`.
    """
    kept = _kept(found.labels, found.parts, np.arange(len(found.labels)), in_folds)
    return found if kept.all() else found.of(np.flatnonzero(kept))


def without_copies_alone(data: Dataset, in_folds: bool) -> Dataset:
    """As `without_single`, with the pictures that failed left out by now, and byte-identical ones taken for one."""
    kept = _kept(data.labels, data.parts, duplicate_groups(data.digests), in_folds)
    return data if kept.all() else data.of(np.flatnonzero(kept))


def _kept(labels: ArrayLike, parts: ArrayLike, groups: Indices, in_folds: bool) -> NDArray[np.bool_]:
    """Mask (n,) of the pictures to train on and to score; which classes are left out is announced.

    Raises UserError where fewer than two classes are left.
    """
    labels, parts = np.asarray(labels), np.asarray(parts)
    own_split = bool((parts != "all").any())
    if own_split and not in_folds:
        return np.ones(len(labels), bool)
    trained = parts == "train" if own_split else np.ones(len(labels), bool)
    large = set(labels[trained][paired(labels[trained], groups[trained])].tolist())
    if len(large) < 2:
        few = f"only {min(large)!r} has" if large else "none has"
        raise UserError(f"a classifier needs two classes with 2 different pictures each, and {few}: add pictures")
    kept = np.isin(labels, sorted(large))
    if not kept.all():
        counts = Counter(labels[~kept].tolist())
        named = listed((f"{name!r} {count}" for name, count in sorted(counts.items())), SHOWN)
        log.warning("classes with a single picture (copies count once) are left out: %s", named)
    return kept
