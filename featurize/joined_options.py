"""Joined backbones, written `a+b`, and their options: one value for all of them, or one for each.

A joined request is split into one request for each backbone, which `featurize.resolve.resolve` takes.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from cache.arguments import at_home
from cache.digest_table import DigestTable
from cache.errors import UserError, log
from cache.joined_rows import Spec, read_spec
from cache.row_key import ORIGINAL_VIEW, FeatureSpec
from featurize.backbones.backbone_table import BACKBONES
from featurize.model_files.find_files import is_model_file
from featurize.reopen import check_options, reopen
from featurize.resolve import Resolved, resolve
from featurize.spec_options import DEFAULT_BACKBONE, FORMER_DEFAULT, SpecOptions

PER_BACKBONE = ("pooling", "layer", "size", "resize", "preprocess", "precision", "stored")  # or one for all
JOIN = "+"


def resolve_parts(table: DigestTable, options: SpecOptions) -> list[Resolved]:
    """`resolve` of each backbone that `options` name: "nano+mobilenet_v2" has two. See `share_weights` for theirs.

    The options `PER_BACKBONE` may be joined as well, an empty piece being the default: pooling="avg+max", size="+160".
    Raises UserError as `resolve` does, for another number of values than backbones, for maps and for the same rows
    twice.
    """
    backbones = backbones_of(options)
    if len(backbones) == 1:
        return [resolve(table, **options | {"backbone": backbones[0]})]
    joined = JOIN.join(backbones)
    weights = share_weights(options.get("weights"), backbones)
    _check_preprocess(options.get("preprocess"), backbones)
    each = options_of_each(options | {"backbone": joined, "weights": None}, len(backbones))
    if any(one.get("pooling") == "none" for one in each):
        raise UserError(f"pooling none: the maps of {joined} cannot be joined, and finetune takes one backbone")
    parts = []
    for one, backbone, file in zip(each, backbones, weights, strict=True):
        parts.append(resolve(table, **cast(SpecOptions, one | {"backbone": backbone, "weights": file})))
        if parts[-1].spec in [part.spec for part in parts[:-1]]:
            raise UserError(f"backbone {joined}: {backbone} would be there twice with the same rows; name it once")
    return parts


def specs_of(table: DigestTable, options: SpecOptions) -> list[FeatureSpec]:
    """The spec of each backbone that `options` name, without looking for weights: those that are not said are "".

    Raises UserError as `resolve_parts`.
    """
    names = backbones_of(options)
    files = share_weights(options.get("weights"), names)
    asked = list(zip(names, files, strict=True))
    is_open = [file is None and name in BACKBONES and BACKBONES[name].takes_weights for name, file in asked]
    if any(is_open):  # random ones need not be found
        found = ["random" if left else file or "" for left, file in zip(is_open, files, strict=True)]
        options = options | {"backbone": JOIN.join(names), "weights": JOIN.join(found)}
    specs = [part.spec for part in resolve_parts(table, options)]
    return [replace(spec, weights="") if left else spec for left, spec in zip(is_open, specs, strict=True)]


def reopen_parts(
    record: dict[str, Any],
    table: DigestTable,
    weights: str | None = None,
    engine: str = "auto",
    isolate: bool = False,
    views: tuple[str, ...] = (ORIGINAL_VIEW,),
    beside: str | None = None,
) -> list[Resolved]:
    """`reopen` of each part of a model's record; each must prove its weights. Raises UserError as `reopen` does."""
    specs = read_spec(record["spec"]).parts
    if len(specs) == 1:
        return [reopen(record, table, weights, engine, isolate, views, beside)]
    given = share_weights(weights, [part.backbone for part in specs])
    return [
        reopen({"spec": spec.to_json(), "weights": recorded}, table, file, engine, isolate, views, beside)
        for spec, recorded, file in zip(specs, record["weights"], given, strict=True)
    ]


def check_parts(spec: Spec, model: str, options: dict[str, Any], table: DigestTable) -> None:
    """`check_options` of each part of a trained model's spec. Raises UserError as it does."""
    if len(spec.parts) == 1:
        return check_options(spec.parts[0], model, options, table)
    options = dict(options)
    backbones: list[Any] = [None] * len(spec.parts)
    if (given := options.pop("backbone", None)) is not None:
        backbones = _pieces("backbone", os.fspath(given), _is_backbone)
    if len(backbones) != len(spec.parts):
        raise UserError(
            f"--backbone {given} contradicts the model {model}, which was trained with backbone {spec.backbone}"
        )
    for part, one, backbone in zip(spec.parts, options_of_each(options, len(spec.parts)), backbones, strict=True):
        check_options(part, model, one | {"backbone": backbone}, table)
    return None


def share_weights(weights: str | None, backbones: list[str]) -> list[str | None]:
    """Split "fileA+fileB" into one weights file per backbone; an empty piece means the default.

    Or one file per backbone that needs one: nano, `.keras` and model files bring their own, so that a single file is
    enough for "nano+mobilenet_v2". Raises UserError for any other number, and for a name that can be read in two ways.
    """
    if not weights:
        return [None] * len(backbones)
    files: list[str | None] = [file or None for file in _pieces("weights", os.fspath(weights), os.path.isfile)]
    if len(files) == len(backbones):
        return files
    taking = [name in BACKBONES and not BACKBONES[name].packaged for name in backbones]
    if len(files) != sum(taking):
        raise UserError(
            f"weights {weights!r}: {len(files)} for the {len(backbones)} of {JOIN.join(backbones)}: name a file for "
            "each, joined by plus signs in the same order, with nothing where one has its own"
        )
    given = iter(files)
    return [next(given) if takes else None for takes in taking]


def backbones_of(options: SpecOptions) -> list[str]:
    """The backbones that `options` name, one or several. Raises UserError for a name that can be read in two ways.

    Without a name, weights for Keras (.h5) are taken for those of the former default, which is announced.
    """
    if "backbone" not in options and str(options.get("weights")).endswith(".h5"):
        log.info("weights without a backbone: taking %s, the default before version 0.2", FORMER_DEFAULT)
        return [FORMER_DEFAULT]
    return _pieces("backbone", os.fspath(options.get("backbone", DEFAULT_BACKBONE)), _is_backbone)


def _check_preprocess(preprocess: str | None, backbones: list[str]) -> None:
    """Raise UserError, with what to give instead, for one preprocessing of files and of a backbone that has its own."""
    if preprocess is None or JOIN in preprocess:
        return
    own = [name for name in backbones if name in BACKBONES and BACKBONES[name].module != preprocess]
    if own and not all(name in BACKBONES for name in backbones):
        of_each = JOIN.join("" if name in BACKBONES else preprocess for name in backbones)
        raise UserError(
            f"preprocess {preprocess!r}: {own[0]} has its own; give one for each backbone, --preprocess {of_each!r}"
        )


def options_of_each(options: Any, count: int) -> list[dict[str, Any]]:
    """The options of each of `count` parts; an empty piece is left out.

    Raises UserError for another number of values than parts.
    """
    each: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, value in options.items():
        several = name in PER_BACKBONE and isinstance(value, str) and JOIN in value
        values = value.split(JOIN) if several else [value] * count
        if len(values) != count:
            raise UserError(f"{name} {value!r}: give one for all {count} backbones, or {count} joined by plus signs")
        for part, piece in zip(each, values, strict=True):
            if piece != "":
                part[name] = piece
    return each


def _pieces(option: str, text: str, exists: Callable[[str], bool]) -> list[str]:
    """`text` itself where that exists, else its pieces between plus signs.

    Raises UserError where both can be meant.
    """
    pieces = text.split(JOIN)
    if len(pieces) == 1 or not exists(text):
        return pieces
    if all(map(exists, pieces)):
        raise UserError(f"{option} {text!r} is a file, and so is each of {', '.join(pieces)}: rename one of them")
    return [text]


def _is_backbone(text: str) -> bool:
    return text in BACKBONES or (text.endswith(".keras") and os.path.isfile(text)) or _is_model(text)


def _is_model(text: str) -> bool:
    return is_model_file(text) and os.path.exists(at_home(text))
