"""A trained head together with the extractor of its features: images in, labels out."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.errors import UserError
from cache.stored_rows import Rows
from classify.beyond_memory import features_for
from classify.persist import Saved
from featurize.extraction import Extraction
from featurize.extractor import Extractor
from featurize.sources import Source, expand

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("bottleneck")


class Classifier:
    """What `pipeline.load` returns; keeps the head and, once a picture needed it, the network warm.

    Images may be a path, a folder, bytes of an image file, a PIL image, an array, or a list of these. They are
    decoded as in training and looked up in the cache first; with `use_cache=False` the cache is left alone.
    `saved.estimator` is the head as a scikit-learn estimator.
    """

    def __init__(self, saved: Saved, extractor: Extractor):
        self.saved = saved
        self.extractor = extractor
        self.classes_: list[str] = saved.record["classes"]

    def predict(self, images: Any, *, use_cache: bool = True) -> np.ndarray:
        """The label of each image, in the order given: (n,) of str; None (announced) where an image is damaged."""
        return self._labels(self.predict_proba(images, use_cache=use_cache))

    def predict_proba(self, images: Any, *, use_cache: bool = True) -> np.ndarray:
        """The probabilities (n, classes) float64 in the order of `classes_`; a row of NaN where an image is damaged."""
        return self.probabilities(expand(images), use_cache)[1]

    def top_k(self, images: Any, k: int = 3, *, use_cache: bool = True) -> "pd.DataFrame":
        """The k most probable labels of each image, as columns path, rank (from 1), label, probability.

        An image that came without a path is called "image 1", counted from 1; a damaged one has one row, label None.
        """
        import pandas as pd

        sources = expand(images)
        rows = self.ranked(sources, self.probabilities(sources, use_cache)[1], k)
        paths = pd.Series([path for path, *_ in rows], dtype=object)  # pandas' own strings must be UTF-8
        table = pd.DataFrame([rest for _, *rest in rows], columns=["rank", "label", "probability"])
        table.insert(0, "path", paths)
        return table

    def probabilities(self, sources: list[Source], use_cache: bool = True) -> tuple[Extraction, np.ndarray]:
        """What happened to each source, and its probabilities as in `predict_proba`; failures are announced."""
        extraction, known = self._predicted(sources, use_cache)
        for failure in extraction.failures:
            log.warning("no prediction for %s: %s", failure.path, failure.reason)
        result = np.full((len(sources), len(self.classes_)), np.nan)
        result[extraction.succeeded] = known
        return extraction, result

    def ranked(self, sources: list[Source], probabilities: np.ndarray, k: int) -> list[tuple[str, int, Any, float]]:
        """(path, rank, label, probability) of the k most probable labels of each source. Raises UserError for k < 1."""
        if k < 1:
            raise UserError(f"top k {k}: give a number of 1 or more")
        rows: list[tuple[str, int, Any, float]] = []
        for position, (source, row) in enumerate(zip(sources, probabilities, strict=True), start=1):
            name = source if isinstance(source, str) else f"image {position}"
            if np.isnan(row).any():
                rows.append((name, 1, None, float("nan")))
                continue
            for rank, best in enumerate(np.argsort(-row, kind="stable")[:k], start=1):
                rows.append((name, rank, self.classes_[best], float(row[best])))
        return rows

    def _predicted(self, sources: list[Source], use_cache: bool) -> tuple[Extraction, np.ndarray]:
        """What happened to each source, and the probabilities (m, classes) of those that have features."""
        rows: Rows
        if use_cache:
            extraction, rows = features_for(None, self.extractor, sources)
        else:
            extraction, rows = self.extractor.without_cache(sources)
        if not len(rows):
            return extraction, np.empty((0, len(self.classes_)))
        self.saved.check_width(rows.shape[-1])
        return extraction, self.saved.predictor.predict_proba(rows)

    def _labels(self, probabilities: np.ndarray) -> np.ndarray:
        labels = np.full(len(probabilities), None, dtype=object)
        known = ~np.isnan(probabilities).any(axis=1)
        labels[known] = np.array(self.classes_, dtype=object)[probabilities[known].argmax(axis=1)]
        return labels
