"""From what a person asks for to the exact spec, without TensorFlow.

`resolve` fills in defaults, finds the weights and takes their digest, so that two requests for the same
computation have the same fingerprint however they were worded.
"""

import os
import re
from dataclasses import dataclass
from typing import TypedDict

from cache.digests import DigestTable
from cache.errors import UserError
from cache.spec import OWN_MODEL, FeatureSpec
from featurize.backbones import BACKBONES, find_backbone
from featurize.decode import DECODER, RESIZES
from featurize.weights import Weights, locate, random_identity

DEFAULT_BACKBONE = "mobilenet_v2"
POOLINGS = ("avg", "max", "flatten")


class SpecOptions(TypedDict, total=False):
    """What decides a spec, as people give it: the keyword arguments of `resolve`."""

    backbone: str
    pooling: str
    layer: str | None
    size: int | str | tuple[int, int] | None
    weights: str | None
    resize: str
    preprocess: str | None


@dataclass(frozen=True)
class Resolved:
    """A spec, and where its network comes from on this machine: a backbone's name or a saved model's path."""

    spec: FeatureSpec
    network: str
    weights: Weights


def resolve(
    table: DigestTable,
    *,
    backbone: str = DEFAULT_BACKBONE,
    pooling: str = "avg",
    layer: str | None = None,
    size: int | str | tuple[int, int] | None = None,
    weights: str | None = None,
    resize: str = "antialias",
    preprocess: str | None = None,
) -> Resolved:
    """The spec of a request. `size`: side or (height, width) in pixels, "160" and "160x120" (height first) as text.

    Raises UserError for an unknown value, with the valid ones, and for weights that are not to be had.
    """
    _one_of("pooling", pooling, POOLINGS)
    _one_of("resize", resize, RESIZES)
    sides = parse_size(size)
    if backbone.endswith(".keras"):
        return _own_model(table, backbone, pooling, layer, sides, weights, resize, preprocess)
    row = find_backbone(backbone)
    sides = sides or (row.size, row.size)
    row.check_size(sides)
    if preprocess not in (None, row.module):
        raise UserError(f"preprocess {preprocess!r}: {backbone} has its own ({row.module}); leave the option out")
    found = locate(row, sides, weights)
    spec = FeatureSpec(
        backbone=backbone,
        weights=random_identity() if found.kind == "random" else "sha256:" + table.of_file(found.path).hex(),
        layer=layer or row.last_layer,
        pooling=pooling,
        size=sides,
        resize=resize,
        preprocess=row.module,
        decoder=DECODER,
    )
    return Resolved(spec, backbone, found)


def _own_model(
    table: DigestTable,
    path: str,
    pooling: str,
    layer: str | None,
    size: tuple[int, int] | None,
    weights: str | None,
    resize: str,
    preprocess: str | None,
) -> Resolved:
    if weights is not None:
        raise UserError(f"weights {weights!r}: {path} brings its own; leave the option out")
    if not os.path.isfile(path):
        raise UserError(f"backbone {path}: no such file; give a model saved with model.save('name.keras')")
    if preprocess not in (None, "none", *preprocess_names()):
        raise UserError(f"preprocess {preprocess!r}: choose one of none, {', '.join(preprocess_names())}")
    spec = FeatureSpec(
        backbone=OWN_MODEL,
        weights="sha256:" + table.of_file(path).hex(),
        layer=layer or "",
        pooling=pooling,
        size=size,
        resize=resize,
        preprocess=preprocess or "none",
        decoder=DECODER,
    )
    return Resolved(spec, path, Weights("file", path))


def preprocess_names() -> list[str]:
    """The modules of Keras Applications that have a `preprocess_input`, as the table of backbones names them."""
    return sorted({row.module for row in BACKBONES.values()})


def parse_size(size: int | str | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) in pixels of 160, "160", "160x120" or (160, 120); None stays None."""
    if size is None:
        return None
    text = "x".join(map(str, size)) if isinstance(size, tuple | list) else str(size)
    sides = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip())
    if not sides or int(sides[1]) < 1 or int(sides[2] or 1) < 1:
        raise UserError(f"size {size!r}: give a side in pixels such as 224, or HEIGHTxWIDTH such as 160x240")
    return int(sides[1]), int(sides[2] or sides[1])


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UserError(f"{name} {value!r}: choose one of {', '.join(valid)}")
