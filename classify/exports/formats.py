"""The formats of an export, by suffix: from which graph it is written, the weights it can have, what it needs.

Imports nothing heavy.
"""

import importlib
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.errors import UserError, not_installed

if TYPE_CHECKING:
    from classify.saved.classifier import Classifier

PRECISIONS = ("float32", "float16", "int8")
BUNDLE = ".zip"  # for our own use, see `classify.bundles`


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    name: the suffix without its dot; its module is `classify.exports.files.NAME_file`. runtime: what runs it.
    packages: module -> how pip calls it, of all that writes and runs it. precisions: of its weights. beside: suffix of
    a second file. from_openvino: whether it is written from the graph of OpenVINO, not of Keras.
    """

    name: str
    runtime: str
    packages: dict[str, str]
    precisions: tuple[str, ...] = ("float32",)
    beside: str | None = None
    from_openvino: bool = False

    @property
    def module(self) -> Any:
        """What writes such files, `write`, and runs them, `opened`."""
        return importlib.import_module(f"classify.exports.files.{self.name}_file")

    def graph(self, classifier: "Classifier") -> Any:
        """The classifier as a graph to write. Raises UserError for backbones and heads that have none."""
        if self.from_openvino:
            from classify.exports.graphs.openvino_graph import openvino_graph

            return openvino_graph(classifier)
        from classify.exports.graphs.keras_graph import keras_graph

        return keras_graph(classifier)


KERAS = {"tensorflow": "tensorflow", "keras": "keras"}
FORMATS = {
    ".onnx": Format(
        "onnx",
        "onnxruntime",
        {**KERAS, "tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime"},
        PRECISIONS,
    ),
    ".tflite": Format("tflite", "ai-edge-litert", {**KERAS, "ai_edge_litert": "ai-edge-litert"}, PRECISIONS),
    ".keras": Format("keras", "keras", KERAS),
    ".xml": Format("xml", "openvino", {"openvino": "openvino"}, ("float32", "float16"), ".bin", True),
}


def format_of(path: str) -> Format:
    """The format that the suffix of `path` says. Raises UserError for another suffix."""
    suffix = suffix_of(path)
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(f"--output {path}: its suffix says no format: give one of {known}, or {BUNDLE} for a bundle")
    return FORMATS[suffix]


def suffix_of(path: str) -> str:
    """The suffix of `path` in lower case, with its dot."""
    return os.path.splitext(path)[1].lower()


def check_packages(path: str, packages: dict[str, str]) -> None:
    """Raise UserError for the first of some packages (module -> name) that is not installed."""
    for module, name in packages.items():
        if importlib.util.find_spec(module) is None:
            if module in KERAS:  # alone it is of no use
                raise not_installed(KERAS[module])
            raise UserError(f"{path}: {name} is not installed: pip install {name}, or all with '.[export]'")


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """What libraries print in the body is held back, what they raise becomes a UserError: what failed, and why."""
    from featurize.engines.keras_import import without_noise
    from featurize.model_files.graph import reason_of

    try:
        with warnings.catch_warnings(), without_noise():
            warnings.simplefilter("ignore")
            yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever converters and runtimes raise: many have classes of their own
        raise UserError(f"{what} ({type(error).__name__}: {reason_of(error)})") from error
