"""A tail that is quick to train computes and learns what the Keras layers would, on real networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC

from cache.digest_table import DigestTable
from classify.heads.finetune.adam import Adam
from classify.heads.finetune.quick_tail import COLUMNS, depthwise, quick_tail
from featurize.backbones.tail import Tail
from featurize.engines.keras_import import import_keras
from featurize.machine.processor import has_bf16_matrices
from featurize.resolve import resolve

NETWORKS = {
    "kernels of 5x5, also with a stride": {
        "backbone": "efficientnet_lite0", "weights": "random", "size": 64, "layer": "block4c_add"
    },
    "convolutions of 3x3, with pooling": {
        "backbone": "resnet50", "weights": "random", "size": 32, "layer": "conv5_block2_out"
    },
    "nano": SPEC | {"layer": "down8"},
}  # fmt: skip


def random_tail(name: str, folder: Path) -> Any:
    """A tail that learns, with statistics, scales and biases unlike those of a new network."""
    resolved = resolve(DigestTable(str(folder)), **NETWORKS[name])
    tail = Tail.of(resolved.spec, resolved.weights).build()
    tail.trainable = True
    return with_random_statistics(tail)


def with_random_statistics(network: Any) -> Any:
    random = np.random.default_rng(0)
    for variable in network.weights:
        if len(variable.shape) == 1:
            variable.assign(variable.numpy() + random.uniform(0.1, 0.5, variable.shape))
    return network


def own_network() -> Any:
    """Convolutions that can be replaced, and some that cannot, each in a way of its own."""
    keras = import_keras()
    layers = keras.layers
    maps = keras.Input((11, 12, 8))
    x = layers.Conv2D(16, 1, activation="relu")(maps)
    x = layers.BatchNormalization()(x)  # after the activation: no part of the kernel
    x = layers.DepthwiseConv2D(7, strides=2, padding="same", use_bias=True, depth_multiplier=2)(x)
    x = layers.BatchNormalization(scale=False)(x)
    y = layers.Conv2D(32, 3, padding="same", groups=4)(x)
    y = layers.BatchNormalization(center=False)(y)
    y = layers.Conv2D(32, 3, padding="same", dilation_rate=2)(y)
    shared = layers.Conv2D(32, (3, 1), padding="same", use_bias=False)
    twice = layers.BatchNormalization()
    x = layers.Add()([twice(shared(x)), twice(shared(y))])
    x = layers.Concatenate()([x, layers.ReLU()(x)])
    x = layers.BatchNormalization()(layers.Conv2D(8, 1)(x), training=True)  # of batches, whatever the mode
    network = keras.Model(maps, layers.GlobalAveragePooling2D()(x))
    return with_random_statistics(network)


def learnt_from(network: Any, variables: list[Any], maps: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Features of the maps, and the gradients of a loss on them."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        features = network(maps, training=False)
        loss = tf.reduce_sum(tf.sin(features))
    return features.numpy(), [gradient.numpy() for gradient in tape.gradient(loss, variables)]


def maps_for(network: Any) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(5, *network.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize("name", [*NETWORKS, "an own one"])
def test_features_and_gradients_are_those_of_the_layers(name: str, tmp_path: Path) -> None:
    tail = own_network() if name == "an own one" else random_tail(name, tmp_path)
    variables = [variable.value for variable in tail.trainable_variables]
    maps = maps_for(tail)
    features, gradients = learnt_from(tail, variables, maps)
    quick, in_float32 = learnt_from(quick_tail(tail, "float32"), variables, maps)
    np.testing.assert_allclose(quick, features, rtol=1e-3, atol=1e-4 * np.abs(features).max())
    for variable, found, expected in zip(variables, in_float32, gradients, strict=True):
        # Not each number: by rounding, a ReLU may cut off an activation here and not there.
        assert np.linalg.norm(found - expected) <= 1e-2 * np.linalg.norm(expected), variable.name
    _, in_bf16 = learnt_from(quick_tail(tail, "bf16"), variables, maps)
    found, expected = (np.concatenate([np.ravel(each) for each in some]) for some in (in_bf16, gradients))
    assert (found != expected).any()
    assert found @ expected > 0.99 * np.linalg.norm(found) * np.linalg.norm(expected)


def test_changed_variables_are_seen(tmp_path: Path) -> None:
    tail = random_tail("nano", tmp_path)
    maps, quick = maps_for(tail), quick_tail(tail, "float32")
    before = quick(maps).numpy()
    for variable in tail.trainable_variables:
        variable.assign(variable.numpy() * 1.1)
    expected = tail(maps, training=False).numpy()
    np.testing.assert_allclose(quick(maps).numpy(), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert np.abs(before - expected).max() > 0.01 * np.abs(expected).max()


def test_maps_are_not_normalised_and_no_wide_kernel_s_gradient_is_taken_at_once(tmp_path: Path) -> None:
    import tensorflow as tf

    tail = random_tail("kernels of 5x5, also with a stride", tmp_path)
    variables = [variable.value for variable in tail.trainable_variables]

    def operations(network: Any) -> list[Any]:
        @tf.function
        def gradients(maps: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(network(maps, training=False))
            return tape.gradient(loss, variables)

        return list(gradients.get_concrete_function(tf.TensorSpec((4, *tail.input_shape[1:]))).graph.get_operations())

    def on_maps(network: Any) -> tuple[int, int]:
        """(products of maps with something else, the most columns whose gradient is taken at once)."""
        made = operations(network)
        products = sum(each.type == "Mul" and len(each.outputs[0].shape) == 4 and each.outputs[0].shape[0] == 4
                       for each in made)  # fmt: skip
        sizes = [tf.get_static_value(each.inputs[1]) for each in made if each.type.endswith("NativeBackpropFilter")]
        return products, max(int(size[1]) for size in sizes)

    assert on_maps(tail)[0] > 0 and on_maps(tail)[1] == 5
    assert on_maps(quick_tail(tail, "float32")) == (0, COLUMNS)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("side", [2, 4, 5, 7, 8])
def test_the_gradient_of_a_depthwise_kernel(side: int, stride: int, padding: str) -> None:
    import tensorflow as tf

    random = np.random.default_rng(side)
    maps = tf.constant(random.normal(size=(2, 11, 12, 4)), tf.float32)
    kernel = tf.constant(random.normal(size=(3, side, 4, 2)), tf.float32)
    results = []
    for function in (
        depthwise,
        lambda *four: tf.nn.depthwise_conv2d(*four[:2], [1, stride, stride, 1], padding.upper()),
    ):
        with tf.GradientTape() as tape:
            tape.watch([maps, kernel])
            found = function(maps, kernel, stride, padding)
            loss = tf.reduce_sum(found * tf.cos(found))
        results.append([found, *tape.gradient(loss, [maps, kernel])])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_adam_is_that_of_keras_and_forgets_when_reset() -> None:
    import tensorflow as tf

    keras = import_keras()
    start = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    ours, theirs = tf.Variable(start), keras.Variable(start)
    reference = keras.optimizers.Adam()
    reference.build([theirs])
    adam = Adam([ours])
    adam.apply([tf.constant(start * np.nan)], np.float32(1e-2))  # as where training diverges
    adam.reset()
    ours.assign(start)
    for step in range(5):
        gradient, rate = np.cos(start + step), np.float32(1e-2 / (step + 1))
        adam.apply([tf.constant(gradient)], rate)
        reference.learning_rate.assign(rate)
        reference.apply_gradients([(tf.constant(gradient), theirs)])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)
    assert np.abs(ours.numpy() - start).max() > 1e-3


def test_what_processor_it_is_is_read_where_linux_says_so(tmp_path: Path) -> None:
    described = tmp_path / "cpuinfo"
    assert not has_bf16_matrices(described)
    for flags, expected in (("avx512_bf16 amx_bf16 amx_tile", True), ("avx512_bf16 avx512f", False)):
        described.write_text(f"processor\t: 0\nmodel name\t: amx_bf16\nflags\t\t: fpu {flags}\n")
        has_bf16_matrices.cache_clear()
        assert has_bf16_matrices(described) is expected
    has_bf16_matrices.cache_clear()
