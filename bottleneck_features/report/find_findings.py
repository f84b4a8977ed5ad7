"""A saved model and its pictures -> `Findings`: everything a report shows, each part found by the file of its name.

cached rows -> copies -> who is held out -> scores | folds over all pictures -> suspects | curves | neighbours | map
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bottleneck_features.report.findings import Count, Findings, Gain, Picture, Rate
from bottleneck_features.report.parts.calibration_curve import calibration, noise, verdict
from bottleneck_features.report.parts.learning_curve import accuracy_by_count, advice
from bottleneck_features.report.parts.near_duplicates import copies_of
from bottleneck_features.report.parts.nearest_pictures import nearest
from bottleneck_features.report.parts.outlier_rates import rates
from bottleneck_features.report.parts.picture_map import layout
from bottleneck_features.report.parts.suspects import suspects, wrong_labels
from bottleneck_features.report.scored_pictures import HeldOut, held_out, out_of_fold, splits_of
from cache.errors import UserError
from cache.joined_rows import JoinedSpec
from cache.spec import FeatureSpec
from classify.data.dataset import Dataset
from classify.data.split import Indices, Split
from classify.heads.head_table import fit_head, make_head
from classify.heads.numerics import Floats, unit_rows
from classify.saved.classifier import Classifier
from classify.saved.persist import Saved
from classify.scoring.metrics import Leaked, Scores, score, wilson_interval
from featurize.backbones.tail import pooled_features
from featurize.pictures.find import Failure

log = logging.getLogger("bottleneck")

SHOWN = 24  # mistakes, and uncertain pictures
TOP = 3
NEIGHBOURS = 3
QUICK = ("logreg", "ridge", "svm", "sgd", "knn", "centroid")  # heads that are fitted again and again
HONEST: list[tuple[str, dict[str, Any]]] = [
    ("logreg", {}),
    ("knn", {}),
]  # what says, in folds, which label a picture should have


@dataclass
class Stages:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note the seconds that the body takes."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start


def find(
    classifier: Classifier,
    dataset: Dataset,
    failures: list[Failure],
    *,
    data: str,
    forward_passes: int = 0,
    seconds: dict[str, float] | None = None,
) -> Findings:
    """What there is to say of a model and these pictures, from their cached rows and their files; nothing is computed.

    dataset: as of `classify.data.dataset.dataset_of`, in memory, views=1. data: its name for readers. forward_passes
    and seconds: what went before. Pictures that the model was fitted on are judged by heads that were not: logistic
    regression and nearest neighbours, fitted in folds that never part copies.

    Raises UserError for labels that the model does not know, and where no picture can be held out.
    """
    stages = Stages(dict(seconds or {}))
    saved, classes, labels = classifier.saved, classifier.classes_, dataset.labels
    _require_known(labels, classes)
    rows = _rows(dataset)
    units = unit_rows(rows)
    with stages.timed("near-duplicates"):
        groups, _ = dataset.duplicates()
    with stages.timed("scores"):
        held = held_out(saved, dataset, classifier.extractor.cache_dir, groups)
        scored = held.scored
        known = _scored_probabilities(saved, dataset, groups, held, classes)
        right = np.array(classes)[known.argmax(axis=1)] == labels[scored]
        scores = _scores(labels[scored], known, saved)
        clean = ~held.leaking
        without = None if clean.all() or not clean.any() else _scores(labels[scored[clean]], known[clean], saved)
        leaked = Leaked([dataset.paths[i] for i in scored[held.leaking]], without)
        curve, calibration_error = calibration(known.max(axis=1), right)
        calibration_noise = noise(known.max(axis=1), groups[scored])
    with stages.timed("folds"):
        splits = splits_of(labels, groups)
        honest = out_of_fold(splits, rows, labels, groups, classes, *HONEST)
        found_suspects = suspects(honest, labels, classes, splits) if splits else []
        wrong = wrong_labels(honest, labels, classes, splits)
    with stages.timed("neighbours"):
        numbers, cosines = nearest(units, groups, held.train, NEIGHBOURS)
    with stages.timed("epochs"):
        epochs, epochs_of = _epochs(saved, rows[held.train], labels[held.train], groups[held.train])
    with stages.timed("counts"):
        by_count, gain = _by_count(rows, labels, groups, held.splits, saved)
    with stages.timed("map"):
        places = layout(units)
    with stages.timed("unknowns"):
        unknowns = _unknowns(dataset, held.splits[0])

    shown = honest.copy()
    shown[scored] = known
    pictures = [
        Picture(
            path=path,
            label=str(labels[i]),
            part=str(held.parts[i]),
            answer=classes[shown[i].argmax()] if shown[i].any() else None,
            top=_top(shown[i], classes) if shown[i].any() else [],
            neighbours=[
                (int(number), float(cosine))
                for number, cosine in zip(numbers[i], cosines[i], strict=True)
                if np.isfinite(cosine)
            ],
        )
        for i, path in enumerate(dataset.paths)
    ]
    surest = np.argsort(-known.max(axis=1), kind="stable")
    return Findings(
        data=data,
        model=saved.path,
        head=saved.record["head"],
        backbone=saved.spec.backbone,
        features=_features(saved),
        date=time.strftime("%Y-%m-%d"),
        scored=held.words,
        pictures=pictures,
        failures=[(failure.path, failure.reason) for failure in failures],
        classes=classes,
        trained_on=dict(zip(classes, saved.record["training_counts"], strict=True)),
        counts={name: _by_part(held.parts[labels == name]) for name in classes},
        scores=scores,
        leaked=leaked,
        baselines=_baselines(scores, labels, scored, numbers, cosines),
        calibration=curve,
        calibration_error=calibration_error,
        calibration_noise=calibration_noise,
        calibration_verdict=verdict(calibration_error, calibration_noise),
        epochs=epochs,
        epochs_of=epochs_of,
        by_count=by_count,
        gain=gain,
        advice=advice(gain),
        mistakes=[int(scored[i]) for i in surest if not right[i]][:SHOWN],
        uncertain=[int(scored[i]) for i in surest[::-1][:SHOWN]],
        map=places,
        copies=copies_of(groups, dataset.digests, labels, dataset.parts, held.parts),
        suspects=found_suspects,
        wrong_labels=wrong,
        unknowns=unknowns,
        forward_passes=forward_passes,
        seconds=stages.seconds,
    )


def _require_known(labels: np.ndarray, classes: list[str]) -> None:
    if not len(labels):
        raise UserError("no picture could be used: see the failed images")
    if unknown := sorted(set(labels.tolist()) - set(classes)):
        raise UserError(f"the pictures have the label {unknown[0]!r}, the model knows {', '.join(classes)}")


def _rows(data: Dataset) -> Floats:
    """Rows (n, d) float32 of the pictures as they are; of maps what the backbone, as it was, makes of them."""
    rows = np.asarray(data.originals(slice(None)))
    if data.tail:
        return pooled_features(data.tail.build(), rows)
    return rows.astype(np.float32, copy=False)


def _scored_probabilities(saved: Saved, data: Dataset, groups: Indices, held: HeldOut, classes: list[str]) -> Floats:
    """Probabilities (m, k) of the scored pictures: the model's, or in folds those of heads like it."""
    if len(held.splits) == 1:
        return np.asarray(saved.predictor.predict_proba(data.scored(held.scored)))
    params = {name: value for name, value in saved.record.get("head_params", {}).items() if name != "tensorboard"}
    if data.tail:
        params |= {"tail": data.tail, "verbose": 0}
    head = saved.record["head"], params
    return out_of_fold(held.splits, data.originals(slice(None)), data.labels, groups, classes, head)[held.scored]


def _scores(truth: np.ndarray, known: Floats, saved: Saved) -> Scores:
    classes = saved.record["classes"]
    answers = np.array(classes)[known.argmax(axis=1)]
    return score(truth, answers, known, classes, training_counts=saved.record["training_counts"])


def _epochs(saved: Saved, rows: Floats, labels: np.ndarray, groups: Indices) -> tuple[dict[str, list[float]], str]:
    """What was measured after each epoch, and of which training; nothing where there is none to train on."""
    head = saved.record["head"]
    if history := saved.record.get("metrics", {}).get("history"):
        return history, f"the {head} head of this model"
    if len(set(labels)) < 2:
        return {}, ""
    dense: Any = fit_head(make_head("dense"), rows, labels, groups)
    return dense.history_, "a dense head trained for this report"


def _by_count(
    rows: Floats, labels: np.ndarray, groups: Indices, splits: list[Split], saved: Saved
) -> tuple[list[Count], Gain | None]:
    """Accuracy by number of training pictures, and the gain of the last doubling.

    Nothing where the head cannot be fitted on these few.
    """
    if len(set(labels[splits[0][0]])) < 2:
        return [], None
    try:
        return accuracy_by_count(rows, labels, groups, splits, *_quick(saved))
    except UserError as error:
        log.warning("accuracy by number of pictures is not measured: %s", error)
        return [], None


def _quick(saved: Saved) -> tuple[str, dict[str, Any]]:
    """The model's head and its parameters; logistic regression for one that takes long to fit."""
    head = saved.record["head"]
    return (head, saved.record.get("head_params", {})) if head in QUICK else ("logreg", {})


def _unknowns(dataset: Dataset, split: Split) -> list[Rate]:
    """What `reject` would do, from the training pictures of a split; nothing without these."""
    return [_rate(name, count, of) for name, count, of in rates(dataset, *split)] if len(split[0]) else []


def _baselines(scores: Scores, labels: np.ndarray, scored: Indices, numbers: Indices, cosines: Floats) -> list[Rate]:
    """What the scored pictures give without a model; the second only where there are training pictures."""
    found = [_rate("always the most frequent class", round(scores.baseline_accuracy * scores.n), scores.n)]
    if numbers.shape[1]:
        near = scored[np.isfinite(cosines[scored, 0])]
        if len(near):
            hits = int(np.sum(labels[numbers[near, 0]] == labels[near]))
            found.append(_rate("the nearest training picture", hits, len(near)))
    return found


def _rate(name: str, count: int, of: int) -> Rate:
    return Rate(name, count / of, wilson_interval(count, of), of)


def _top(probabilities: Floats, classes: list[str]) -> list[tuple[str, float]]:
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    return [(classes[i], float(probabilities[i])) for i in order]


def _by_part(parts: np.ndarray) -> dict[str, int]:
    return {part: int(np.sum(parts == part)) for part in ("train", "scored", "other")}


def _features(saved: Saved) -> str:
    """Layer, pooling, size and weights of each network whose features these are."""
    spec, weights = saved.spec, saved.record["weights"]
    if isinstance(spec, JoinedSpec):
        return "; ".join(map(_features_of, spec.parts, weights))
    return _features_of(spec, weights)


def _features_of(spec: FeatureSpec, weights: dict[str, Any]) -> str:
    size = f"{spec.size[0]} x {spec.size[1]} pixels, " if spec.size else ""
    kind = weights["path"].replace("\\", "/").rsplit("/", 1)[-1] if weights["kind"] == "file" else weights["kind"]
    return f"layer {spec.layer}, pooling {spec.pooling}, {size}weights {kind}"
