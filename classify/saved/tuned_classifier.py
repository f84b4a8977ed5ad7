"""A fine-tuned model with its pictures: what is cached is answered from the cache, the rest passes one graph."""

from dataclasses import replace

import numpy as np

from cache.digest_table import DigestTable, ReadOnlyTable
from cache.errors import UserError
from cache.stored_rows import Rows
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.head_arrays import ArrayHead
from classify.saved.classifier import Classifier
from classify.saved.persist import Saved
from featurize.backbones.tail import Tail
from featurize.extract.extractor import Extractor
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.outcome import Outcome
from featurize.pictures.sources import Source
from featurize.resolve import Resolved

PICTURES = 256  # whose maps are in memory together
NO_ROWS = np.empty((0, 0), np.float32)  # a network that ends in decisions has none


class TunedClassifier(Classifier):
    """A `Classifier` whose network ends in the decisions of its head.

    `whole` computes decisions (k,) from pixels and keeps them in the cache; `extractor` has the maps at the cut. Where
    a picture has both, its decisions are taken; with its map alone it passes the tail, not the network.
    """

    def __init__(self, saved: Saved, cut: Resolved, cache_dir: str):
        self.head = _tuned_head(saved).at(Tail.of(cut.spec, cut.weights))
        self.whole = NetworkExtractor.open(cut.tuned_by(self.head.tuned), cache_dir)
        super().__init__(replace(saved, predictor=self.head), NetworkExtractor.open(cut, cache_dir))

    @property
    def of_pixels(self) -> NetworkExtractor:
        """The whole network: rows are decisions (k,)."""
        return self.whole

    def decided(self, rows: np.ndarray) -> np.ndarray:
        """The probabilities (n, k) of decisions (n, k)."""
        return self.head.of_decisions(rows)

    def _predicted(self, sources: list[Source], use_cache: bool | None) -> tuple[Outcome, np.ndarray, Rows]:
        if use_cache is False:
            outcome, decisions = self.whole.without_cache(sources)
            return outcome, self._of_decisions(decisions), NO_ROWS
        outcome = Outcome(sources, len(self.extractor.stores))
        result = np.full((len(sources), len(self.classes_)), np.nan)
        table = self.extractor.table if use_cache else ReadOnlyTable(self.extractor.cache_dir)
        from_maps = self._have_maps_alone(sources, table)
        with_maps, others = np.flatnonzero(from_maps), np.flatnonzero(~from_maps)
        pieces = np.split(with_maps, range(PICTURES, len(with_maps), PICTURES))
        for extractor, predict, positions in (
            *((self.extractor, self.head.predict_proba, piece) for piece in pieces),
            (self.whole, self._of_decisions, others),
        ):
            part, rows = self._features(extractor, [sources[position] for position in positions], use_cache)
            outcome.put(positions, part)
            if len(rows):
                result[positions[part.succeeded]] = predict(rows)
        return outcome, result[outcome.succeeded], NO_ROWS

    def _of_decisions(self, decisions: Rows) -> np.ndarray:
        return self.head.of_decisions(decisions) if len(decisions) else np.empty((0, len(self.classes_)))

    def _have_maps_alone(self, sources: list[Source], table: DigestTable) -> np.ndarray:
        """Mask (n,) of the sources whose maps are in the cache, and whose decisions are not."""
        found = Outcome(sources)
        found.take_digests(table)
        keys = found.keys
        mask = np.zeros(len(sources), bool)
        mask[found.digests.known] = _have_rows(self.extractor, keys) & ~_have_rows(self.whole, keys)
        return mask


def _have_rows(extractor: Extractor, keys: np.ndarray) -> np.ndarray:
    """Mask (n,) of the pictures with `keys` (n, 32) whose views all have a row."""
    return np.logical_and.reduce([store.contains(keys) for store in extractor.stores])


def _tuned_head(saved: Saved) -> TunedHead:
    """The array form of a saved model, also of one whose pickle was pinned. Raises UserError for other heads."""
    head = saved.predictor
    if not isinstance(head, TunedHead | ArrayHead):
        head = head.arrays()
    if not isinstance(head, TunedHead):
        raise UserError(f"model {saved.path} takes rows, those of its spec are maps: train it again")
    return head
