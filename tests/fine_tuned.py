"""A fine-tuned head for tests: a tail that was changed a little, and a logistic regression after it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import pipeline
from classify.base import FeatureHead
from classify.linear import LogRegHead
from classify.persist import save
from classify.tuned import TunedHead
from featurize.extract import Extractor
from featurize.resolve import Resolved, resolve
from featurize.tail import Tail, set_weights_vector, weights_vector
from featurize.tuned import Tuned


class ChangedTail(FeatureHead):
    """An estimator whose array form is a `TunedHead`; fitted on the maps that `cut` computes."""

    def __init__(self, cut: Resolved | None = None, normalize: str = "none") -> None:
        self.cut = cut
        self.normalize = normalize

    def fit(self, X: Any, y: Any) -> "ChangedTail":
        place = Tail.of(self.cut.spec, self.cut.weights)
        tail = place.build()
        changes = np.random.default_rng(0).normal(1, 0.03, (vector := weights_vector(tail)).shape)
        set_weights_vector(tail, vector := (vector * changes).astype(np.float32))
        head = LogRegHead().fit(tail(np.asarray(X, np.float32), training=False).numpy(), y)
        self.classes_ = head.classes_
        ((kernel, bias),) = head.arrays().layers
        self.tuned_ = Tuned(vector, kernel.astype(np.float32), bias.astype(np.float32))
        return self

    def _fit(self, rows: Any, labels: Any) -> None:
        raise NotImplementedError

    def _probabilities(self, rows: Any) -> Any:
        raise NotImplementedError

    def arrays(self) -> TunedHead:
        return TunedHead(self.classes_, self.tuned_)


def fitted(cache: Path, folder: Path, **options: Any) -> tuple[ChangedTail, Extractor, list[str]]:
    """(the head, the extractor of its maps, its pictures): trained on `folder/CLASS/*.png` from the maps in `cache`."""
    paths = sorted(str(path) for path in folder.glob("*/*.png"))
    extractor = pipeline.open_extractor(str(cache), **options)
    cut = resolve(extractor.table, **options)
    maps = extractor.features(paths)[1]
    labels = [Path(path).parent.name for path in paths]
    return ChangedTail(replace(cut)).fit(maps, labels), extractor, paths


def save_model(model: str, head: ChangedTail, extractor: Extractor, paths: list[str]) -> None:
    counts = [sum(Path(path).parent.name == name for path in paths) for name in head.classes_]
    trained_on = extractor.run(paths).keys
    save(model, head, trained_on, {"head": "logreg", "training_counts": counts, "metrics": {}, **extractor.record()})


def in_parts(head: ChangedTail, maps: np.ndarray) -> np.ndarray:
    """Decisions (n, k) of maps (n, h, w, c): tail, pooling and hyperplanes one after the other."""
    tail = Tail.of(head.cut.spec, head.cut.weights).build()
    set_weights_vector(tail, head.tuned_.tail)
    features = tail(maps.astype(np.float32), training=False).numpy()
    return features / np.linalg.norm(features, axis=1, keepdims=True) @ head.tuned_.kernel + head.tuned_.bias
