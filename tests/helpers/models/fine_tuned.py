"""Fine-tuned heads for tests: trained for a moment on maps of a cache."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import pipeline
from classify.heads.finetune.finetune_head import FineTuneHead
from classify.saved.persist import save
from featurize.backbones.tail import Tail, Tuned, set_weights_vector
from featurize.extract.extractor import Extractor
from featurize.resolve import Resolved, resolve


class FineTuned(NamedTuple):
    """A head, the extractor of its maps, the pictures that it was fitted on, and what computes the maps."""

    head: FineTuneHead
    extractor: Extractor
    paths: list[str]
    cut: Resolved

    @property
    def tuned(self) -> Tuned:
        return self.head.arrays().tuned


def fitted(cache: Path, folder: Path, **options: Any) -> FineTuned:
    """Trained on `folder/CLASS/*.png` from the maps in `cache`; its tail is not the backbone's any more."""
    paths = sorted(str(path) for path in folder.glob("*/*.png"))
    extractor = pipeline.open_extractor(str(cache), **options)
    cut = resolve(extractor.table, **options)
    labels = [Path(path).parent.name for path in paths]
    place = Tail.of(cut.spec, cut.weights)
    head = FineTuneHead(place, learning_rate=1e-3, epochs=2, validation_fraction=0, verbose=0, random_state=0)
    return FineTuned(head.fit(extractor.features(paths)[1], labels), extractor, paths, cut)


def with_arrays(tail: np.ndarray, kernel: np.ndarray, bias: np.ndarray, like: FineTuneHead) -> FineTuneHead:
    """A head of the classes and the place of `like`, with these arrays."""
    head = FineTuneHead(like.tail)
    head.classes_, head.tail_, head.kernel_, head.bias_ = like.classes_, tail, kernel, bias
    return head


def save_model(model: str, head: Any, extractor: Extractor, paths: list[str]) -> None:
    counts = [sum(Path(path).parent.name == name for path in paths) for name in head.classes_]
    trained_on = extractor.run(paths).keys
    save(model, head, trained_on, {"head": "finetune", "training_counts": counts, "metrics": {}, **extractor.record()})


def in_parts(tuned: Tuned, place: Tail, maps: np.ndarray) -> np.ndarray:
    """Decisions (n, k) of maps (n, h, w, c): tail, pooling and hyperplanes one after the other."""
    tail = place.build()
    set_weights_vector(tail, tuned.tail)
    features = tail(maps.astype(np.float32), training=False).numpy()
    return features / np.linalg.norm(features, axis=1, keepdims=True) @ tuned.kernel + tuned.bias
