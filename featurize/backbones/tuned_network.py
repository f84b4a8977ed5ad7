"""A fine-tuned network as one graph: a backbone up to a cut, then its tail and hyperplanes with weights of their own.

pixels -> lower part -> map at the cut -> tail -> pooled features -> rows of length 1 -> decisions
"""

from typing import Any

from featurize.backbones.network import build_network
from featurize.backbones.tail import Tail
from featurize.engines.keras_import import import_keras
from featurize.resolve import Resolved


def build_tuned(whole: Resolved) -> Any:
    """The network of `Resolved.tuned_by`: a frozen keras.Model, pixels (n, h, w, 3) 0..255 -> decisions (n, k).

    Raises UserError as `build_network` and `Tuned.build_tail`.
    """
    spec, tuned = whole.spec, whole.tuned
    assert tuned is not None
    lower = build_network(
        whole.network, whole.weights, spec.size, spec.layer or None, "none", spec.preprocess, spec.precision
    )
    keras = import_keras()
    features = tuned.build_tail(Tail.of(spec, whole.weights))(lower.output, training=False)
    planes = keras.layers.Dense(len(tuned.bias), kernel_initializer="zeros", name="decisions")
    network = keras.Model(lower.input, planes(keras.layers.UnitNormalization()(features)), name="tuned")
    planes.set_weights([tuned.kernel, tuned.bias])
    network.trainable = False
    return network
