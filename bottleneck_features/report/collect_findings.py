"""A saved model and its pictures -> `Findings`: all that a report shows, each part by the file of its name.

cached rows -> near-duplicates -> who is held out -> scores | folds over all pictures -> suspects | curves |
nearest pictures | map
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bottleneck_features.report.findings import Findings, Gain, LearningPoint, Picture, Rate
from bottleneck_features.report.parts.calibration_curve import calibration, chance_error, verdict
from bottleneck_features.report.parts.delegation import delegation
from bottleneck_features.report.parts.learning_curve import advice, learning_curve
from bottleneck_features.report.parts.near_duplicates import near_duplicate_groups
from bottleneck_features.report.parts.nearest_pictures import nearest
from bottleneck_features.report.parts.outlier_rates import outlier_rates
from bottleneck_features.report.parts.picture_map import picture_map
from bottleneck_features.report.parts.suspects import suspects, wrong_labels
from bottleneck_features.report.scored_pictures import HeldOut, folds_of, held_out, out_of_fold
from cache.errors import UserError, log
from cache.joined_rows import JoinedSpec
from cache.row_key import FeatureSpec
from classify.data.beyond_memory import require_memory
from classify.data.dataset import Dataset
from classify.data.grouping import united
from classify.data.split import Indices, Split
from classify.heads.head_table import HEADS, fit_head, make_head
from classify.heads.numerics import Floats, unit_rows
from classify.plan_options import Plan
from classify.saved.classifier import Classifier
from classify.saved.persist import Saved
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.metrics import Leaked, codes_of
from classify.scoring.out_of_fold import scores_of
from classify.scoring.two_classes import positive_scores
from featurize.backbones.tail import pooled_features
from featurize.pictures.find_images import Failure

SHOWN = 24  # mistakes, and uncertain pictures
TOP = 3
NEIGHBOURS = 3
FOLD_HEADS: list[tuple[str, dict[str, Any]]] = [("logreg", {}), ("knn", {})]  # in folds, they judge the labels


def collect(
    classifier: Classifier,
    dataset: Dataset,
    failures: list[Failure],
    *,
    data: str,
    plan: Plan | None = None,
    forward_passes: int = 0,
    seconds: dict[str, float] | None = None,
) -> Findings:
    """What there is to say of a model and these pictures, from their cached rows and their files.

    dataset: from `classify.data.dataset.dataset_of`, in memory, views=1. data: its name for readers. plan: has positive
    and prevalence. forward_passes and seconds: of the stages before. A
    picture that the model was fitted on is judged by heads that were not: logistic regression and nearest neighbours,
    in folds that keep near-duplicates together.

    Raises UserError where no picture can be used, and where none can be held out.
    """
    seconds = dict(seconds or {})

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[stage] = time.perf_counter() - start

    saved, classes, labels = classifier.saved, classifier.classes_, dataset.labels
    rows = _rows(dataset)
    for head, params in (*FOLD_HEADS, ("dense", {})):
        require_memory(head, params, rows, len(classes))
    units = unit_rows(rows)
    with timed("near-duplicates"):
        duplicates, _ = dataset.duplicates()
        groups = (together := united(duplicates, dataset.groups)).numbers
    with timed("scores"):
        held = held_out(saved, dataset, classifier.extractor.cache_dir, together)
        scored = held.scored
        probabilities = _scored_probabilities(saved, dataset, groups, held, classes)
        answers = HeldOutAnswers(
            classes=classes,
            rows=scored,
            parts=np.full(len(scored), "scored"),
            truth=codes_of(labels[scored], classes),
            probabilities=probabilities,
            groups=groups[scored],
            names=None if dataset.groups is None else dataset.groups[scored],
        )
        sure, right = answers.confidence, answers.right
        scores, clean = scores_of(answers, saved.record["training_counts"]), ~held.leaking
        without = None
        if clean.any() and not clean.all():
            without = scores_of(answers.of(clean), saved.record["training_counts"])
        of_class = positive_scores(answers, plan.positive, plan.prevalence) if plan and plan.positive else None
        curve, calibration_error = calibration(sure, right)
        by_chance = chance_error(sure, groups[scored])
    with timed("folds"):
        splits = folds_of(labels, together)
        by_folds = out_of_fold(splits, rows, labels, groups, classes, *FOLD_HEADS)
        found_suspects = suspects(by_folds, labels, classes, splits) if splits else []
        wrong = wrong_labels(by_folds, labels, classes, splits, groups if together.named else None)
    with timed("neighbours"):
        numbers, cosines = nearest(units, duplicates, held.train, NEIGHBOURS)
    with timed("epochs"):
        epochs, epochs_of = _epochs(saved, rows[held.train], labels[held.train], groups[held.train])
    with timed("counts"):
        points, gain = _learning_curve(rows, labels, groups, held.splits, saved)
    with timed("map"):
        positions = picture_map(units)
    with timed("unknowns"):
        unknowns = outlier_rates(dataset, *held.splits[0])

    shown = by_folds.copy()
    shown[scored] = probabilities
    pictures = []
    for i, path in enumerate(dataset.paths):
        ranked: list[int] = np.argsort(-shown[i], kind="stable")[:TOP].tolist() if shown[i].any() else []
        near = zip(numbers[i].tolist(), cosines[i].tolist(), strict=True)
        picture = Picture(
            path=path,
            label=str(labels[i]),
            part=str(held.parts[i]),
            answer=classes[ranked[0]] if ranked else None,
            top=[(classes[code], float(shown[i, code])) for code in ranked],
            neighbours=[(number, cosine) for number, cosine in near if np.isfinite(cosine)],
        )
        pictures.append(picture)
    surest = np.argsort(-sure, kind="stable")
    parts = ("train", "scored", "other")
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
        counts={name: {part: int(np.sum(held.parts[labels == name] == part)) for part in parts} for name in classes},
        scores=scores,
        positive=of_class,
        leaked=Leaked([dataset.paths[i] for i in scored[held.leaking]], without),
        baselines=_baselines(
            answers,
            saved.record["training_counts"],
            labels[numbers[scored, :1]] == labels[scored, None],
            np.isfinite(cosines[scored, :1]).sum(axis=1) > 0,
        ),
        calibration=curve,
        calibration_error=calibration_error,
        calibration_by_chance=by_chance,
        calibration_verdict=verdict(calibration_error, by_chance),
        epochs=epochs,
        epochs_of=epochs_of,
        learning_curve=points,
        gain=gain,
        advice=advice(gain),
        mistakes=[int(scored[i]) for i in surest if not right[i]][:SHOWN],
        uncertain=[int(scored[i]) for i in surest[::-1][:SHOWN]],
        map=positions,
        near_duplicates=near_duplicate_groups(duplicates, dataset.digests, labels, dataset.parts, held.parts),
        suspects=found_suspects,
        wrong_labels=wrong,
        unknowns=unknowns,
        forward_passes=forward_passes,
        seconds=seconds,
        delegation=delegation(saved.answers, classes),
    )


def _rows(data: Dataset) -> Floats:
    """Rows (n, d) float32 of the original pictures; feature maps pass the rest of the frozen backbone.

    Raises UserError where there is none.
    """
    if not len(data.labels):
        raise UserError("no picture could be used: see the failed images")
    rows = np.asarray(data.originals(slice(None)))
    if data.tail:
        return pooled_features(data.tail.build(), rows)
    return rows.astype(np.float32, copy=False)


def _scored_probabilities(saved: Saved, data: Dataset, groups: Indices, held: HeldOut, classes: list[str]) -> Floats:
    """Probabilities (m, k) of the scored pictures: the model's, or in folds those of heads with its parameters."""
    if len(held.splits) == 1:
        return np.asarray(saved.predictor.predict_proba(data.scored(held.scored)))
    params = {name: value for name, value in saved.record.get("head_params", {}).items() if name != "tensorboard"}
    if data.tail:
        params |= {"tail": data.tail, "verbose": 0}
    head, rows = saved.record["head"], np.asarray(data.originals(slice(None)))
    require_memory(head, params, rows, len(classes))
    return out_of_fold(held.splits, rows, data.labels, groups, classes, (head, params))[held.scored]


def _epochs(saved: Saved, rows: Floats, labels: np.ndarray, groups: Indices) -> tuple[dict[str, list[float]], str]:
    """What was measured after each epoch, and of which training; nothing where there is none to train on."""
    head = saved.record["head"]
    if history := saved.record.get("metrics", {}).get("history"):
        return history, f"the {head} head of this model"
    if len(set(labels)) < 2:
        return {}, ""
    dense: Any = fit_head(make_head("dense"), rows, labels, groups)
    return dense.history_, "a dense head trained for this report"


def _learning_curve(
    rows: Floats, labels: np.ndarray, groups: Indices, splits: list[Split], saved: Saved
) -> tuple[list[LearningPoint], Gain | None]:
    """The learning curve of the model's head, or of logistic regression where that head takes long to fit.

    Nothing where the head cannot be fitted on these few pictures.
    """
    if len(set(labels[splits[0][0]])) < 2:
        return [], None
    head, params = saved.record["head"], saved.record.get("head_params", {})
    if not HEADS[head].quick:
        head, params = "logreg", {}
    try:
        require_memory(head, params, rows, len(set(labels)))
        return learning_curve(rows, labels, groups, splits, head, params)
    except UserError as error:
        log.warning("accuracy by number of pictures is not measured: %s", error)
        return [], None


def _baselines(answers: HeldOutAnswers, counts: list[int], same: np.ndarray, near: np.ndarray) -> list[Rate]:
    """What the scored pictures give without a model; the second only where there are training pictures.

    counts: (k,), training pictures of each class. same: (m, 1) bool, whether the nearest training picture has the label
    of a scored one; near: (m,) bool, whether there is one.
    """
    most = np.flatnonzero(np.array(counts) == max(counts))
    frequent = most[np.argmax(np.bincount(answers.truth, minlength=len(counts))[most])]
    found = [("always the most frequent class", answers.truth == frequent, np.ones(len(near), bool))]
    found.append(("the nearest training picture", same.any(axis=1), near))
    rates = []
    for name, right, some in found:
        if some.any():
            groups = None if answers.names is None else answers.groups[some]
            rates.append(Rate.of(name, right[some], groups))
    return rates


def _features(saved: Saved) -> str:
    """Layer, pooling, size and weights of each network whose features these are."""
    spec, weights = saved.spec, saved.record["weights"]
    joined = isinstance(spec, JoinedSpec)
    return "; ".join(map(_features_of, spec.parts, weights if joined else [weights]))


def _features_of(spec: FeatureSpec, weights: dict[str, Any]) -> str:
    size = f"{spec.size[0]} x {spec.size[1]} pixels, " if spec.size else ""
    kind = weights["path"].replace("\\", "/").rsplit("/", 1)[-1] if weights["kind"] == "file" else weights["kind"]
    return f"layer {spec.layer}, pooling {spec.pooling}, {size}weights {kind}"
