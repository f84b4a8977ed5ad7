"""From a person's options to the exact spec, without TensorFlow.

`resolve` fills in defaults, finds the weights and takes their digest: two requests for the same computation have the
same fingerprint, however they are worded.
"""

import logging
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cache.arguments import at_home
from cache.digest_table import DigestTable
from cache.errors import AT_ONCE, UserError
from cache.row_key import MODEL_FILE, ORIGINAL_VIEW, OWN_MODEL, PRECISIONS, STORED, FeatureSpec, content_digest
from featurize.backbones.backbone_table import find_backbone, preprocess_names
from featurize.backbones.model_config import default_layer, native_size
from featurize.backbones.weights import Weights, locate, random_identity
from featurize.decoding.crops import FILTERS
from featurize.decoding.decode import DECODER, RESIZES
from featurize.model_files.find_files import SUFFIXES, is_model_file, model_identity
from featurize.model_files.request import MODEL_POOLINGS, fields_of_request, refuse_tensorflow
from featurize.pictures.recipes import FORMER_VIEWS, views_with_original
from featurize.remembered_weights import remembered
from featurize.spec_options import DEFAULT_BACKBONE, DEFAULT_RECIPE, ENGINES, LARGEST_SIDE, POOLINGS

if TYPE_CHECKING:
    from featurize.backbones.tail import Tuned
    from featurize.engines.carried import CarriedGraph

log = logging.getLogger("bottleneck")

SMALL = 4 * 10**6  # bytes that are hashed in a few milliseconds


@dataclass(frozen=True)
class Resolved:
    """A spec, where its weights are on this machine, and its engine, one of ENGINES.

    `views` names the views of each picture that have a row; `spec` is that of the picture itself. `isolate`: pictures
    are decoded in processes of their own; the network is the same. `tuned`: the weights that the spec names by their
    digest, see `featurize.backbones.tail`. `graph`: the converted network, where the model brings it along; no weights
    are needed then.
    """

    spec: FeatureSpec
    weights: Weights
    engine: str = "auto"
    isolate: bool = field(default=False, compare=False)
    views: tuple[str, ...] = (ORIGINAL_VIEW,)
    tuned: "Tuned | None" = field(default=None, compare=False)
    graph: "CarriedGraph | None" = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.spec.view != ORIGINAL_VIEW:
            raise ValueError(f"a spec of view {self.spec.view}: views are named beside the spec")

    @property
    def network(self) -> str:
        """The argument of `build_network`: a backbone's name, or the path of a saved model, which holds its weights."""
        return self.weights.path if self.spec.backbone in (OWN_MODEL, MODEL_FILE) else self.spec.backbone

    @property
    def network_fields(self) -> tuple[object, ...]:
        """The fields that decide the network; specs that differ in others, such as the resizing, share a network."""
        spec = self.spec
        fields = (spec.backbone, spec.weights, spec.layer, spec.pooling, spec.size, spec.preprocess)
        return (*fields, spec.precision, spec.tuned, self.graph and self.graph.key)

    def tuned_by(self, tuned: "Tuned") -> "Resolved":
        """The computation from pixels to decisions, where this one gives the maps that `tuned` was trained on."""
        return replace(self, spec=replace(self.spec, tuned=tuned.digest, stored="float32"), tuned=tuned)


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
    precision: str = "float32",
    stored: str = "float32",
    engine: str = "auto",
    isolate: bool = False,
    views: int = 1,
    recipe: str = DEFAULT_RECIPE,
) -> Resolved:
    """The spec of a request. `size`: side or (height, width) in pixels, "160" and "160x120" (height first) as text.

    `backbone`: a name of the table, a `.keras` file, or a model file or its folder, see `featurize.model_files`, for
    which `preprocess` is such as "scale=1/255 mean=0.5 std=0.5 crop=0.875", where no file beside it says so.

    `precision`: float32; bf16, faster on processors that have it, by OpenVINO; mixed_bfloat16, faster on a GPU, by
    TensorFlow. Each gives rows of its own. `stored`: float16 takes half the disk of float32, and keeps three digits.
    `isolate`: decode in processes of their own; the rows are the same. `views`: how many rows a picture has, of itself
    and of views augmented by `recipe`, see `featurize.pictures.recipes`.

    Raises UserError for an unknown value, with the valid ones, and for weights that cannot be had.
    """
    backbone = os.fspath(backbone)
    if "+" in backbone and not os.path.exists(backbone):  # `featurize.joined_options.resolve_parts` takes several
        raise UserError(f"backbone {backbone!r}: one is wanted here, not several joined")
    of_file = is_model_file(backbone)
    _one_of("pooling", pooling, MODEL_POOLINGS if of_file else POOLINGS)
    _one_of("resize", resize, (*RESIZES, *FILTERS) if of_file else RESIZES)
    _one_of("engine", engine, ENGINES)
    _one_of("precision", precision, PRECISIONS)
    _one_of("stored", stored, STORED)
    names = check_views(views_with_original(recipe, views), resize)
    if of_file:
        refuse_tensorflow(backbone, engine, precision)
        fields, found = fields_of_request(backbone, pooling, layer, parse_size(size), weights, preprocess, resize)
    elif backbone.endswith(".keras"):
        fields, found = _own_model(backbone, layer, parse_size(size), weights, preprocess)
    else:
        given = _given_before(backbone, table) if weights is None else weights
        fields, found = _named_backbone(backbone, layer, parse_size(size), given, preprocess)
    more = {"weights": identity(found, table), "decoder": DECODER, "precision": precision, "stored": stored}
    spec = FeatureSpec(**({"pooling": pooling, "resize": resize} | fields | more))
    if layer and not spec.layer:
        _say_former(table, [replace(spec, layer=layer)], f"layer {layer}, which is the last one")
    _say_former(
        table,
        [replace(spec, view=FORMER_VIEWS[view]) for view in names if view in FORMER_VIEWS],
        "the mirror image, by recipe flip",
    )
    return Resolved(spec, found, engine, isolate, names)


def _given_before(backbone: str, table: DigestTable) -> str | None:
    """The weights file that was last given for this backbone and this cache, which is announced.

    None where there is none, or it is gone, as is announced too. Raises UserError where it has changed.
    """
    given = (one for one in remembered(os.path.dirname(table.path)) if one.backbone == backbone)
    if (last := next(given, None)) is None:
        return None
    if not os.path.isfile(last.path):
        log.warning(
            "weights %s, which were given for this cache, are gone: taking those of ImageNet", last.path, extra=AT_ONCE
        )
        return None
    if identity(Weights("file", last.path), table) != last.weights:
        raise UserError(
            f"weights {last.path} have changed since they were given for this cache: "
            "give them again with --weights (weights=), or --weights imagenet"
        )
    log.info("weights: %s, as given before for this cache", last.path)
    return last.path


def _named_backbone(
    backbone: str, layer: str | None, size: tuple[int, int] | None, weights: str | None, preprocess: str | None
) -> tuple[dict[str, Any], Weights]:
    """The fields of the spec that a backbone of the table decides, and its weights."""
    row = find_backbone(backbone)
    size = size or (row.size, row.size)
    row.check_size(size)
    if preprocess not in (None, row.module):
        raise UserError(f"preprocess {preprocess!r}: {backbone} has its own ({row.module}); leave the option out")
    found = locate(row, size, weights)
    return {"backbone": backbone, "layer": layer or row.last_layer, "size": size, "preprocess": row.module}, found


def _own_model(
    backbone: str, layer: str | None, size: tuple[int, int] | None, weights: str | None, preprocess: str | None
) -> tuple[dict[str, Any], Weights]:
    """As `_named_backbone`, of a `.keras` file."""
    if weights is not None:
        raise UserError(f"weights {weights!r}: {backbone} brings its own; leave the option out")
    path = os.path.abspath(at_home(backbone))  # goes into records of models, to be found from elsewhere
    if not os.path.isfile(path):
        raise UserError(f"backbone {path}: no such file; give a model saved with model.save('name.keras')")
    if preprocess not in (None, "none", *preprocess_names()):
        raise UserError(f"preprocess {preprocess!r}: choose one of none, {', '.join(preprocess_names())}")
    return {
        "backbone": OWN_MODEL,
        "layer": "" if not layer or layer == default_layer(path) else layer,
        "size": size or native_size(path),
        "preprocess": preprocess or "none",
    }, Weights("file", path)


def _say_former(table: DigestTable, former: list[FeatureSpec], what: str) -> None:
    """Announce rows of the same computation that an earlier version stored under another key."""
    for spec in former:
        folder = os.path.join(os.path.dirname(table.path), spec.folder)
        if os.path.isdir(folder):
            log.info("rows of %s are in %s under a former key: they are computed again, once", what, folder)


def identity(weights: Weights, table: DigestTable) -> str:
    """How a spec names weights: the SHA-256 of their file, or what decides random ones.

    Raises UserError where the file cannot be read.
    """
    if weights.kind == "random":
        return random_identity()
    if weights.kind == "packaged" and os.path.getsize(weights.path) < SMALL:  # not worth a line in the table of digests
        with open(weights.path, "rb") as file:
            return "sha256:" + content_digest(file.read()).hex()
    advice = "say where they are with --weights (weights=)"
    if os.path.exists(weights.path) and not os.path.isfile(weights.path):  # a record may name /dev/zero, or a FIFO
        raise UserError(f"weights {weights.path} are not a regular file: {advice}")
    try:
        if weights.path.lower().endswith(SUFFIXES):
            return model_identity(weights.path, table)
        return "sha256:" + table.of_file(weights.path).hex()
    except OSError as error:
        raise UserError(f"weights {weights.path} cannot be read ({error.strerror}): {advice}") from None


def parse_size(size: int | str | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) in pixels of 160, "160", "160x120" or (160, 120); None stays None.

    Raises UserError for anything else, and for sides that no network can be run at.
    """
    if size is None:
        return None
    text = "x".join(map(str, size)) if isinstance(size, tuple | list) else str(size)
    sides = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip())
    height, width = (int(sides[1]), int(sides[2] or sides[1])) if sides else (0, 0)
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise UserError(
            f"size {size!r}: give a side in pixels such as 224, or HEIGHTxWIDTH such as 160x240, up to {LARGEST_SIDE}"
        )
    return height, width


def check_views(views: tuple[str, ...], resize: str) -> tuple[str, ...]:
    """`views`; raises UserError for several of them with a way of resizing that knows none."""
    if len(views) > 1 and resize == "bilinear":
        raise UserError("resize bilinear knows no views: take antialias or nearest, or one view, the picture itself")
    return views


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UserError(f"{name} {value!r}: choose one of {', '.join(valid)}")
