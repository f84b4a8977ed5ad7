"""Find the specs in a cache that have a row for every given picture. Rows are only read; no network runs."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from cache.arguments import at_home
from cache.errors import UserError
from cache.row_key import MODEL_FILE, ORIGINAL_VIEW, OWN_MODEL, FeatureSpec
from cache.upkeep.spec_folders import stored_specs
from featurize.backbones.backbone_table import BACKBONES, find_backbone
from featurize.backbones.weights import BLANK, Weights, pretrained_place
from featurize.decoding.decode import DECODER, DECODERS
from featurize.extract.extractor import Extractor, RowsMissingError
from featurize.extract.joined_extractor import JoinedExtractor
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.outcome import Outcome, Progress
from featurize.extract.writable import open_table
from featurize.joined_options import backbones_of, options_of_each, share_weights
from featurize.model_files.find_files import find_model, is_model_file
from featurize.model_files.request import agrees
from featurize.pictures.hidden_parts import HIDDEN
from featurize.pictures.sources import Source
from featurize.remembered_weights import remembered
from featurize.resolve import Resolved, identity, parse_size
from featurize.spec_options import SpecOptions

FIELDS = ("backbone", "layer", "pooling", "size", "resize", "preprocess", "precision", "stored")  # select specs
IGNORED = ("weights", "engine", "isolate")  # further options of a computation: they select nothing


def cached_only(resolved: Resolved, cache_dir: str) -> NetworkExtractor:
    """An extractor that only reads cached rows. It raises UserError where a row is missing or damaged."""
    return NetworkExtractor(resolved, cache_dir, when_missing="refuse")


@dataclass(frozen=True)
class Cached:
    """A spec with a row for every picture. A picture without a row in `outcome` cannot be decoded.

    weights: where the network's weights are on this machine; `BLANK` if that is not known.
    """

    extractor: Extractor
    outcome: Outcome
    weights: Weights = BLANK

    @property
    def features(self) -> str:
        """The name of the spec's folder. A joined spec has several, separated by " + "."""
        return " + ".join(part.folder for part in self.extractor.spec.parts)


@dataclass(frozen=True)
class LeftOut:
    """A cached spec that is not compared, and the reason."""

    features: str
    reason: str


def cached_specs(
    cache_dir: str, sources: Sequence[Source], chosen: SpecOptions, progress: Progress | None = None
) -> tuple[list[Cached], list[LeftOut]]:
    """Split the specs in `cache_dir` into those with a row for every picture in `sources`, and those left out.

    A picture that cannot be decoded needs no row. A spec is left out if it differs from an option in `chosen`. If
    `chosen` names joined backbones ("a+b"), each part comes alone first and the joined specs come last. The option
    `weights` names a file that may hold the network's weights; only heads that train layers of the network need it.
    Raises UserError for options that cached rows cannot have.
    """
    requests = _requests(chosen)
    found: list[Cached] = []
    left_out: list[LeftOut] = []
    for store in stored_specs(cache_dir):
        if store.spec.view in HIDDEN:  # rows of heat maps alone
            continue
        weights = _weights_here(store.spec, requests, cache_dir)
        try:
            reasons = [_unfit(store.spec, weights, one) for one in requests]
            reason = "" if "" in reasons else reasons[0]
            if not reason:
                extractor = cached_only(Resolved(store.spec, weights), cache_dir)
                found.append(Cached(extractor, extractor.run(sources, progress), weights))
        except UserError as error:  # rows are missing, or it takes the network to say so
            reason = str(error)
        if reason:
            left_out.append(LeftOut(store.spec.folder, reason))
    known = {picture for one in found for picture in one.outcome.succeeded}
    complete = []
    for one in found:
        if lacking := len(known - set(one.outcome.succeeded)):  # rows of pictures that cannot be decoded any more
            left_out.append(LeftOut(one.features, f"{lacking} of {len(sources)} pictures have no row"))
        else:
            complete.append(one)
    return [*complete, *_joined(complete, requests, sources)], left_out


def with_views(cached: Cached, views: tuple[str, ...]) -> Cached | None:
    """The same spec with the rows of several views of each picture; None if the cache lacks one of these rows."""
    extractor = cached_only(Resolved(_spec(cached), cached.weights, views=views), cached.extractor.cache_dir)
    try:
        outcome = extractor.run(cached.outcome.sources)
    except RowsMissingError:
        return None
    whole = outcome.succeeded == cached.outcome.succeeded
    return Cached(extractor, outcome, cached.weights) if whole else None


def _requests(chosen: SpecOptions) -> list[dict[str, Any]]:
    """The options of each joined backbone. For one backbone, or none, `chosen` itself is the only request."""
    for name, value in chosen.items():
        if name not in (*FIELDS, *IGNORED):
            raise UserError(f"{name} {value!r}: rows of the pictures themselves are compared; leave the option out")
    requests: list[dict[str, Any]] = [dict(chosen)]
    if "backbone" in chosen and len(backbones := backbones_of(chosen)) > 1:
        each = options_of_each(chosen, len(backbones))
        files = share_weights(chosen.get("weights"), backbones)
        requests = [
            one | {"backbone": backbone, "weights": file}
            for one, backbone, file in zip(each, backbones, files, strict=True)
        ]
    for one in requests:
        if (own := _own_model(one)) is None and "backbone" in one:
            find_backbone(str(one["backbone"]))
        for path in (own, _weights_file(one)):
            if path and not os.path.isfile(path):
                raise UserError(f"there is no file {path}")
    return requests


def _weights_file(chosen: dict[str, Any]) -> str | None:
    """The absolute path of the chosen weights file; None for words such as "imagenet"."""
    given = os.fspath(chosen.get("weights") or "")
    return os.path.abspath(at_home(given)) if given not in ("", "imagenet", "random") else None


def _joined(complete: list[Cached], requests: list[dict[str, Any]], sources: Sequence[Source]) -> Iterator[Cached]:
    """Join one spec of each requested backbone, in every combination."""
    fitting = [[one for one in complete if not _unfit(_spec(one), one.weights, options)] for options in requests]
    for parts in product(*fitting) if len(requests) > 1 else ():
        specs = [_spec(part) for part in parts]
        if len(set(specs)) == len(specs) and all(spec.pooling != "none" for spec in specs):
            extractor = JoinedExtractor(
                [cached_only(Resolved(_spec(one), one.weights), one.extractor.cache_dir) for one in parts]
            )
            yield Cached(extractor, extractor.run(sources))


def _spec(cached: Cached) -> FeatureSpec:
    (spec,) = cached.extractor.spec.parts
    return spec


def _unfit(spec: FeatureSpec, weights: Weights, chosen: dict[str, Any]) -> str:
    """The reason why a spec does not match the chosen options; "" if it matches."""
    if spec.tuned:
        return "decisions of a fine-tuned model"
    if spec.view != ORIGINAL_VIEW:
        return "augmented views have no line of their own"
    if spec.decoder != DECODER:
        former = ": `features` takes its rows over" if spec.decoder in DECODERS else ""
        return f"decoder {spec.decoder}, this version has {DECODER}{former}"
    own = _own_model(chosen)
    if own and (spec.backbone not in (OWN_MODEL, MODEL_FILE) or weights != Weights("file", own)):
        return f"backbone is not {own}"
    for name in FIELDS:
        value = chosen.get(name)
        if value is None or (own and name == "backbone"):
            continue
        if spec.backbone == MODEL_FILE and name in ("pooling", "preprocess", "resize"):
            same = agrees(spec, name, value)
        else:
            same = (parse_size(value) if name == "size" else value) == getattr(spec, name)
        if not same:
            return f"{name} is not {value}"
    return ""


def _own_model(chosen: dict[str, Any]) -> str | None:
    """The absolute path of the chosen `.keras` or model file."""
    backbone = os.fspath(chosen.get("backbone") or "")
    if is_model_file(backbone):
        return find_model(backbone).path
    return os.path.abspath(at_home(backbone)) if backbone.endswith(".keras") else None


def _weights_here(spec: FeatureSpec, requests: list[dict[str, Any]], cache_dir: str) -> Weights:
    """The weights of a spec if this machine has them, else `BLANK`. Nothing is downloaded."""
    table = open_table(cache_dir)
    for weights in (candidate for options in requests for candidate in _candidates(spec, options, cache_dir)):
        with contextlib.suppress(UserError):  # a file that cannot be read is none of these weights
            if identity(weights, table) == spec.weights:
                return weights
    return BLANK


def _candidates(spec: FeatureSpec, chosen: dict[str, Any], cache_dir: str) -> Iterator[Weights]:
    """Where the weights of a spec may be on this machine."""
    if spec.backbone in (OWN_MODEL, MODEL_FILE):
        if own := _own_model(chosen):
            yield Weights("file", own)
    elif row := BACKBONES.get(spec.backbone):
        yield pretrained_place(row, spec.size or 0)
        yield Weights("random", "")
        if given := _weights_file(chosen):
            yield Weights("file", given)
        yield from (Weights("file", one.path) for one in remembered(cache_dir) if one.weights == spec.weights)
