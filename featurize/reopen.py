"""The computation behind a trained model, found again on this machine and proven to be the same."""

import os
from dataclasses import replace
from typing import Any

from cache.digests import DigestTable
from cache.errors import UserError
from cache.spec import OWN_MODEL, FeatureSpec
from featurize.backbones import BACKBONES
from featurize.decode import DECODER
from featurize.resolve import Resolved, parse_size
from featurize.weights import Weights, locate, random_identity


def reopen(record: dict[str, Any], table: DigestTable, weights: str | None = None) -> Resolved:
    """The spec of a model's record and the weights that it names, or those in the file `weights`.

    Weights that are neither given nor where they were are no error yet: pictures in the cache need none.
    Raises UserError, naming both sides, where the weights, the decoder or the versions that define random weights
    are not those of the record.
    """
    spec = FeatureSpec.from_json(record["spec"])
    if spec.decoder != DECODER:
        raise UserError(
            f"the model was trained with decoder {spec.decoder}, this version has {DECODER}: train it again"
        )
    found = Weights(record["weights"]["kind"], record["weights"]["path"])
    if found.kind == "random" and weights in (None, "random"):
        if spec.weights != random_identity():
            raise UserError(f"the model was trained with weights {spec.weights}, this machine has {random_identity()}")
        return Resolved(spec, record["network"], found)
    network = record["network"]
    if weights is not None and spec.backbone == OWN_MODEL:
        network, found = weights, Weights("file", weights)
    elif weights is not None:
        found = locate(BACKBONES[spec.backbone], spec.size or 0, weights)
    resolved = Resolved(spec, network, found)
    if weights is not None or os.path.exists(found.path):
        check_weights(resolved, table)
    return resolved


def check_weights(resolved: Resolved, table: DigestTable) -> Resolved:
    """`resolved`, its weights file now having the very digest that the spec names; downloaded again if need be.

    Raises UserError, naming both sides, where it has another or is not to be had.
    """
    spec, weights = resolved.spec, resolved.weights
    if weights.kind == "random":
        return resolved
    if weights.kind == "imagenet" and not os.path.exists(weights.path):
        weights = locate(BACKBONES[spec.backbone], spec.size or 0, None)
    try:
        digest = "sha256:" + table.of_file(weights.path).hex()
    except OSError as error:
        raise UserError(
            f"weights {weights.path} cannot be read ({error.strerror}): say where they are with --weights (weights=)"
        ) from None
    if digest != spec.weights:
        raise UserError(f"the spec asks for weights {spec.weights}, but {weights.path} has {digest}")
    return replace(resolved, weights=weights)


def check_options(spec: FeatureSpec, model: str, options: dict[str, Any], table: DigestTable) -> None:
    """Raise UserError, naming both, where an explicitly given option contradicts the spec of a trained model."""
    for name, given in options.items():
        if given is None:
            continue
        trained: Any = getattr(spec, name)
        asked = given
        if name == "size":
            asked = parse_size(given)
        elif name == "backbone" and str(given).endswith(".keras"):
            trained, asked = spec.weights, "sha256:" + table.of_file(given).hex()
        if asked != trained:
            raise UserError(f"--{name} {given} contradicts the model {model}, which was trained with {name} {trained}")
