"""The computation behind a trained model, found on this machine and proven to be the same."""

import contextlib
import os
from dataclasses import replace
from typing import Any

from cache.digest_table import DigestTable
from cache.errors import UserError
from cache.row_key import MODEL_FILE, ORIGINAL_VIEW, OWN_MODEL, PRECISIONS, FeatureSpec
from featurize.backbones.backbone_table import BACKBONES, find_backbone
from featurize.backbones.model_config import default_layer
from featurize.backbones.weights import Weights, locate, pretrained_place
from featurize.decoding.decode import DECODERS
from featurize.model_files.find_files import find_model, is_model_file
from featurize.model_files.request import agrees, announce_reopened, asked_pooling, refuse_tensorflow
from featurize.remembered_weights import remembered
from featurize.resolve import Resolved, check_views, identity, parse_size

# The values of each field that this version computes.
KNOWN = {"decoder": DECODERS, "view": (ORIGINAL_VIEW,), "precision": PRECISIONS, "tuned": ("",)}


def reopen(
    record: dict[str, Any],
    table: DigestTable,
    weights: str | None = None,
    engine: str = "auto",
    isolate: bool = False,
    views: tuple[str, ...] = (ORIGINAL_VIEW,),
    beside: str | None = None,
) -> Resolved:
    """The spec of a model's record, with the file `weights`, or the first that has the recorded digest.

    That is looked for where the record says, beside the model (in the folder `beside`), among those that were given for
    this cache, and in Keras' folder. `views` names the views of each picture that a prediction takes. Missing weights
    are no error yet: pictures in the cache need none. Raises UserError, naming both sides, where the weights, or what
    this version computes, are not those of the spec.
    """
    spec = FeatureSpec.from_json(record["spec"])
    check_known(spec)
    if weights is None:
        found = Weights(**record["weights"])
        if found.kind in ("packaged", "imagenet"):
            row = find_backbone(spec.backbone)
            if row.packaged != (found.kind == "packaged"):
                raise UserError(f"the record says that the weights of {row.name} are {found.kind}: they are not")
            found = pretrained_place(row, spec.size or 0) if row.packaged else found  # wherever this package is now
        found = _here(found, spec, table, beside)
    elif spec.backbone == OWN_MODEL:
        found = Weights("file", os.path.abspath(weights))
    elif spec.backbone == MODEL_FILE:
        found = Weights("file", find_model(weights).path)
    else:
        found = locate(find_backbone(spec.backbone), spec.size or 0, weights)
    if spec.backbone == MODEL_FILE:
        refuse_tensorflow(found.path, engine, spec.precision)
        announce_reopened(spec)
    resolved = Resolved(spec, found, engine, isolate, check_views(views, spec.resize))
    if weights is None and found.kind != "random" and not os.path.exists(found.path):
        return resolved
    return check_weights(resolved, table)


def check_known(spec: FeatureSpec) -> None:
    """Raise UserError where this version computes other rows than those of a model's spec."""
    for field, values in KNOWN.items():
        if (trained := getattr(spec, field)) not in values:
            known = " or ".join(map(str, values))
            raise UserError(f"the model was trained with {field} {trained}, this version has {known}: train it again")


def _here(recorded: Weights, spec: FeatureSpec, table: DigestTable, beside: str | None) -> Weights:
    """The weights of `spec` on this machine; the recorded ones where they are nowhere, or there are no others."""
    row = BACKBONES.get(spec.backbone)
    if recorded.kind == "random" or (row and not row.takes_weights):
        return recorded
    candidates = [recorded]
    if beside is not None:
        parts = recorded.path.replace("\\", "/").split("/")  # of another system perhaps
        for depth in (1, 2, 3) if spec.backbone == MODEL_FILE else (1,):  # its folder may have come along
            candidates.append(Weights("file", os.path.abspath(os.path.join(beside, *parts[-depth:]))))
    given = remembered(os.path.dirname(table.path))
    candidates += [Weights("file", one.path) for one in given if one.weights == spec.weights]
    if row:
        candidates.append(pretrained_place(row, spec.size or 0))
    for candidate in candidates:
        with contextlib.suppress(UserError):  # a file that cannot be read is none of these weights
            if os.path.isfile(candidate.path) and identity(candidate, table) == spec.weights:
                return candidate
    return recorded


def check_weights(resolved: Resolved, table: DigestTable) -> Resolved:
    """`resolved` with weights that are proven to be those of the spec, downloaded again if need be.

    Raises UserError, naming both sides, where they are others, and where they cannot be had. A network that came along
    needs none.
    """
    if resolved.graph:
        return resolved
    spec, weights = resolved.spec, resolved.weights
    if weights.kind in ("imagenet", "packaged") and not os.path.exists(weights.path):
        weights = locate(find_backbone(spec.backbone), spec.size or 0, None)
    if (found := identity(weights, table)) != spec.weights:
        raise UserError(
            f"the spec asks for weights {spec.weights}, but {weights.path or 'this machine'} has {found}: "
            "give the file that it was made with as --weights (weights=), or train again"
        )
    return replace(resolved, weights=weights)


def check_options(spec: FeatureSpec, model: str, options: dict[str, Any], table: DigestTable) -> None:
    """Raise UserError, naming both, where an explicitly given option contradicts the spec of a trained model."""
    for name, given in options.items():
        if given is None:
            continue
        if name == "size":
            same = parse_size(given) == spec.size
            trained = "x".join(map(str, spec.size)) if spec.size else "of its own"
        elif name == "backbone" and spec.backbone in (OWN_MODEL, MODEL_FILE):
            path = find_model(given).path if is_model_file(given) else given
            same = os.path.isfile(path) and identity(Weights("file", path), table) == spec.weights
            trained = f"{spec.backbone} {spec.weights}"
        elif spec.backbone == MODEL_FILE and name in ("pooling", "preprocess", "resize"):
            same, trained = agrees(spec, name, given), asked_pooling(getattr(spec, name))
        else:
            trained = getattr(spec, name)
            same = given == trained
            if name == "layer" and spec.backbone == OWN_MODEL and not trained and options.get("backbone"):
                same = default_layer(options["backbone"]) == given
        if not same:
            raise UserError(f"--{name} {given} contradicts the model {model}, which was trained with {name} {trained}")
