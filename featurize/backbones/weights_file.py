"""Load a user's weights file into a network, or say in one line why it does not fit."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from cache.errors import UserError
from featurize.backbones.backbone_table import Backbone
from featurize.backbones.weights import short_reason

IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_DEVIATION = [0.229, 0.224, 0.225]


def load_weights_file(network: Any, backbone: Backbone, path: str) -> None:
    """Load `path` into a headless keras.Model of `backbone`; every weight of both sides must find its partner.

    Keras reads `.weights.h5` by the order of the layers in each class, an older `.h5` by the order of all layers.
    Raises UserError where the file is unreadable or of another network.
    """
    try:
        _check_count(network, path)
        with nothing_skipped():
            network.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # h5py tells damage by any of these
        what = "unreadable weights" if isinstance(error, OSError) else "weights of another network"
        raise UserError(f"{what}: {path} for {backbone.name} ({_hint(path) or short_reason(error)})") from error
    if backbone.module == "efficientnet":
        _scale_as_pretrained(network)


def _scale_as_pretrained(network: Any) -> None:
    """Make an EfficientNet the function that its ImageNet weights were trained as.

    Built with weights="imagenet", Keras' EfficientNet has one more layer behind its Normalization, a division by
    the root of the standard deviations (`keras/src/applications/efficientnet.py`, TensorFlow issue 49930); built
    with the same weights from a file it has not, and gives other features. Multiplied into the first kernel, the
    division is the same function. Weights trained without it have other statistics in their Normalization.
    """
    normalization = next(layer for layer in network.layers if type(layer).__name__ == "Normalization")
    mean = np.ravel(normalization.get_weights()[0])
    if np.allclose(mean, IMAGENET_MEAN, atol=0.01):
        kernel = network.get_layer("stem_conv").kernel  # (height, width, in, out)
        kernel.assign(kernel / np.sqrt(IMAGENET_DEVIATION).astype(np.float32)[:, None])


@contextlib.contextmanager
def nothing_skipped() -> Iterator[None]:
    """Raise ValueError where Keras only warns that it left weights as they were initialised."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if "Skipping" in str(warning.message):
            raise ValueError(str(warning.message))


def _check_count(network: Any, path: str) -> None:
    """Raise ValueError where a `.weights.h5` holds more than the network (Keras would pass over the rest), or links."""
    every = _arrays(path)
    if not path.endswith(".weights.h5"):
        return
    arrays = [name for name in every if "seed_generator" not in name and not name.startswith("optimizer")]
    if len(arrays) > len(network.weights):
        raise ValueError(f"the file holds {len(arrays)} arrays, the network has {len(network.weights)}")


def _hint(path: str) -> str:
    """What is probably wrong with a weights file that does not fit, "" where nothing is known."""
    try:
        shapes = _arrays(path).values()
        with h5py.File(path) as file:
            older = "layer_names" in file.attrs or "model_weights" in file
            newer = not older and "layers" in file
    except (OSError, ValueError, RuntimeError):
        return ""
    if (1000,) in shapes:
        return "it contains the classification top of 1000 classes: save the model built with include_top=False"
    if older and path.endswith(".weights.h5"):
        return "it is of the older format: rename it to end in .h5 alone"
    if newer and not path.endswith(".weights.h5"):
        return "it is of Keras 3's format: rename it to end in .weights.h5"
    return ""


def _arrays(path: str) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array in an HDF5 file. Raises ValueError where it would fetch any from other files."""
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str, item: Any) -> str | None:
        if isinstance(item, h5py.Dataset):
            found[name] = item.shape
            if item.external or item.is_virtual:
                return name
        return None

    def link(name: str, link: Any) -> str | None:
        return None if isinstance(link, h5py.HardLink) else name

    with h5py.File(path) as file:
        if elsewhere := file.visititems_links(link) or file.visititems(note):
            raise ValueError(f"{elsewhere!r:.80} lies elsewhere, in another file perhaps")
    return found
