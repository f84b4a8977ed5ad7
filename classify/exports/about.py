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
from classify.exports.formats import FORMATS
from classify.exports.inputs import Input, inputs_of

if TYPE_CHECKING:
    from classify.saved.classifier import Classifier

PROBABILITIES, DISTANCE = "probabilities", "distance"


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

    labels: (k,), in the order of the probabilities. inputs: several where joined backbones take pictures of several
    sizes. spec: the recipe of the features. model: SHA-256 of the files of the saved model, by suffix. views: how many
    views of a picture the model averages in its own predictions; the export takes one. versions: of what writes and
    runs the format; trained_with: of what trained.
    """

    format: str
    precision: str
    head: str
    labels: tuple[str, ...]
    inputs: tuple[Input, ...]
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
        an output wherever the model keeps what it takes. Raises UserError where the model cannot do what is asked.
        """
        record, outliers = classifier.saved.record, classifier.saved.outliers
        libraries = ("bottleneck-features", *FORMATS[f".{format}"].packages.values())
        return cls(
            format=format,
            precision=precision,
            head=record["head"],
            labels=tuple(classifier.classes_),
            inputs=tuple(dict.fromkeys(inputs_of(classifier))),
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
            versions={name: found for name in libraries if (found := _version(name))},
            trained_with=record["versions"],
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types: of one input its size and resize, of several "inputs", with a name each."""
        fields: dict[str, Any] = {}
        for name, value in json.loads(json.dumps(asdict(self))).items():
            if name == "inputs" and len(value) == 1:
                fields |= {"size": value[0]["size"], "resize": value[0]["resize"]}
            else:
                fields[name] = value
        return fields


def side_files(output: str) -> tuple[str, str]:
    """The description and the script that lie beside an export: animals.onnx.json, animals.onnx.py."""
    return f"{output}.json", f"{output}.py"


def write_about(output: str, about: About, proof: dict[str, Any]) -> None:
    """Write what the export `output` is, and what `classify.exports.proof.prove` found, beside it."""
    text = json.dumps(about.to_json() | {"proof": proof}, indent=2, ensure_ascii=True, allow_nan=False)
    write_atomically(side_files(output)[0], f"{text}\n".encode())


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
