"""The maps that a linear head's rows are means of: of each network of a model, through its own cache."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cache.row_key import MODEL_FILE, ORIGINAL_VIEW, FeatureSpec
from classify.bundles.row_heads import RowHead
from classify.bundles.whole_classifier import DecidedHead
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.head_arrays import ArrayHead
from featurize.backbones.backbone_table import BACKBONES
from featurize.backbones.tail import pooled_features
from featurize.extract.extractor import Extractor
from featurize.extract.network_extractor import NetworkExtractor

if TYPE_CHECKING:
    from classify.saved.classifier import Classifier

LAST_MAP = "last_map"
Maps = list[np.ndarray]  # (h, w, c) of one picture by each network
MapsOf = Callable[[Callable[[Extractor], dict[int, np.ndarray]]], dict[int, Maps]]


class NoClassMapError(Exception):
    """A model has no exact maps, for the reason that this says in one line."""


def last_maps(classifier: "Classifier") -> tuple[MapsOf, ArrayHead, list[bool]]:
    """(what gives the maps of pictures by their numbers, the linear head on them, which maps are rows in a line).

    The first takes what gives features of pictures by their numbers; it raises NoClassMapError where a network ends in
    no map. Raises NoClassMapError for a head that is not linear, and for other ways of pooling than avg and flatten.
    """
    predictor, parts = classifier.saved.predictor, classifier.extractor.parts
    if isinstance(predictor, DecidedHead):
        return _one_by_one(_before_pooling(parts[0])), _linear_of(predictor.tuned), [False]
    if isinstance(predictor, TunedHead):
        return _after_tail(_before_pooling(parts[0]), predictor)
    head, specs = _linear(classifier), classifier.saved.spec.parts
    for spec in specs:
        _check(spec)
    before_pooling = [_before_pooling(part) for part in parts]

    def maps_of(features: Callable[[Extractor], dict[int, np.ndarray]]) -> dict[int, Maps]:
        of_parts = [features(part) for part in before_pooling]
        numbers = sorted(set.intersection(*map(set, of_parts)))
        found = {number: [of_part[number] for of_part in of_parts] for number in numbers}
        return {number: _with_channels_last(maps, specs, head) for number, maps in found.items()}

    return maps_of, head, [spec.pooling == "flatten" for spec in specs]


def _before_pooling(part: NetworkExtractor) -> NetworkExtractor:
    """The same network without its pooling, of the picture itself alone."""
    graph = part.resolved.graph
    if graph and not graph.has_maps:
        raise NoClassMapError(f"{part.spec.backbone} came without a last map")
    if graph:
        graph = graph.before_pooling()
    # Of a fine-tuned network, pooling none names its decisions.
    spec = replace(part.spec, pooling=LAST_MAP if part.spec.tuned else "none")
    plain = replace(part.resolved, spec=spec, views=(ORIGINAL_VIEW,), graph=graph)
    return NetworkExtractor.open(plain, part.cache_dir)


def _linear(classifier: "Classifier") -> ArrayHead:
    predictor = classifier.saved.predictor
    head = predictor if isinstance(predictor, ArrayHead | RowHead) else predictor.arrays()
    if not isinstance(head, ArrayHead) or len(head.layers) > 1:
        raise NoClassMapError(f"the head {classifier.saved.record['head']} does not decide by planes")
    return head


def _check(spec: FeatureSpec) -> None:
    """Raise NoClassMapError where rows are no sums over the places of a map."""
    if spec.pooling not in (("avg",) if spec.backbone == MODEL_FILE else ("avg", "flatten")):
        raise NoClassMapError(f"pooling {spec.pooling} of {spec.backbone} is no mean over the places of a map")
    row = BACKBONES.get(spec.backbone)
    if row and row.module == "convnext" and spec.layer == row.last_layer:
        raise NoClassMapError(f"{spec.backbone} normalises after its pooling")


def _with_channels_last(maps: Maps, specs: Sequence[FeatureSpec], head: ArrayHead) -> Maps:
    """`maps` as (h, w, c): those of a model file may be (c, h, w). Raises NoClassMapError for other shapes."""
    turned = []
    for one, spec in zip(maps, specs, strict=True):
        if one.ndim != 3:
            raise NoClassMapError(f"{spec.backbone} ends in no map: its output has shape {one.shape}")
        rest = head.n_features_in_ - sum(other.shape[-1] for other in maps if other is not one)
        first = spec.backbone == MODEL_FILE and one.shape[0] == rest != one.shape[-1]
        turned.append(np.moveaxis(one, 0, -1) if first else one)
    pairs = zip(turned, specs, strict=True)
    widths = [one.size if spec.pooling == "flatten" else one.shape[-1] for one, spec in pairs]
    if sum(widths) != head.n_features_in_:
        raise NoClassMapError(f"which axis of the maps {[one.shape for one in maps]} has the channels is not certain")
    return turned


def _after_tail(part: NetworkExtractor, tuned: TunedHead) -> tuple[MapsOf, ArrayHead, list[bool]]:
    """Of a fine-tuned model: cached maps at the cut pass its tail, whose last map is averaged there."""
    assert tuned.place is not None, "a loaded model knows its place"
    row = BACKBONES.get(tuned.place.network)
    if row and row.module == "convnext":
        raise NoClassMapError(f"{row.name} normalises after its pooling")
    tail = tuned.tuned.build_tail(replace(tuned.place, pooling="none"))
    if len(tail.output_shape) != 4:
        raise NoClassMapError(f"{tuned.place.network} ends in no map: its output has shape {tail.output_shape[1:]}")

    def maps_of(features: Callable[[Extractor], dict[int, np.ndarray]]) -> dict[int, Maps]:
        if not (found := features(part)):
            return {}
        last = pooled_features(tail, np.stack([*found.values()]))
        return {number: [one] for number, one in zip(found, last, strict=True)}

    return maps_of, _linear_of(tuned), [False]


def _linear_of(tuned: TunedHead) -> ArrayHead:
    """What a fine-tuned model decides by, of its pooled last map."""
    planes = [(tuned.tuned.kernel, tuned.tuned.bias)]
    return ArrayHead(tuned.classes_, planes, 1.0, "l2", None, None, cosine=False)


def _one_by_one(part: NetworkExtractor) -> MapsOf:
    """The maps that a network gives, as they are."""

    def maps_of(features: Callable[[Extractor], dict[int, np.ndarray]]) -> dict[int, Maps]:
        return {number: [one] for number, one in features(part).items()}

    return maps_of
