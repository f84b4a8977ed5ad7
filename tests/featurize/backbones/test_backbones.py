"""The rows of the table against Keras itself: the first of each family, all of them with `--full`.

The networks are built whole, but without filling their weights.
"""

import functools
import gc
import inspect
import subprocess
import sys

import pytest

from cache.errors import UserError
from featurize.backbones.backbone_table import BACKBONES, find_backbone
from featurize.backbones.network import layers_by_name
from featurize.engines.keras_import import import_keras

OF_KERAS = {name: row for name, row in BACKBONES.items() if not row.packaged}
FAMILIES = {row.module: row for row in reversed(OF_KERAS.values())}  # the first row of each


@pytest.fixture(scope="module")
def keras():
    """Keras with three things replaced: weights are zeros shared between networks, `get_file` and
    `obtain_input_shape` note what they are asked for, and no file is loaded."""
    keras = import_keras()
    import tensorflow
    from keras.src import backend
    from keras.src.applications import imagenet_utils
    from keras.src.utils import file_utils

    keras.asked = {}
    zeros = functools.lru_cache(maxsize=None)(tensorflow.zeros)
    obtain_input_shape = imagenet_utils.obtain_input_shape

    def no_values(variable, _initializer):
        variable._value = zeros(variable._shape, variable._dtype)

    def note_file(name, *_args, **_options):
        keras.asked["file"] = name
        return name

    def note_shape(*args, **options):
        keras.asked["size"], keras.asked["minimum"] = options["default_size"], options["min_size"]
        return obtain_input_shape(*args, **options)

    gc.freeze()  # TensorFlow's own objects: every collection would visit them all
    gc.disable()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend.Variable, "_initialize_with_initializer", no_values)
        patch.setattr(imagenet_utils, "obtain_input_shape", note_shape)
        patch.setattr(file_utils, "get_file", note_file)
        patch.setattr(keras.Model, "load_weights", lambda *_args, **_options: None)
        yield keras
    gc.enable()
    gc.unfreeze()
    del keras.asked


def build(keras, row, height, width):
    keras.utils.clear_session()  # automatic names as in a fresh process
    keras.asked.clear()
    builder = getattr(keras.applications, row.builder)
    return builder(include_top=False, weights="imagenet", input_shape=(height, width, 3), **row.options)


def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full")
        rows = {name: row for name, row in OF_KERAS.items() if full or row is FAMILIES[row.module]}
        metafunc.parametrize("row", rows.values(), ids=rows)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
def test_row_says_what_keras_builds(keras, row):
    network = build(keras, row, row.minimum, row.minimum)
    assert network.output_shape[-1] == row.dimension
    assert network.layers[-1].name == row.last_layer
    assert network.output is network.layers[-1].output
    assert keras.asked["file"] == row.weights_name(row.minimum)
    assert inspect.unwrap(getattr(keras.applications, row.builder)).__module__.endswith(f".{row.module}")
    assert callable(getattr(keras.applications, row.module).preprocess_input)
    if row.module == "mobilenet_v3":  # the one family whose default stands in its documentation only
        assert f"({row.size}, {row.size}, 3)" in getattr(keras.applications, row.builder).__doc__
    else:
        assert (keras.asked["size"], keras.asked["minimum"]) == (row.size, row.minimum)
    if FAMILIES[row.module] is row:
        check_layers_without_weights(keras, row, [layer.name for layer in network.layers[1:]])
    with pytest.raises(ValueError, match=r"(?i)input size must be at least"):
        build(keras, row, row.minimum, row.minimum - 1)


def check_layers_without_weights(keras, row, fresh):
    """A network without weights has the layers that the pretrained one has in a fresh process."""
    if row.module == "efficientnet":
        fresh.remove("rescaling_1")  # made up for in featurize/backbones/weights_file.py
    builder = getattr(keras.applications, row.builder)
    second = builder(include_top=False, weights=None, input_shape=(row.minimum, row.minimum, 3))
    assert list(layers_by_name(second)) == fresh


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v2", "vgg16"])
@pytest.mark.parametrize("size", [(96, 96), (128, 128), (150, 150), (160, 128)])
def test_weights_depend_on_the_size_as_in_keras(keras, name, size):
    build(keras, BACKBONES[name], *size)
    assert BACKBONES[name].weights_name(size) == keras.asked["file"]
    if size[0] == size[1]:
        assert BACKBONES[name].weights_name(size[0]) == keras.asked["file"]


def test_every_network_of_keras_applications_has_a_row(keras):
    networks = {name for name, _ in inspect.getmembers(keras.applications, inspect.isfunction)}
    assert {row.builder for row in OF_KERAS.values()} == networks


def test_unknown_name_is_refused_with_all_valid_ones():
    with pytest.raises(UserError) as caught:
        find_backbone("mobilenetv2")
    message = str(caught.value)
    assert all(name in message for name in BACKBONES)
    assert "'mobilenetv2'" in message
    assert ".keras" in message


def test_the_table_imports_nothing_heavy():
    code = "import featurize.backbones.backbone_table, sys;"
    code += "print({'keras', 'tensorflow', 'numpy', 'h5py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
