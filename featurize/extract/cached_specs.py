"""The specs of a cache that have the rows of all of some pictures, and these rows alone: nothing passes a network."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from cache.errors import UserError
from cache.spec import ORIGINAL_VIEW, OWN_MODEL, FeatureSpec
from cache.upkeep.spec_folders import stored_specs
from featurize.backbones.backbone_table import BACKBONES, find_backbone
from featurize.backbones.weights import BLANK, Weights, keras_folder, locate
from featurize.decoding.decode import DECODER, DECODERS
from featurize.extract.extractor import Extractor, RowsMissingError
from featurize.extract.hashing import Progress
from featurize.extract.joined_extractor import JoinedExtractor
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.outcome import Outcome
from featurize.extract.writable import open_table
from featurize.joined_options import backbones_of, options_of_each, share_weights
from featurize.pictures.sources import Source
from featurize.resolve import Resolved, identity, parse_size
from featurize.spec_options import SpecOptions

FIELDS = ("backbone", "layer", "pooling", "size", "resize", "preprocess", "precision", "stored")  # of a spec, to choose
ELSEWHERE = ("weights", "engine", "isolate")  # what a caller may say of a computation besides


def cached_only(resolved: Resolved, cache_dir: str) -> NetworkExtractor:
    """The extractor of the rows in the cache, and of no others: where rows are missing or damaged, it refuses."""
    return NetworkExtractor(resolved, cache_dir, when_missing="refuse")


@dataclass(frozen=True)
class Cached:
    """A spec whose rows of all pictures are there, as `outcome` says; a picture without one cannot be decoded.

    weights: where those of its network are on this machine, `BLANK` where that is not known.
    """

    extractor: Extractor
    outcome: Outcome
    weights: Weights = BLANK

    @property
    def features(self) -> str:
        """The name of the folder that its rows are in, of joined ones the names of all."""
        return " + ".join(part.folder for part in self.extractor.spec.parts)


@dataclass(frozen=True)
class LeftOut:
    """A spec of the cache that is not compared, and why."""

    features: str
    reason: str


def cached_specs(
    cache_dir: str, sources: Sequence[Source], chosen: SpecOptions, progress: Progress | None = None
) -> tuple[list[Cached], list[LeftOut]]:
    """The specs in `cache_dir` that have the rows of all `sources` that can be decoded, and the others.

    Specs that have other values than those `chosen` are left out. Where it names backbones that are joined ("a+b"),
    these come last, after each of them alone. `weights` is a place where the weights may be, which nobody needs but who
    trains layers of the network. Raises UserError for options that cached rows cannot have.
    """
    asked = _asked(chosen)
    found: list[Cached] = []
    left_out: list[LeftOut] = []
    for store in stored_specs(cache_dir):
        weights = _weights_here(store.spec, asked, cache_dir)
        try:
            reasons = [_unfit(store.spec, weights, one) for one in asked]
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
    return [*complete, *_joined(complete, asked, sources)], left_out


def with_views(cached: Cached, views: tuple[str, ...]) -> Cached | None:
    """The same spec with the rows of several views of each picture; None where the cache lacks some of them."""
    extractor = cached_only(Resolved(_spec(cached), cached.weights, views=views), cached.extractor.cache_dir)
    try:
        outcome = extractor.run(cached.outcome.sources)
    except RowsMissingError:
        return None
    whole = outcome.succeeded == cached.outcome.succeeded
    return Cached(extractor, outcome, cached.weights) if whole else None


def _asked(chosen: SpecOptions) -> list[dict[str, Any]]:
    """The options of each backbone that is to be joined; of one, or none that is named, those that are chosen."""
    for name, value in chosen.items():
        if name not in (*FIELDS, *ELSEWHERE):
            raise UserError(f"{name} {value!r}: rows of the pictures themselves are compared; leave the option out")
    asked: list[dict[str, Any]] = [dict(chosen)]
    if "backbone" in chosen and len(backbones := backbones_of(chosen)) > 1:
        each = options_of_each(chosen, len(backbones))
        places = share_weights(chosen.get("weights"), backbones)
        asked = [
            one | {"backbone": backbone, "weights": place}
            for one, backbone, place in zip(each, backbones, places, strict=True)
        ]
    for one in asked:
        if (own := _own_model(one)) is None and "backbone" in one:
            find_backbone(str(one["backbone"]))
        for path in (own, _weights_file(one)):
            if path and not os.path.isfile(path):
                raise UserError(f"there is no file {path}")
    return asked


def _weights_file(chosen: dict[str, Any]) -> str | None:
    """The absolute path of the file of weights that is asked for; words such as "imagenet" are none."""
    given = os.fspath(chosen.get("weights") or "")
    return os.path.abspath(os.path.expanduser(given)) if given not in ("", "imagenet", "random") else None


def _joined(complete: list[Cached], asked: list[dict[str, Any]], sources: Sequence[Source]) -> Iterator[Cached]:
    """Every way to join a spec of each backbone that is asked for, where several are."""
    fitting = [[one for one in complete if not _unfit(_spec(one), one.weights, options)] for options in asked]
    for parts in product(*fitting) if len(asked) > 1 else ():
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
    """Why the rows of a spec are not what is asked for, "" where they are."""
    if spec.tuned:
        return "decisions of a fine-tuned model"
    if spec.view != ORIGINAL_VIEW:
        return "renderings have no line of their own"
    if spec.decoder != DECODER:
        former = ": `features` takes its rows over" if spec.decoder in DECODERS else ""
        return f"decoder {spec.decoder}, this version has {DECODER}{former}"
    own = _own_model(chosen)
    if own and (spec.backbone != OWN_MODEL or weights != Weights("file", own)):
        return f"backbone is not {own}"
    for name in FIELDS:
        asked = chosen.get(name)
        if asked is None or (own and name == "backbone"):
            continue
        if (parse_size(asked) if name == "size" else asked) != getattr(spec, name):
            return f"{name} is not {asked}"
    return ""


def _own_model(chosen: dict[str, Any]) -> str | None:
    """The absolute path of the model of one's own that is asked for."""
    backbone = os.fspath(chosen.get("backbone") or "")
    return os.path.abspath(os.path.expanduser(backbone)) if backbone.endswith(".keras") else None


def _weights_here(spec: FeatureSpec, asked: list[dict[str, Any]], cache_dir: str) -> Weights:
    """The weights of a spec as far as they are on this machine, else `BLANK`; nothing is downloaded."""
    table = open_table(cache_dir)
    for weights in (place for chosen in asked for place in _places(spec, chosen)):
        with contextlib.suppress(UserError):  # a file that cannot be read: these are not the weights
            if identity(weights, table) == spec.weights:
                return weights
    return BLANK


def _places(spec: FeatureSpec, chosen: dict[str, Any]) -> Iterator[Weights]:
    """Where the weights of a spec may be, without asking the network."""
    if spec.backbone == OWN_MODEL:
        if own := _own_model(chosen):
            yield Weights("file", own)
    elif (row := BACKBONES.get(spec.backbone)) and row.packaged:
        yield locate(row, spec.size or 0, None)
    elif row:
        yield Weights("random", "")
        yield Weights("imagenet", os.path.join(keras_folder(), row.weights_name(spec.size or 0)))
        if given := _weights_file(chosen):
            yield Weights("file", given)
