"""Which file a backbone's name means, its outline, and its digest: of the model with all files of its weights."""

import hashlib
import os
from dataclasses import dataclass

from cache.arguments import at_home
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.backbones.backbone_table import BACKBONES
from featurize.model_files.outline import MOST_ELEMENTS, Outline, elements

SUFFIXES = (".onnx", ".xml", ".tflite")
# Of a folder, the first of these that is there: as Hugging Face's exporters, timm's and OpenVINO's name them.
IN_FOLDER = ("model.onnx", os.path.join("onnx", "model.onnx"), "model.xml", "openvino_model.xml", "model.tflite")

ONLY_KERAS = "layers are trained of a named backbone or a .keras file alone: export the model to Keras, or take another"


@dataclass(frozen=True)
class ModelFile:
    """path: the model, absolute. folders: where files that belong to it are looked for, in this order."""

    path: str
    folders: tuple[str, ...]

    def beside(self, name: str) -> str | None:
        """The first file of that name in `folders`."""
        return next((path for folder in self.folders if os.path.isfile(path := os.path.join(folder, name))), None)

    @property
    def name(self) -> str:
        """The name of the file, for people: with its folder's where the file's is what all exports have."""
        folder, name = os.path.split(self.path)
        above, last = os.path.split(folder)
        folder = os.path.basename(above) if last == "onnx" else last
        return os.path.join(folder, name) if name in map(os.path.basename, IN_FOLDER) and folder else name


def is_model_file(backbone: str) -> bool:
    """Whether a backbone is meant to be a model file, or a folder with one."""
    backbone = os.fspath(backbone)
    if not backbone or backbone in BACKBONES or backbone.endswith(".keras"):
        return False
    return backbone.lower().endswith(SUFFIXES) or os.path.isdir(at_home(backbone))


def find_model(backbone: str) -> ModelFile:
    """The model that a path to it, or to its folder, means. Raises UserError where there is none."""
    path = os.path.abspath(at_home(backbone))
    if os.path.isdir(path):
        if not (found := models_in(path)):
            raise UserError(
                f"backbone {path}: the folder has none of {', '.join(IN_FOLDER)}, and no backbone has this name"
            )
        path = found[0]
    if not os.path.isfile(path):
        raise UserError(f"backbone {path}: no such file; give one of {', '.join(SUFFIXES)}, or a folder that has it")
    folder = os.path.dirname(path)
    above = (os.path.dirname(folder),) if os.path.basename(folder) == "onnx" else ()
    return ModelFile(path, (folder, *above))


def models_in(folder: str) -> list[str]:
    """The models in a folder, the one that is meant first; none where it is no folder."""
    return [path for name in IN_FOLDER if os.path.isfile(path := os.path.join(folder, name))]


def model_identity(path: str, table: DigestTable) -> str:
    """How a spec names the weights of a model file: the SHA-256 of it, or of it and the files that hold its weights.

    Raises UserError for a file that is no such model, or hostile; `OSError`.
    """
    folder = os.path.dirname(os.path.abspath(path))
    digests = [table.of_file(os.path.join(folder, name)) for name in files_of(path)]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
    return "sha256:" + whole.hex()


def files_of(path: str) -> list[str]:
    """Names of the files of a model, or of other weights, from their folder on: first `path`, then what it names.

    Raises UserError as `read_outline`.
    """
    return [os.path.basename(path), *(read_outline(path).external if path.lower().endswith(SUFFIXES) else ())]


def read_outline(path: str) -> Outline:
    """The outline of a model file, by its suffix. Raises UserError, one line, for what is no such model, or hostile."""
    from featurize.model_files.ir_outline import ir_outline  # three readers that most runs do without
    from featurize.model_files.onnx_outline import onnx_outline
    from featurize.model_files.tflite_outline import tflite_outline

    readers = {".onnx": onnx_outline, ".xml": ir_outline, ".tflite": tflite_outline}
    try:
        outline = readers[os.path.splitext(path)[1].lower()](path)
    except OSError as error:
        raise UserError(f"backbone {path} cannot be read: {error.strerror or error}") from None
    for port in (*outline.inputs, *outline.outputs):
        if elements(port.shape) > MOST_ELEMENTS:
            raise UserError(f"backbone {path} declares {port}, more than {MOST_ELEMENTS} numbers: it is refused")
    if not outline.inputs or not outline.outputs:
        raise UserError(f"backbone {path} has {'no input' if not outline.inputs else 'no output'}: it is no network")
    return outline
