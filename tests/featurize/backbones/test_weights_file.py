import os

import h5py
import numpy as np
import pytest
import skimage.data

from cache.errors import UserError
from featurize.backbones.backbone_table import BACKBONES
from featurize.backbones.network import build_network
from featurize.backbones.weights import Weights
from featurize.backbones.weights_file import load_weights_file
from featurize.engines.keras_import import import_keras

keras = import_keras()


def load(name, path, side=32):
    return build_network(name, Weights("file", path), (side, side), None, "flatten", BACKBONES[name].module)


def filled(network):
    """The network with every weight random, batch norm's statistics too, so that none can be missed."""
    random = np.random.default_rng(1)
    network.set_weights([random.uniform(0.1, 0.2, array.shape) for array in network.get_weights()])
    return network


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny", "efficientnet_b0"])
def test_both_formats_of_weights_files_are_loaded_completely(tmp_path, name):
    row = BACKBONES[name]
    builder = getattr(keras.applications, row.builder)
    network = filled(builder(include_top=False, weights=None, input_shape=(32, 32, 3), **row.options))
    for suffix, write in ((".h5", network.save), (".weights.h5", network.save_weights)):
        write(path := str(tmp_path / f"weights{suffix}"))
        for found, expected in zip(load(name, path).get_weights(), network.get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_imagenet_weights_of_efficientnet_are_the_same_function_from_a_file_as_from_keras(tmp_path, monkeypatch):
    from keras.src.applications import efficientnet
    from keras.src.utils import file_utils

    source = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    normalization = next(layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
    normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.square([0.229, 0.224, 0.225]), np.array(0)])
    normalization.finalize_state()
    path = str(tmp_path / "efficientnetb0_notop.h5")
    source.save(path)
    monkeypatch.setattr(file_utils, "get_file", lambda *_args, **_options: path)
    monkeypatch.setattr(efficientnet, "WEIGHTS_HASHES", {"b0": ("", "")})
    downloaded = keras.applications.EfficientNetB0(weights="imagenet", include_top=False, input_shape=(64, 64, 3))
    pixels = skimage.data.astronaut()[None, :64, 100:164].astype("float32")
    expected = downloaded(pixels).numpy().reshape(1, -1)
    plain = source(pixels).numpy().reshape(1, -1)
    assert abs(plain - expected).max() > 0.1 * abs(expected).max()  # what the file alone would give
    network = load("efficientnet_b0", path, 64)
    np.testing.assert_allclose(network(pixels).numpy(), expected, atol=1e-5 * abs(expected).max())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights files that do not fit MobileNetV2."""
    folder = tmp_path_factory.mktemp("files")
    applications = keras.applications
    narrow = applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.35)
    narrow.save(folder / "alpha.h5")
    narrow.save_weights(folder / "alpha.weights.h5")
    (folder / "alpha3.h5").write_bytes((folder / "alpha.weights.h5").read_bytes())
    (folder / "alpha2.weights.h5").write_bytes((folder / "alpha.h5").read_bytes())
    whole = applications.MobileNetV2(weights=None, input_shape=(32, 32, 3))
    whole.save(folder / "top.h5")
    whole.save_weights(folder / "top.weights.h5")
    five = applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), classes=5)
    five.save(folder / "five.h5")
    five.save_weights(folder / "five.weights.h5")
    other = applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    other.save_weights(folder / "other.weights.h5")
    (folder / "text.h5").write_text("This is not HDF5.")
    (folder / "empty.h5").touch()
    (folder / "heap.h5").write_bytes((folder / "alpha.h5").read_bytes().replace(b"HEAP", b"HEAQ"))
    (folder / "cut.h5").write_bytes((folder / "alpha.h5").read_bytes()[:-1000])
    return folder


@pytest.fixture(scope="module")
def network():
    return keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("alpha.h5", r"weights of another network: .*\(Shape mismatch"),
        ("alpha.weights.h5", r"weights of another network: .*must match"),
        ("alpha3.h5", r"weights of another network: .*rename it to end in \.weights\.h5"),
        ("alpha2.weights.h5", r"weights of another network: .*rename it to end in \.h5"),
        ("top.h5", r"weights of another network: .*classification top.*include_top=False"),
        ("top.weights.h5", r"weights of another network: .*classification top.*include_top=False"),
        ("five.h5", r"weights of another network: .*Layer count mismatch"),
        ("five.weights.h5", r"weights of another network: .*262 arrays, the network has 260"),
        ("other.weights.h5", r"weights of another network: .*expected 1 variables"),
        ("text.h5", "unreadable weights: .*signature not found"),
        ("empty.h5", "unreadable weights: .*signature not found"),
        ("heap.h5", "weights of another network: .*bad local heap signature"),
        ("cut.h5", "unreadable weights: .*truncated file"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(files, network, name, reason):
    with pytest.raises(UserError, match=reason) as caught:
        load_weights_file(network, BACKBONES["mobilenet_v2"], str(files / name))
    message = str(caught.value)
    assert f"{files / name} for mobilenet_v2" in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
@pytest.mark.parametrize("way", ["external link", "soft link", "external storage", "virtual"])
def test_weights_that_would_be_fetched_from_elsewhere_are_refused_unread(tmp_path, suffix, way):
    path, trap = str(tmp_path / f"weights{suffix}"), str(tmp_path / "trap")
    os.mkfifo(trap)  # whoever opens it waits for ever
    with h5py.File(path, "w") as file:
        if way == "external link":
            file["conv/kernel"] = h5py.ExternalLink(trap, "kernel")
        elif way == "soft link":
            file["conv/kernel"] = h5py.SoftLink("/elsewhere")
        elif way == "external storage":
            file.create_dataset("conv/kernel", (4,), "<f4", external=[(trap, 0, 16)])
        else:
            layout = h5py.VirtualLayout((4,), "<f4")
            layout[:] = h5py.VirtualSource(trap, "kernel", (4,))
            file.create_virtual_dataset("conv/kernel", layout)
    with pytest.raises(UserError, match="'conv/kernel' lies elsewhere"):
        load_weights_file(None, BACKBONES["mobilenet_v2"], path)
