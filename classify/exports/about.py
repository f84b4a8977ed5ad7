"""What an exported file says of itself: inside the file where its format has a place, and in a JSON file beside it."""

import json
import math
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Self

from cache.errors import UserError, log
from cache.files.atomic import write_atomically
from classify.data.view_counts import Views
from classify.decisions.saved_answers import required
from classify.decisions.thresholds import Acceptance
from featurize.engines.engine import Cost

if TYPE_CHECKING:
    from classify.saved.classifier import Classifier

INPUT = "pixels"  # float32, N x height x width x 3, RGB, 0 to 255
PROBABILITIES, DISTANCE = "probabilities", "distance"
# What may have made an export.
LIBRARIES = ("bottleneck-features", "keras", "tensorflow", "openvino", "onnx", "tf2onnx", "ai-edge-litert")


@dataclass(frozen=True)
class Accept:
    """When an answer may be accepted: a target precision, and the lowest probability of each class (None is never)."""

    target: float
    thresholds: tuple[float | None, ...]


@dataclass(frozen=True)
class Reject:
    """When a picture is unlike those trained on: the share of known pictures to keep, and the largest distance."""

    share: float
    limit: float


@dataclass(frozen=True)
class About:
    """An exported model in words and numbers.

    labels: (k,), in the order of the probabilities. size: (height, width) of the pictures that it takes, in pixels.
    resize: how pictures are brought to that size, see `featurize.decoding.decode`. spec: the recipe of the features.
    model: SHA-256 of the files of the saved model, by suffix. views: how many views of a picture the model averages in
    its own predictions; the export takes one. versions: of what made the export; trained_with: of what trained.
    """

    format: str
    precision: str
    head: str
    labels: tuple[str, ...]
    size: tuple[int, int]
    resize: str
    outputs: tuple[str, ...]
    views: int
    accept: Accept | None
    reject: Reject | None
    spec: dict[str, Any]
    model: dict[str, str]
    versions: dict[str, str]
    trained_with: dict[str, str]

    @classmethod
    def of(
        cls, classifier: "Classifier", format: str, precision: str, accept: float | None, reject: float | None
    ) -> Self:
        """An export of `classifier` to `format`, such as "onnx", with weights of `precision`.

        accept: the target precision, and reject: the share of known pictures to keep; None is without. The distance is
        an output wherever the model keeps what it takes. Raises UserError where the model cannot do what is asked, and
        where its joined backbones take pictures of several sizes.
        """
        record, outliers = classifier.saved.record, classifier.saved.outliers
        size, resize = input_of(classifier)
        return cls(
            format=format,
            precision=precision,
            head=record["head"],
            labels=tuple(classifier.classes_),
            size=size,
            resize=resize,
            outputs=(PROBABILITIES,) if outliers is None else (PROBABILITIES, DISTANCE),
            views=Views.of_record(record).predict,
            accept=None if accept is None else _accepted(classifier, accept),
            reject=None if reject is None else Reject(reject, classifier.outliers.limit(reject)),
            spec=record["spec"],
            model={
                suffix: record[name]["sha256"]
                for name, suffix in (("payload", ".joblib"), ("arrays", ".npz"))
                if name in record
            },
            versions={name: found for name in LIBRARIES if (found := _version(name))},
            trained_with=record["versions"],
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        fields: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return fields


def side_files(output: str) -> tuple[str, str]:
    """The description and the script that lie beside an export: animals.onnx.json, animals.onnx.py."""
    return f"{output}.json", f"{output}.py"


def write_about(output: str, about: About, proof: dict[str, Any]) -> None:
    """Write what the export `output` is, and what `classify.exports.proof.prove` found, beside it."""
    text = json.dumps(about.to_json() | {"proof": proof}, indent=2, ensure_ascii=True, allow_nan=False)
    write_atomically(side_files(output)[0], f"{text}\n".encode())


def input_of(classifier: "Classifier") -> tuple[tuple[int, int], str]:
    """(height, width) of the pictures that a model takes, and how they are resized.

    Raises UserError where joined backbones take several kinds: an export has one input.
    """
    inputs = [part.input(Cost()) for part in classifier.of_pixels.parts]
    found = list(dict.fromkeys((tuple(one.size), one.resize) for one in inputs))
    if len(found) > 1:
        kinds = " and ".join(f"{height}x{width} ({resize})" for (height, width), resize in found)
        size = max(one.size for one in inputs)
        raise UserError(
            f"model {classifier.saved.path}: its backbones take pictures of {kinds}, an export takes one: "
            f"train it with one --size and --resize, such as --size {'x'.join(map(str, size))}"
        )
    (height, width), resize = found[0]
    return (height, width), resize


def _accepted(classifier: "Classifier", target: float) -> Accept:
    acceptance = Acceptance.of(required(classifier.saved.answers), classifier.classes_, target)
    if refused := acceptance.refused:
        raise UserError(refused)
    if (views := Views.of_record(classifier.saved.record).predict) > 1:
        log.warning("accept %g rests on answers by %d views of a picture; those of the export are by 1", target, views)
    thresholds = acceptance.thresholds.tolist()
    return Accept(acceptance.target, tuple(each if math.isfinite(each) else None for each in thresholds))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
