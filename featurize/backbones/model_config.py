"""Read input size and default layer of a saved Keras model from its config.json, without TensorFlow."""

import json
import zipfile
import zlib
from typing import Any

# What zipfile and json raise for a file that is none, and a config of another shape.
NO_CONFIG = (
    OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, EOFError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
LARGEST_CONFIG = 64 * 1024**2  # bytes; that of NASNetLarge has 1

# Layers whose output has as many axes as their input; of other layers at the end of a model nothing is said.
SAME_AXES = frozenset(
    ("Activation", "Add", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Dense", "DepthwiseConv2D",
     "Dropout", "ELU", "LayerNormalization", "LeakyReLU", "MaxPooling2D", "Multiply", "PReLU", "ReLU",
     "SeparableConv2D", "Softmax", "SpatialDropout2D")
)  # fmt: skip


def native_size(path: str) -> tuple[int, int] | None:
    """(height, width) in pixels that the input of a saved model is fixed to, None where it is not."""
    try:
        _, height, width, _ = _config(path)["config"]["layers"][0]["config"]["batch_shape"]
    except NO_CONFIG:
        return None  # no model as Keras saves it: to build the network will tell more
    return (height, width) if height and width else None


def default_layer(path: str) -> str | None:
    """The last layer with a feature map, which is taken unless another one is named; None where it cannot be told.

    Told where the way back from the model's only output to it has no branches: no other layer is then as far from the
    output as one of these, so Keras has them in this order.
    """
    try:
        layers, name = _with_inputs(_config(path))
        known: int | None = None  # axes of the output of `name`, as the layer after it has it
        while True:
            layer, inputs = layers.pop(name)  # once each, whatever the file says
            if layer["module"] != "keras.layers" or layer["class_name"] == "InputLayer":
                return None  # an operation is no layer, and a layer of somebody's own may be anything
            if known is None:
                same = layer["class_name"] in SAME_AXES
                known = len(inputs[0][1]) if same else 2 if _is_flat(layer) else None
            if known is None or known == 4:
                return name if known else None
            if len(inputs) != 1:
                return None
            name, known = inputs[0][0], len(inputs[0][1])
    except NO_CONFIG:
        return None


def _with_inputs(model: dict[str, Any]) -> tuple[dict[str, tuple[Any, list[tuple[str, list[Any]]]]], str]:
    """(layer name -> the layer and the (name, shape) of what it takes, the name of the layer that gives the output)."""
    layers = model["config"]["layers"]
    if model["class_name"] == "Sequential":
        names = [layer["config"]["name"] for layer in layers]
        shapes = [layer.get("build_config", {}).get("input_shape") for layer in layers[1:]]
        taken = [[], *([pair] if pair[1] else [] for pair in zip(names, shapes, strict=False))]
        return dict(zip(names, zip(layers, taken, strict=True), strict=True)), names[-1]
    output = model["config"]["output_layers"]
    (name, _, _) = output[0] if isinstance(output[0], list) else output
    if isinstance(output[0], list) and len(output) > 1:
        raise ValueError("several outputs")
    return {layer["name"]: (layer, _taken(layer["inbound_nodes"])) for layer in layers}, name


def _taken(nodes: list[Any]) -> list[tuple[str, list[Any]]]:
    """The (layer, shape) of each tensor that a layer takes. Raises ValueError for one that is used several times."""
    found: list[tuple[str, list[Any]]] = []

    def collect(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                collect(item)
        elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            found.append((value["config"]["keras_history"][0], value["config"]["shape"]))
        elif isinstance(value, dict):
            collect([*value.values()])

    if len(nodes) > 1:
        raise ValueError("a layer that is used several times")
    collect(nodes)
    return found


def _is_flat(layer: dict[str, Any]) -> bool:
    pooling = layer["class_name"] in ("GlobalAveragePooling2D", "GlobalMaxPooling2D")
    return layer["class_name"] == "Flatten" or (pooling and not layer["config"].get("keepdims"))


def _config(path: str) -> Any:
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("config.json").file_size > LARGEST_CONFIG:
            raise ValueError("a config.json of that size")
        return json.loads(archive.read("config.json"))
