import hashlib
import logging
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import skimage.data

from cache.errors import UserError
from featurize.backbones.backbone_table import BACKBONES, find_backbone
from featurize.backbones.network import build_network
from featurize.backbones.weights import Weights, locate
from featurize.engines.keras_import import import_keras

RANDOM = Weights("random", "")
keras = import_keras()


def photographs(height, width):
    """Three photographs: (3, height, width, 3) uint8."""
    pictures = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.rocket()]
    return np.stack([picture[:height, 100 : 100 + width] for picture in pictures])


def build(name, weights=RANDOM, size=(96, 96), layer=None, pooling="avg"):
    return build_network(name, weights, size, layer, pooling, BACKBONES[name].module)


def run(network, pixels):
    """Eagerly, which for one batch is far quicker than `predict`, that compiles first."""
    return network(pixels.astype("float32")).numpy()


def assert_same_features(found, expected):
    # Random MobileNets put out numbers of the order of 1e-9, so an absolute tolerance would prove nothing.
    assert found.dtype == np.float32
    assert np.ptp(expected, axis=0).max() > 0.01 * abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * abs(expected).max())


# --- the function ---


@pytest.mark.parametrize(
    ("name", "size", "pooling", "dimension"),
    [
        ("mobilenet_v2", (160, 160), "avg", 1280),
        ("vgg16", (150, 150), "flatten", 4 * 4 * 512),
        ("efficientnet_b0", (64, 64), "avg", 1280),
        ("mobilenet_v2_035", (96, 160), "max", 1280),
        ("convnext_tiny", (64, 64), "avg", 768),
    ],
)
def test_features_are_those_of_plain_keras(name, size, pooling, dimension):
    network = build(name, size=size, pooling=pooling)
    assert network.input_shape == (None, *size, 3)
    assert network.output_shape == (None, dimension)
    row = BACKBONES[name]
    keras.utils.set_random_seed(0)
    plain = getattr(keras.applications, row.builder)(
        include_top=False,
        weights=None,
        input_shape=(*size, 3),
        pooling=None if pooling == "flatten" else pooling,
        **row.options,
    )
    pixels = photographs(*size)
    preprocess = getattr(keras.applications, row.module).preprocess_input
    expected = run(plain, preprocess(pixels.astype("float32")))
    assert_same_features(run(network, pixels), expected.reshape(3, -1))


def test_features_of_real_weights_are_those_of_plain_keras(shared):
    path = str(shared / "weights" / find_backbone("mobilenet_v2").weights_name(224))
    shape = (224, 224, 3)
    plain = keras.applications.MobileNetV2(include_top=False, weights=path, input_shape=shape, pooling="avg")
    pixels = photographs(224, 224)
    expected = run(plain, keras.applications.mobilenet_v2.preprocess_input(pixels.astype("float32")))
    network = build_network("mobilenet_v2", Weights("file", path), None, None, "avg", "mobilenet_v2")
    assert network.input_shape == (None, *shape)
    assert_same_features(run(network, pixels), expected)


def test_pixels_may_be_integers_or_floats():
    network = build("nano", size=(64, 64))
    pixels = photographs(64, 64)
    expected = run(network, pixels)
    assert_same_features(network(pixels).numpy(), expected)
    assert_same_features(network.predict(pixels, verbose=0), expected)
    assert_same_features(network.predict(pixels.astype("float32"), verbose=0), expected)


def test_without_preprocessing_the_network_gets_the_pixels_as_they_are():
    network = build_network("vgg16", RANDOM, (32, 32), "block1_conv1", "flatten", "none")
    kernel, bias = network.get_layer("backbone").get_layer("block1_conv1").get_weights()
    pixels = photographs(32, 32)
    centre = np.tensordot(pixels[:, 9:12, 9:12].astype("float32"), kernel, 3) + bias
    found = run(network, pixels).reshape(3, 32, 32, 64)[:, 10, 10]
    assert_same_features(found, np.maximum(centre, 0))


def test_a_row_does_not_depend_on_the_others_of_its_batch():
    # In training mode batch norm would mix them, and dropout make every pass another.
    network = build("efficientnet_b0", size=(32, 32))
    assert network.trainable_variables == []
    pixels = photographs(32, 32)
    together = run(network, pixels)
    alone = np.concatenate([run(network, pixels[i : i + 1]) for i in range(3)])
    assert_same_features(alone, together)
    assert_same_features(run(network, pixels), together)


def test_a_two_dimensional_output_is_passed_as_it_is(tmp_path):
    path = save(tmp_path, small_model())
    for pooling in ("avg", "max", "flatten"):
        network = build_network(path, Weights("file", path), None, "probabilities", pooling, "none")
        assert network.output_shape == (None, 2)
        np.testing.assert_allclose(run(network, photographs(32, 32)).sum(axis=1), 1, rtol=1e-5)


# --- layers ---


def test_any_layer_by_its_name():
    network = build("mobilenet_v2", layer="block_13_expand_relu", pooling="max")
    keras.utils.set_random_seed(0)
    plain = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(96, 96, 3))
    cut = keras.Model(plain.input, plain.get_layer("block_13_expand_relu").output)
    pixels = photographs(96, 96)
    maps = run(cut, keras.applications.mobilenet_v2.preprocess_input(pixels.astype("float32")))
    assert maps.shape == (3, 6, 6, 576)
    assert_same_features(run(network, pixels), maps.max(axis=(1, 2)))


def test_a_layer_that_keras_numbers_is_the_same_in_every_network_of_a_process():
    first = build("mobilenet_v3_small", layer="activation_3", size=(64, 64))
    second = build("mobilenet_v3_small", layer="activation_3", size=(64, 64))
    assert_same_features(run(second, photographs(64, 64)), run(first, photographs(64, 64)))


def test_layers_that_are_small_models_themselves_can_be_chosen():
    assert build("convnext_tiny", layer="convnext_tiny_downsampling_block_1", size=(32, 32)).output_shape == (None, 384)


def test_an_unknown_layer_is_refused_with_the_closest_and_all_names():
    with pytest.raises(UserError) as caught:
        build("mobilenet_v2", layer="block13_expand_relu")
    message = str(caught.value)
    assert "'block13_expand_relu' of mobilenet_v2: did you mean block_13_expand_relu" in message
    assert "Conv1, bn_Conv1, Conv1_relu" in message
    assert message.endswith("out_relu")
    assert "input_layer" not in message


# --- arguments ---


def test_a_size_below_the_minimum_names_the_minimum():
    with pytest.raises(UserError, match="smallest side is 75 pixels"):
        build("inception_v3", size=(74, 200))


def test_the_default_size_is_the_table_s():
    assert build("mobilenet_v2_035", size=None).input_shape == (None, 224, 224, 3)


@pytest.mark.parametrize(
    ("backbone", "pooling", "preprocess", "valid"),
    [
        ("mobilenetv2", "avg", "mobilenet_v2", "mobilenet_v2_035"),
        ("mobilenet_v2", "mean", "mobilenet_v2", "avg, max, flatten"),
        ("mobilenet_v2", "avg", "imagenet", "none, convnext"),
    ],
)
def test_an_unknown_value_is_refused_with_the_valid_ones(backbone, pooling, preprocess, valid):
    with pytest.raises(UserError, match=valid):
        build_network(backbone, RANDOM, (96, 96), None, pooling, preprocess)


# --- random weights ---


def test_random_weights_are_the_same_in_every_process():
    code = """
import hashlib
from featurize.backbones.network import build_network
from featurize.backbones.weights import Weights, locate
network = build_network("mobilenet_v3_small", Weights("random", ""), (32, 32), None, "avg", "mobilenet_v3")
print(hashlib.sha256(b"".join(array.tobytes() for array in network.get_weights())).hexdigest())
"""
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    build("vgg16", size=(32, 32), layer="block1_pool")  # whatever happened before in this process
    random.seed(99)
    here = build("mobilenet_v3_small", size=(32, 32)).get_weights()
    assert fresh == hashlib.sha256(b"".join(array.tobytes() for array in here)).hexdigest() + "\n"


@pytest.mark.parametrize("weights", [RANDOM, locate(find_backbone("nano"), 64, None)], ids=["random", "packaged"])
def test_a_network_leaves_the_callers_random_numbers_alone(weights):
    def drawn(*, after_building):
        keras.utils.set_random_seed(7)  # Python's, numpy's and TensorFlow's
        if after_building:
            build("nano", weights)
        return random.random(), np.random.rand(), float(keras.random.uniform(()))

    assert drawn(after_building=True) == drawn(after_building=False)


# --- models of the user's own ---


def small_model(side=32):
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, activation="relu", name="edges"),
            keras.layers.BatchNormalization(name="normed"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2, activation="softmax", name="probabilities"),
        ]
    )


def save(folder, model):
    path = str(folder / "own.keras")
    model.save(path)
    return path


def own(path, size=None, layer=None, pooling="avg"):
    return build_network(path, Weights("file", path), size, layer, pooling, "none")


def test_an_own_model_gives_its_last_feature_map_and_says_which(tmp_path, caplog):
    model = small_model()
    path = save(tmp_path, model)
    with caplog.at_level(logging.INFO, logger="bottleneck"):
        network = own(path)
    assert "last layer with a feature map, normed" in caplog.text
    assert network.input_shape == (None, 32, 32, 3)
    maps = keras.Model(model.inputs, model.get_layer("normed").output).predict(photographs(32, 32), verbose=0)
    assert_same_features(run(network, photographs(32, 32)), maps.mean(axis=(1, 2)))
    edges = keras.Model(model.inputs, model.get_layer("edges").output).predict(photographs(32, 32), verbose=0)
    found = own(path, layer="edges", pooling="flatten").predict(photographs(32, 32), verbose=0)
    assert_same_features(found, edges.reshape(3, -1))


def test_an_own_model_around_a_backbone(tmp_path, caplog):
    # As the transfer learning tutorials build it; training=True in the graph must not survive.
    inside = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3), alpha=0.35)
    pixels = keras.Input((64, 64, 3))
    x = keras.layers.RandomFlip(name="augmented")(pixels)
    x = inside(keras.applications.mobilenet_v2.preprocess_input(x), training=True)
    x = keras.layers.GlobalAveragePooling2D()(x)
    path = save(tmp_path, keras.Model(pixels, keras.layers.Dense(3)(x)))
    with caplog.at_level(logging.INFO, logger="bottleneck"):
        network = own(path)
    assert inside.name in caplog.text
    batch = photographs(64, 64)
    expected = run(inside, keras.applications.mobilenet_v2.preprocess_input(batch.astype("float32")))
    assert_same_features(run(network, batch), expected.mean(axis=(1, 2)))
    assert_same_features(network(batch).numpy(), expected.mean(axis=(1, 2)))


def test_an_own_model_without_feature_maps_gives_its_output(tmp_path):
    pixels = keras.Input((8, 8, 3))
    model = keras.Model(pixels, keras.layers.Dense(5)(keras.layers.Flatten()(pixels)))
    batch = photographs(8, 8)
    assert_same_features(own(save(tmp_path, model)).predict(batch, verbose=0), model.predict(batch, verbose=0))


def test_an_own_model_s_preprocessing_can_be_named(tmp_path):
    pixels = keras.Input((16, 16, 3))
    path = save(tmp_path, keras.Model(pixels, keras.layers.Activation("linear")(pixels)))
    network = build_network(path, Weights("file", path), None, None, "flatten", "vgg16")
    batch = photographs(16, 16)
    expected = keras.applications.vgg16.preprocess_input(batch.astype("float32")).reshape(3, -1)
    assert_same_features(run(network, batch), expected)


def test_an_own_model_of_half_precision_gives_float32(tmp_path):
    pixels = keras.Input((16, 16, 3))
    path = save(tmp_path, keras.Model(pixels, keras.layers.Conv2D(2, 3, dtype="mixed_float16")(pixels)))
    assert own(path).predict(photographs(16, 16), verbose=0).dtype == np.float32


def test_the_size_of_an_own_model_comes_from_it_or_from_the_user(tmp_path):
    pixels = keras.Input((None, None, 3))
    path = save(tmp_path, keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels)))
    assert own(path, size=(40, 24), pooling="flatten").output_shape == (None, 38 * 22 * 4)
    with pytest.raises(UserError, match="any size: give SIZE"):
        own(path)
    fixed = save(tmp_path, small_model(32))
    assert own(fixed, size=(32, 32)).input_shape == (None, 32, 32, 3)
    with pytest.raises(UserError, match=r"size 224x224 contradicts .*own\.keras, whose input is 32x32"):
        own(fixed, size=(224, 224))


def test_an_own_model_with_code_inside_is_refused(tmp_path):
    pixels = keras.Input((16, 16, 3))
    path = save(tmp_path, keras.Model(pixels, keras.layers.Lambda(lambda x: x / 2)(pixels)))
    with pytest.raises(UserError, match=r"cannot be loaded in safe mode.*Lambda") as caught:
        own(path)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", ["heap", "too deep"])
def test_a_damaged_own_model_is_refused_in_one_line(tmp_path, way):
    path = save(tmp_path, small_model(32))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if way == "heap":  # where HDF5 keeps the names
        assert b"HEAP" in parts["model.weights.h5"]
        parts["model.weights.h5"] = parts["model.weights.h5"].replace(b"HEAP", b"HEAQ")
    else:
        parts["config.json"] = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="cannot be loaded in safe mode") as caught:
        own(path, size=(32, 32))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@keras.saving.register_keras_serializable()
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_an_own_model_of_unknown_classes_is_refused(tmp_path, monkeypatch):
    pixels = keras.Input((16, 16, 3))
    path = save(tmp_path, keras.Model(pixels, Doubled()(pixels)))
    monkeypatch.delitem(keras.saving.get_custom_objects(), "Custom>Doubled")
    monkeypatch.setattr(Doubled, "__module__", "nowhere")
    monkeypatch.delattr(sys.modules[__name__], "Doubled")
    with pytest.raises(UserError, match=r"cannot be loaded in safe mode.*Doubled"):
        own(path)


@pytest.mark.parametrize("content", [b"", b"no zip file", None])
def test_a_file_that_is_no_saved_model_is_refused(tmp_path, content):
    path = tmp_path / "own.keras"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"own\.keras"):
        own(str(path))
    with pytest.raises(UserError, match="no such file"):
        own(str(tmp_path / "missing.keras"))


def test_a_damaged_own_model_is_refused(tmp_path):
    path = save(tmp_path, small_model())
    with open(path, "r+b") as file:
        file.seek(-3000, 2)
        file.write(b"\xff" * 500)
    with pytest.raises(UserError, match="cannot be loaded"):
        own(path)


@pytest.mark.parametrize("shape", [(16, 16, 1), (16, 3), (3, 16, 16)])
def test_an_own_model_for_something_else_than_colour_images_is_refused(tmp_path, shape):
    pixels = keras.Input(shape)
    path = save(tmp_path, keras.Model(pixels, keras.layers.Activation("relu")(pixels)))
    with pytest.raises(UserError, match="needs one input"):
        own(path)


def test_an_own_model_with_two_inputs_is_refused(tmp_path):
    pair = [keras.Input((16, 16, 3)), keras.Input((16, 16, 3))]
    with pytest.raises(UserError, match=r"needs one input .* it has \(None, 16, 16, 3\) float32, \(None"):
        own(save(tmp_path, keras.Model(pair, keras.layers.Add()(pair))))


def test_an_own_model_brings_its_own_weights(tmp_path):
    path = save(tmp_path, small_model())
    for weights in (RANDOM, Weights("file", "/other.h5"), Weights("imagenet", path)):
        with pytest.raises(UserError, match="brings its own"):
            build_network(path, weights, None, None, "avg", "none")
