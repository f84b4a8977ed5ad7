"""Find layers at which a backbone can be cut for fine-tuning, by the work above them and the size of their maps."""

from dataclasses import dataclass
from math import prod
from typing import Any

from featurize.backbones.network import output_of, trained_backbone
from featurize.engines.keras_import import import_keras
from featurize.resolve import Resolved

STORED_BYTES = 2  # of a number: float16
SHARES = 0.12, 0.25, 0.5  # of the multiplications, above the cuts that are looked for: each within a factor of ASIDE
ASIDE = 1.4
# Where fine-tuning cuts a backbone for who names no cut: see docs/fine-tuning-figures.md.
MEASURED = {"efficientnet_lite2": "block6c_add"}


@dataclass(frozen=True)
class Cut:
    """A layer with its map's shape (h, w, c), and the share of the network's multiplications that lies above it."""

    layer: str
    shape: tuple[int, ...]
    share_above: float

    @property
    def row_bytes(self) -> int:
        """Bytes of one view of a picture in the cache."""
        return STORED_BYTES * prod(self.shape)


def candidate_cuts(resolved: Resolved, most_bytes: float) -> list[Cut]:
    """Cuts with about `SHARES` of the network above them and no more than `most_bytes` a row, the latest first.

    `resolved` names the backbone; its layer does not matter. Of cuts with much the same share the one of `MEASURED` is
    taken, else that with the smallest map. None where no layer is a place to cut.
    """
    measured = MEASURED.get(resolved.network)
    network, layers = trained_backbone(resolved.network, resolved.weights, resolved.spec.size)
    small = [cut for cut in _maps(layers) if cut.row_bytes <= most_bytes]
    alone = _alone_between(network)
    found: list[Cut] = []
    for share in SHARES:
        near = [cut for cut in small if share / ASIDE < cut.share_above < share * ASIDE]
        near = [cut for cut in near if id(output_of(layers[cut.layer])) in alone]
        found += sorted(near, key=lambda cut: (cut.layer != measured, cut.row_bytes, -cut.share_above))[:1]
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
    """About how many a layer makes for one picture: each kernel once for each position of the map."""
    shape = _shape(layer)
    positions = prod(shape[:2]) if len(shape) == 3 and None not in shape else 1
    return positions * sum(prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1)


def _shape(layer: Any) -> tuple[Any, ...]:
    return tuple(getattr(output_of(layer), "shape", (None,)))[1:]


def _alone_between(network: Any) -> set[int]:
    """Identities of the tensors through which all paths from input to output lead: a network can be cut there."""
    operation = import_keras().Operation
    order = list(network.operations)  # each after those that it takes its inputs from
    last_use = [0] * len(order)
    maker: dict[int, int] = {}
    for number, made in enumerate(order):
        for tensor in _flat(operation.input.fget(made)) if number else []:
            if (source := maker.get(id(tensor))) is not None:
                last_use[source] = number
        maker |= {id(tensor): number for tensor in _flat(operation.output.fget(made))}
    alone, farthest = set(), 0
    for number, made in enumerate(order):
        outputs = _flat(operation.output.fget(made))
        if farthest <= number and len(outputs) == 1:
            alone.add(id(outputs[0]))
        farthest = max(farthest, last_use[number])
    return alone


def _flat(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]
