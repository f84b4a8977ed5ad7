"""Labelled images as rows of features, aligned with their labels."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cache.errors import UserError, log
from cache.signatures import Signatures
from cache.stored_rows import Rows, StoredRows
from classify.data.beyond_memory import features_for
from classify.data.duplicates import near_duplicates
from classify.data.split import Indices, duplicate_groups
from classify.data.view_counts import Views
from classify.heads.head_table import HEADS
from classify.labels.group_record import announce_leaked, groups_to_json
from classify.labels.read_labels import LabelledImages
from featurize.backbones.tail import Tail
from featurize.extract.extractor import Extractor
from featurize.extract.missing_signatures import signatures_of
from featurize.extract.outcome import Progress


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures: features (n, d) float32, labels (n,) str, parts (n,) str, digests (n, 32) uint8, paths.

    signatures: (n, SIDE, SIDE, 3) uint8, by which near-duplicates are found, in memory or in the cache; None where they
    are unknown.
    views: how many views of a picture are fitted on. predict_views: how many its prediction is the mean of. Where one
    of them is above 1, features are (n, the more of both, d) in memory, and the picture itself is view 0. Rows may be
    maps (h, w, c) instead of (d,); tail is then what lies above them in the network. groups: (n,) str, the groups that
    people named, "" for none; None where nobody did.
    """

    features: Rows
    labels: np.ndarray
    parts: np.ndarray
    digests: np.ndarray
    paths: list[str]
    signatures: Signatures | None = None
    views: int = 1
    predict_views: int = 1
    tail: Tail | None = None
    groups: np.ndarray | None = None

    def of(self, chosen: Indices) -> "Dataset":
        """These pictures alone."""
        return replace(
            self,
            features=self.features[chosen],
            labels=self.labels[chosen],
            parts=self.parts[chosen],
            digests=self.digests[chosen],
            paths=[self.paths[i] for i in chosen],
            signatures=None if self.signatures is None else self.signatures[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def fitted(self, chosen: np.ndarray | slice) -> Rows:
        """The views that are fitted on, of m chosen pictures: (m, d), or (m, K, d)."""
        return self._first(self.views, chosen)

    def scored(self, chosen: np.ndarray | slice) -> Rows:
        """The views that decide about m chosen pictures when these are scored: (m, d), or (m, M, d)."""
        return self._first(self.predict_views, chosen)

    def originals(self, chosen: np.ndarray | slice) -> Rows:
        """The rows (m, d) of m chosen pictures as they are."""
        return self._first(1, chosen)

    def _first(self, views: int, chosen: np.ndarray | slice) -> Rows:
        most = max(self.views, self.predict_views)
        if most == 1:
            return self.features[chosen]
        if isinstance(self.features, StoredRows) or self.features.shape[1] != most:
            raise ValueError(f"features {self.features.shape} are not of {most} views in memory")
        return self.features[chosen, 0] if views == 1 else self.features[chosen, :views]

    def duplicates(self, chosen: np.ndarray | slice = slice(None)) -> tuple[Indices, Indices]:
        """Groups of the near-duplicates among m chosen pictures, and of the byte-identical ones alone: (m,) each."""
        digests = self.digests[chosen]
        signatures = None if self.signatures is None else self.signatures[chosen]
        return near_duplicates(digests, signatures), duplicate_groups(digests)

    def named(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray | None:
        """The groups that people named, of m chosen pictures: (m,); None where nobody did."""
        return None if self.groups is None else self.groups[chosen]

    @property
    def has_views(self) -> bool:
        """Whether the features have an axis of views."""
        return max(self.views, self.predict_views) > 1

    @property
    def has_own_split(self) -> bool:
        """Whether the data's own folders say what to train on and what to score."""
        return bool((self.parts != "all").any())

    def part(self, name: str) -> np.ndarray:
        """Indices of the rows of a part."""
        return np.flatnonzero(self.parts == name)

    def own_train_part(self) -> np.ndarray:
        """Indices of the rows to fit on under the data's own split. Raises UserError where there is none."""
        if len(rows := self.part("train")):
            return rows
        raise UserError("no picture of the train folder could be used: see the failed images")

    def own_test_part(self) -> str:
        """The part that is scored under the data's own split: test, else validation. Raises UserError without one."""
        for part in ("test", "validation"):
            if (self.parts == part).any():
                return part
        raise UserError("no picture of the test or validation folder could be used: see the failed images")


def dataset_of(
    extractor: Extractor,
    found: LabelledImages,
    views: Views,
    head: str | None,
    started: float,
    progress: Progress | None,
    params: dict[str, Any] | None = None,
    announce: bool = True,
) -> tuple[Dataset, dict[str, Any]]:
    """The labelled images with their rows, computed where the cache lacks them, and the report of `pipeline.features`.

    `head` is the one to be trained, if any, with `params`: where the rows do not fit into memory, not every one can use
    them. `started`: seconds that went before. announce: whether classes without a picture that is read are warned of.
    """
    outcome, rows = features_for(head, extractor, found.paths, progress, params, len(found.classes))
    kept = outcome.succeeded
    paths = [found.paths[i] for i in kept]
    labels = np.array(found.labels, dtype=object)[kept].astype(str)
    groups = groups_to_json(found)
    if announce:
        announce_lost_classes(found.labels, labels)
        if groups and head:
            announce_leaked(groups)
    dataset = Dataset(
        features=rows,
        labels=labels,
        parts=np.array(found.parts)[kept],
        digests=outcome.keys,
        paths=paths,
        signatures=signatures_of(extractor.cache_dir, paths, outcome.keys, progress),
        views=views.train,
        predict_views=views.predict,
        tail=extractor.tail() if head and HEADS[head].maps else None,
        groups=None if found.groups is None else np.array(found.groups, dtype=object)[kept].astype(str),
    )
    report = extractor.report(outcome, found.failures, started)
    about = {"views": views.train, "recipe": views.recipe, "predict_views": views.predict, "groups": groups}
    return dataset, report | about


def announce_lost_classes(labels: Iterable[str], read: Iterable[str]) -> None:
    """Warn of each class of `labels` that no picture is left of in `read`, the labels of pictures that are read."""
    counts = Counter(map(str, labels))
    for label in sorted(counts.keys() - set(map(str, read))):
        log.warning("class %r is left out: no picture of it can be read, failed are %d", label, counts[label])
