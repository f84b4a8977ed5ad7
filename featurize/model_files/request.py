"""From the options of a request for a model file to the fields of its spec. No engine is imported."""

from typing import Any

from cache.errors import UserError, log
from cache.row_key import MODEL_FILE, FeatureSpec
from featurize.backbones.weights import Weights
from featurize.model_files.find_files import ModelFile, find_model, read_outline
from featurize.model_files.find_recipe import contradicts, find_recipe, prefix_tokens, words_of_option
from featurize.model_files.outline import Outline, fixed_size, image_input
from featurize.model_files.recipe import Numbers, Recipe
from featurize.spec_options import POOLINGS

# cls: the first token. mean: of the tokens, those left out that come before the ones of patches.
MODEL_POOLINGS = (*POOLINGS, "cls", "mean")


def fields_of_request(
    backbone: str,
    pooling: str,
    layer: str | None,
    size: tuple[int, int] | None,
    weights: str | None,
    preprocess: str | None,
    resize: str,
) -> tuple[dict[str, Any], Weights]:
    """The fields of the spec that a model file decides, and where it is. The recipe is announced.

    Raises UserError for a file that is no model, or hostile, for preprocessing that is not known, and for an output
    that is not certain.
    """
    if weights is not None:
        raise UserError(f"weights {weights!r}: {backbone} brings its own; leave the option out")
    model = find_model(backbone)
    outline = read_outline(model.path)
    recipe = find_recipe(model, fixed_size(image_input(model.name, outline).shape), size, preprocess, resize)
    fields: dict[str, Any] = {
        "backbone": MODEL_FILE,
        "layer": _output(model, outline, layer),
        "pooling": _pooling(model, pooling),
        "size": recipe.size,
        "resize": recipe.resize,
        "preprocess": recipe.numbers.text,
    }
    log.info("%s: %s; output %s, pooling %s", model.name, recipe, fields["layer"], _in_words(fields["pooling"]))
    return fields, Weights("file", model.path)


def refuse_tensorflow(name: str, engine: str, precision: str) -> None:
    """Raise UserError for options of a model file that only TensorFlow has."""
    if engine == "tensorflow" or precision == "mixed_bfloat16":
        option = "--engine tensorflow" if engine == "tensorflow" else f"--precision {precision}"
        raise UserError(f"backbone {name} is computed by OpenVINO alone: leave {option} out")


def announce_reopened(spec: FeatureSpec) -> None:
    """Say in one line what a trained model does with pictures.

    Raises UserError where a record names a spec that no model file has.
    """
    if spec.size is None or not spec.layer or asked_pooling(spec.pooling) not in MODEL_POOLINGS:
        raise UserError(f"the record describes no model file: {spec.to_json()!s:.200}")
    recipe = Recipe(spec.size, spec.resize, Numbers.of(spec.preprocess), "as trained")
    log.info("model file: %s; output %s, pooling %s", recipe, spec.layer, _in_words(spec.pooling))


def _output(model: ModelFile, outline: Outline, layer: str | None) -> str:
    if layer:
        return layer
    if len(outline.outputs) > 1:
        raise UserError(
            f"backbone {model.name} has {len(outline.outputs)} outputs, name one with LAYER= (--layer): "
            f"{', '.join(map(str, outline.outputs))}"
        )
    return outline.outputs[0].name


def _pooling(model: ModelFile, pooling: str) -> str:
    """The field `pooling`: mean[5:] leaves the first five tokens out."""
    if pooling != "mean":
        return pooling
    return f"mean[{prefix_tokens(model) or 0}:]"


def _in_words(pooling: str) -> str:
    if pooling == "mean[0:]":
        return "mean of all tokens"
    return f"mean of tokens but the first {pooling[5:-2]}" if pooling.startswith("mean[") else pooling


def asked_pooling(pooling: str) -> str:
    """The option that gave the field `pooling` of a spec."""
    return pooling.partition("[")[0]


def agrees(spec: FeatureSpec, option: str, given: str) -> bool:
    """Whether an option, one of pooling, preprocess and resize, is how a spec of a model file was asked for.

    Raises UserError for preprocessing that cannot be read.
    """
    if option == "pooling":
        return given == asked_pooling(spec.pooling)
    if option == "preprocess":
        return not contradicts(words_of_option(given), spec.size or (0, 0), spec.resize, Numbers.of(spec.preprocess))
    return given in (spec.resize, "antialias")
