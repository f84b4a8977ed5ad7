"""Where a backbone can be cut for fine-tuning: how much lies above, and how many numbers a picture has there."""

from dataclasses import dataclass
from math import prod
from typing import Any

from featurize.network import trained_backbone
from featurize.quiet import import_keras
from featurize.resolve import Resolved

STORED_BYTES = 2  # of a number: float16
SHARES = 0.1, 0.2, 0.3, 0.45  # of the multiplications, above the cuts that are looked for
TRIED = 6  # layers for each share: most layers beside a shortcut are no place to cut


@dataclass(frozen=True)
class Cut:
    """A layer with its map's shape (h, w, c), and the share of the network's multiplications that lies above it."""

    layer: str
    shape: tuple[int, ...]
    share_above: float

    @property
    def row_bytes(self) -> int:
        """Of one rendering of a picture in the cache."""
        return STORED_BYTES * prod(self.shape)


def candidate_cuts(resolved: Resolved, most_bytes: float) -> list[Cut]:
    """Cuts with about `SHARES` of the network above them and no more than `most_bytes` a row, the latest first.

    `resolved` names the backbone; its layer does not matter. Of cuts with much the same share the one with the smallest
    map is taken. None where no layer is a place to cut.
    """
    network, layers = trained_backbone(resolved.network, resolved.weights, resolved.spec.size)
    small = [cut for cut in _maps(layers) if cut.row_bytes <= most_bytes]
    found: list[Cut] = []
    for share in SHARES:
        near = [cut for cut in small if share / 1.3 < cut.share_above < share * 1.3 and cut not in found]
        near = sorted(near, key=lambda cut: (cut.row_bytes, -cut.share_above))[:TRIED]
        found += next(([cut] for cut in near if _can_be_cut(network, layers[cut.layer])), [])
    return found


def _maps(layers: dict[str, Any]) -> list[Cut]:
    """Every layer whose output is a map of fixed shape."""
    work = [_multiplications(layer) for layer in layers.values()]
    above, cuts = sum(work), []
    total = above or 1
    for (name, layer), own in zip(layers.items(), work, strict=True):
        above -= own
        shape = _shape(layer)
        if len(shape) == 3 and None not in shape:
            cuts.append(Cut(name, shape, above / total))
    return cuts


def _multiplications(layer: Any) -> int:
    """About how many a layer makes for one picture: each kernel once for each place of the map."""
    shape = _shape(layer)
    places = prod(shape[:2]) if len(shape) == 3 and None not in shape else 1
    return places * sum(prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1)


def _shape(layer: Any) -> tuple[Any, ...]:
    return tuple(getattr(layer.output, "shape", (None,)))[1:]


def _can_be_cut(network: Any, layer: Any) -> bool:
    try:
        import_keras().Model(layer.output, network.outputs[0])
    except ValueError:  # a layer above it also sees others
        return False
    return True
