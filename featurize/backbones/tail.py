"""The layers of a backbone above a cut: what fine-tuning trains, while the layers below it stay as they are.

pixels -> lower part, frozen -> map at the cut, cached -> tail -> pooled features
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.row_key import MODEL_FILE, OWN_MODEL, FeatureSpec
from featurize.backbones.weights import BLANK, Weights
from featurize.engines.engine import check_tensorflow
from featurize.engines.keras_import import import_keras
from featurize.machine.parallel import in_order

AT_ONCE = 64  # maps that pass a tail together where nothing is learnt
IN_A_THREAD = AT_ONCE // 2  # of two


@dataclass(frozen=True)
class Tail:
    """What decides the tail of a backbone: `network` and `weights` as for `featurize.backbones.network.build_tail`.

    size: (height, width) of the pixels in pixels, None for an own model's. layer: the cut. pooling: avg, max,
    flatten or none, of the last feature map.
    """

    network: str
    weights: Weights
    size: tuple[int, int] | None
    layer: str
    pooling: str = "avg"

    @classmethod
    def of(cls, spec: FeatureSpec, weights: Weights) -> "Tail":
        """The tail above the layer of `spec`, whose rows are maps, with the backbone's own `weights`."""
        network = weights.path if spec.backbone in (OWN_MODEL, MODEL_FILE) else spec.backbone
        return cls(network, weights, spec.size, spec.layer)

    def build(self) -> Any:
        """A frozen keras.Model from maps (n, h, w, c) at the cut to features (n, d), float32.

        Raises UserError for a layer that is no place to cut, and for weights that do not fit.
        """
        from featurize.backbones.network import build_tail

        tail = build_tail(self.network, self.weights, self.size, self.layer or None, self.pooling)
        if None in tail.input_shape[1:]:
            raise UserError(f"layer {self.layer} of {self.network} has no fixed shape, but {tail.input_shape[1:]}")
        return tail


@dataclass(frozen=True, eq=False)
class Tuned:
    """What replaces a network above a cut; all arrays are float32.

    tail: (p,), all weights of the tail as `weights_vector` has them. kernel (d, k), bias (k,):
    the hyperplanes of k classes; decisions are rows of length 1 @ kernel + bias.
    """

    tail: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` of the arrays and their shapes: the field `tuned` of a spec."""
        digest = hashlib.sha256()
        for array in (self.tail, self.kernel, self.bias):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array, "<f4").data)
        return f"sha256:{digest.hexdigest()}"

    def build_tail(self, place: Tail) -> Any:
        """The tail at that place with these weights: a frozen keras.Model, maps (n, h, w, c) -> features (n, ..., d).

        The backbone's own weights need not be there. Raises UserError where they do not fit, and as `Tail.build`.
        """
        own_model = place.network.endswith(".keras")  # with its weights in it
        tail = (place if own_model else replace(place, weights=BLANK)).build()
        try:
            set_weights_vector(tail, self.tail)
        except ValueError as error:
            raise UserError(f"a model that does not fit {place.network} above {place.layer} ({error})") from error
        if tail.output_shape[-1:] != self.kernel.shape[:1]:
            raise UserError(
                f"a model for {len(self.kernel)} features, {place.network} has {tail.output_shape[-1]}: train it again"
            )
        return tail

    def build_network(self, spec: FeatureSpec, weights: Weights) -> Any:
        """The whole network: a frozen keras.Model, pixels (n, h, w, 3) 0..255 -> decisions (n, k).

        `spec` and `weights` are those of the maps that the tail was trained on. Raises UserError as `build_tail`, and
        as `featurize.backbones.network.build_network`.
        """
        from featurize.backbones.network import build_network

        keras = import_keras()
        place = Tail.of(spec, weights)
        lower = build_network(
            place.network, weights, spec.size, spec.layer or None, "none", spec.preprocess, spec.precision
        )
        features = self.build_tail(place)(lower.output, training=False)
        planes = keras.layers.Dense(len(self.bias), kernel_initializer="zeros", name="decisions")
        network = keras.Model(lower.input, planes(keras.layers.UnitNormalization()(features)), name="tuned")
        planes.set_weights([self.kernel, self.bias])
        network.trainable = False
        return network


def pooled_features(tail: Any, maps: np.ndarray) -> np.ndarray:
    """What `tail`, a model of `Tail.build`, makes of maps (n, h, w, c): features (n, d) float32."""
    check_tensorflow()  # `tail` may have been built before a fork
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, *maps.shape[1:]), tf.float32)])
    def features(some: Any) -> Any:
        return tail(some, training=False)

    def of_part(start: int) -> np.ndarray:
        part: np.ndarray = features(tf.constant(maps[start : start + IN_A_THREAD].astype(np.float32))).numpy()
        return part

    features.get_concrete_function()  # before the threads, each of which would trace it
    return np.concatenate([*in_order(of_part, range(0, len(maps), IN_A_THREAD), ahead=1, threads=2)])


def weights_vector(tail: Any) -> np.ndarray:
    """All weights of a keras.Model as one vector (p,) float32, in the order of its `weights`."""
    arrays: Sequence[np.ndarray] = tail.get_weights()
    return np.concatenate([np.ravel(array).astype(np.float32) for array in arrays]) if arrays else np.empty(0, "f")


def set_weights_vector(tail: Any, vector: np.ndarray) -> None:
    """The inverse of `weights_vector`. Raises ValueError for a vector of another length."""
    sizes = [int(np.prod(variable.shape)) for variable in tail.weights]
    if vector.shape != (sum(sizes),):
        raise ValueError(f"a vector of shape {vector.shape}, the tail has {sum(sizes)} weights")
    parts = np.split(vector, np.cumsum(sizes))[:-1]
    tail.set_weights([part.reshape(v.shape) for part, v in zip(parts, tail.weights, strict=True)])
