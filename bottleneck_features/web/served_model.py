"""A model that answers: loaded and compiled, and what it says of itself without naming a file of this machine."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from cache.errors import UserError

if TYPE_CHECKING:
    from classify.decisions.thresholds import Acceptance
    from classify.direct_answers import DirectClassifier
    from classify.heads.numerics import Floats
    from classify.saved.classifier import Classifier
    from featurize.extract.forward import Decoder

MOST_TARGETS = 64  # whose thresholds are kept

# What is told of the scores of its training: numbers and shares, no file.
SCORES = (
    "n", "accuracy", "accuracy_interval", "balanced_accuracy", "balanced_accuracy_interval", "macro_f1",
    "macro_f1_interval", "baseline_accuracy", "log_loss", "per_class", "cv_accuracy", "cv_std",
)  # fmt: skip


class Answer(NamedTuple):
    """Of one picture: probabilities (k,), distance where it has one; why there is no answer, else ""."""

    probabilities: "Floats"
    distance: float | None
    reason: str


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model in service. number: 1 for the first that this process has loaded, 2 for the next one."""

    number: int
    classifier: "Classifier"
    direct: "DirectClassifier"
    acceptances: "dict[float, Acceptance]" = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The labels, in the order of the probabilities."""
        return self.classifier.classes_

    @property
    def digest(self) -> str:
        """SHA-256 of what answers: see `digest_of_record`."""
        return digest_of_record(self.classifier.saved.record)

    def limit(self, reject: float) -> float:
        """The distance beyond which a picture is unknown. Raises UserError where the model has none."""
        outliers = self.classifier.saved.outliers
        if outliers is None:
            raise UserError("this model cannot reject unknown pictures: it was saved without what tells them")
        return outliers.limit(reject)

    def acceptance(self, accept: float) -> "Acceptance":
        """Which answers may be accepted; kept for the next time. Raises UserError where nothing supports it."""
        from classify.decisions.saved_answers import required
        from classify.decisions.thresholds import Acceptance

        found = Acceptance.of(required(self.classifier.saved.answers), self.classes, accept)
        if refused := found.refused:
            raise UserError(refused)
        if len(self.acceptances) >= MOST_TARGETS:
            self.acceptances.clear()
        self.acceptances[accept] = found
        return found

    def answers(self, pictures: Sequence[bytes]) -> list[Answer]:
        """What the model says of each picture, in the thread that asks."""
        found = self.direct.answers([self.direct.decode(data) for data in pictures])
        distances: Sequence[Any] = [None] * len(pictures) if found.distances is None else found.distances.tolist()
        return list(map(Answer, found.probabilities, distances, found.reasons))

    def about(self) -> dict[str, Any]:
        """Labels, recipe, digests and scores, as JSON; no path."""
        record = self.classifier.saved.record
        spec, metrics = record["spec"], record.get("metrics") or {}
        return {
            "number": self.number,
            "digest": self.digest,
            "created": record.get("created"),
            "labels": self.classes,
            "head": record["head"],
            "recipe": [_recipe(part) for part in (spec if isinstance(spec, list) else [spec])],
            "views": len(self.classifier.extractor.stores),
            "digests": {
                "spec": record["fingerprint"],
                "model": record["payload"]["sha256"],
                **({"arrays": record["arrays"]["sha256"]} if record.get("arrays") else {}),
            },
            "scores": {name: metrics[name] for name in SCORES if metrics.get(name) is not None},
            "can_reject": self.classifier.saved.outliers is not None,
            "can_accept": self.classifier.saved.answers is not None,
            "versions": record["versions"],
        }


def load_model(path: str, number: int, options: dict[str, Any], decoder: "Decoder") -> ServedModel:
    """The model at a path, its networks compiled for one picture and for a batch. Raises UserError as `pipeline.load`.

    It answers a grey picture before anybody asks: the first answer takes longer than others.
    """
    import pipeline
    from classify.direct_answers import DirectClassifier

    classifier = pipeline.load(path, **options)
    direct = DirectClassifier(classifier, decoder)
    for count in sorted({1, direct.batch}):
        answers = direct.answers([direct.decode(_grey())] * count)
        if failed := next(filter(None, answers.reasons), None):
            raise UserError(f"model {path} gives no answer to a grey picture: {failed}")
    return ServedModel(number, classifier, direct)


def digest_of_record(record: dict[str, Any]) -> str:
    """SHA-256 of the digests of a model's files in its record: another model has another one."""
    files = [record["payload"]["sha256"], (record.get("arrays") or {}).get("sha256", "")]
    return hashlib.sha256("\n".join(files).encode()).hexdigest()


def _recipe(spec: dict[str, Any]) -> dict[str, Any]:
    """How pictures become features; of a backbone that is a file, its name alone."""
    return {name: os.path.basename(value) if name == "backbone" else value for name, value in spec.items()}


def _grey() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()
