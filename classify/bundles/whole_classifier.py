"""A fine-tuned model whose whole network is at hand: pixels become decisions, and nothing needs Keras."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.stored_rows import Rows, StoredRows
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.numerics import Floats
from classify.saved.classifier import Classifier
from classify.saved.persist import Saved
from classify.saved.tuned_classifier import NO_ROWS
from featurize.extract.network_extractor import ComputingExtractor
from featurize.extract.outcome import Outcome
from featurize.pictures.sources import Source


@dataclass(frozen=True, eq=False)
class DecidedHead:
    """The head of a fine-tuned model whose whole network is at hand: its rows are decisions (k,)."""

    tuned: TunedHead

    @property
    def classes_(self) -> NDArray[Any]:
        """(k,) in sorted order."""
        return self.tuned.classes_

    def predict_proba(self, X: ArrayLike | StoredRows) -> Floats:
        """Probabilities (n, k) float64 for decisions X (n, k), or (n, M, k) about M views."""
        return self.tuned.of_decisions(X if isinstance(X, StoredRows) else np.asarray(X))

    def predict(self, X: ArrayLike | StoredRows) -> NDArray[Any]:
        """The most probable class (n,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class WholeClassifier(Classifier):
    """A fine-tuned model whose whole network came along: it computes decisions, and needs no maps and no Keras."""

    def __init__(self, saved: Saved, extractor: ComputingExtractor):
        super().__init__(replace(saved, predictor=DecidedHead(saved.predictor)), extractor)

    def _predicted(self, sources: list[Source], use_cache: bool | None) -> tuple[Outcome, np.ndarray, Rows]:
        outcome, probabilities, _ = super()._predicted(sources, use_cache)
        return outcome, probabilities, NO_ROWS
