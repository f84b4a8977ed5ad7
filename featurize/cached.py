"""The specs of a cache that have the rows of all of some pictures, and these rows alone: nothing passes a network."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from cache.errors import UserError
from cache.folders import stored_specs
from cache.spec import ORIGINAL_VIEW, OWN_MODEL, FeatureSpec
from featurize.backbones import BACKBONES
from featurize.decode import DECODER
from featurize.extraction import Extraction
from featurize.extractor import RowsMissingError
from featurize.hashing import Progress
from featurize.read_only import ReadOnlyExtractor, open_table
from featurize.resolve import Resolved, identity, parse_size
from featurize.sources import Source
from featurize.weights import BLANK, Weights, keras_folder, locate

FIELDS = ("backbone", "layer", "pooling", "size", "resize", "preprocess", "precision", "stored")  # of a spec, to choose
ELSEWHERE = ("weights", "engine", "isolate")  # what a caller may say of a computation besides


class CachedExtractor(ReadOnlyExtractor):
    """The rows that are in the cache, and no others. Where rows are missing or damaged, that is an error."""

    def complete(self, sources: Sequence[Source], progress: Progress | None = None) -> NoReturn:  # noqa: ARG002
        """Raises UserError: what is missing would have to pass the network."""
        raise UserError(f"rows in {self.store.folder} are damaged or gone: `features` computes them again")

    def refusal(self, missing: int, images: int) -> str:
        """Why a spec cannot be compared."""
        return f"{missing} of {images} pictures have no row"


@dataclass(frozen=True)
class Cached:
    """A spec whose rows of all pictures are there, as `extraction` says; a picture without one cannot be decoded.

    weights: where those of its network are on this machine, `BLANK` where that is not known.
    """

    extractor: CachedExtractor
    extraction: Extraction
    weights: Weights


@dataclass(frozen=True)
class LeftOut:
    """A spec of the cache that is not compared, and why."""

    features: str  # the name of its folder
    reason: str


def cached_specs(
    cache_dir: str, sources: Sequence[Source], chosen: dict[str, Any], progress: Progress | None = None
) -> tuple[list[Cached], list[LeftOut]]:
    """The specs in `cache_dir` that have the rows of all `sources` that can be decoded, and the others.

    chosen: options of `featurize.resolve.resolve`; specs that have other values are left out, and `weights` is a place
    where the weights may be, which nobody needs but who trains layers of the network. Raises UserError for options that
    cached rows cannot have.
    """
    for name in chosen.keys() - {*FIELDS, *ELSEWHERE}:
        raise UserError(f"{name} {chosen[name]!r}: rows of the pictures themselves are compared; leave the option out")
    found: list[Cached] = []
    left_out: list[LeftOut] = []
    for store in stored_specs(cache_dir):
        weights = _weights_here(store.spec, chosen, cache_dir)
        try:
            if not (reason := _unfit(store.spec, weights, chosen)):
                found.append(_cached(store.spec, cache_dir, sources, weights, progress))
        except RowsMissingError as error:
            reason = str(error)
        if reason:
            left_out.append(LeftOut(store.spec.folder, reason))
    most = max((len(one.extraction.succeeded) for one in found), default=0)
    complete = []
    for one in found:
        if lacking := most - len(
            one.extraction.succeeded
        ):  # a picture whose row others have cannot be decoded any more
            left_out.append(LeftOut(one.extractor.spec.folder, one.extractor.refusal(lacking, len(sources))))
        else:
            complete.append(one)
    return complete, left_out


def with_views(cached: Cached, views: tuple[str, ...]) -> Cached | None:
    """The same spec with the rows of several views of each picture; None where the cache lacks some of them."""
    resolved = Resolved(cached.extractor.spec, cached.weights, views=views)
    extractor = CachedExtractor(resolved, cached.extractor.cache_dir)
    try:
        extraction = extractor.run(cached.extraction.sources)
    except RowsMissingError:
        return None
    whole = extraction.succeeded == cached.extraction.succeeded
    return Cached(extractor, extraction, cached.weights) if whole else None


def _cached(
    spec: FeatureSpec, cache_dir: str, sources: Sequence[Source], weights: Weights, progress: Progress | None
) -> Cached:
    extractor = CachedExtractor(Resolved(spec, weights), cache_dir)
    return Cached(extractor, extractor.run(sources, progress), weights)


def _unfit(spec: FeatureSpec, weights: Weights, chosen: dict[str, Any]) -> str:
    """Why the rows of a spec are not what is asked for, "" where they are."""
    if spec.tuned:
        return "decisions of a fine-tuned model"
    if spec.view != ORIGINAL_VIEW:
        return "renderings have no line of their own"
    if spec.decoder != DECODER:
        return f"decoder {spec.decoder}, this version has {DECODER}"
    own = _own_model(chosen)
    if own and (spec.backbone != OWN_MODEL or weights is BLANK):
        return f"backbone is not {own}"
    for name in FIELDS:
        asked = chosen.get(name)
        if asked is None or (own and name == "backbone"):
            continue
        if (parse_size(asked) if name == "size" else asked) != getattr(spec, name):
            return f"{name} is not {asked}"
    return ""


def _own_model(chosen: dict[str, Any]) -> str | None:
    backbone = os.fspath(chosen.get("backbone") or "")
    return backbone if backbone.endswith(".keras") else None


def _weights_here(spec: FeatureSpec, chosen: dict[str, Any], cache_dir: str) -> Weights:
    """The weights of a spec as far as they are on this machine, else `BLANK`; nothing is downloaded."""
    table = open_table(cache_dir)
    for weights in _places(spec, chosen):
        with contextlib.suppress(UserError):  # a file that cannot be read: these are not the weights
            if identity(weights, table) == spec.weights:
                return weights
    return BLANK


def _places(spec: FeatureSpec, chosen: dict[str, Any]) -> Iterator[Weights]:
    """Where the weights of a spec may be, without asking the network."""
    if spec.backbone == OWN_MODEL:
        if own := _own_model(chosen):
            yield Weights("file", os.path.abspath(own))
    elif (row := BACKBONES.get(spec.backbone)) and row.packaged:
        yield locate(row, spec.size or 0, None)
    elif row:
        yield Weights("random", "")
        yield Weights("imagenet", os.path.join(keras_folder(), row.weights_name(spec.size or 0)))
        if given := chosen.get("weights"):
            yield locate(row, spec.size or 0, given)
