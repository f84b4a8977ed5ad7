"""Findings of real pictures: their cached rows, folds of a logistic regression, real neighbours and a plain map."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import normalize

from bottleneck_features.report.findings import (
    CalibrationBin,
    ChanceError,
    DuplicateGroup,
    Findings,
    Gain,
    LearningPoint,
    Picture,
    Rate,
    Suspect,
)
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.intervals import wilson_interval
from classify.scoring.metrics import Leaked, Scores, score
from classify.scoring.two_classes import positive_scores

FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)


def findings_of(folder: str, paths: list[str], labels: list[str], rows: np.ndarray) -> Findings:
    """What 5 folds say of pictures with rows (n, d); every picture is scored."""
    X, y = normalize(rows), np.array(labels)
    classes = sorted(set(labels))
    probabilities = cross_val_predict(LogisticRegression(C=10, max_iter=500), X, y, cv=FOLDS, method="predict_proba")
    order = np.argsort(-probabilities, axis=1)
    answers = np.array(classes)[order[:, 0]]
    cosines = X @ X.T
    np.fill_diagonal(cosines, -1)
    nearest = np.argsort(-cosines, axis=1)[:, :3]
    pictures = [
        Picture(
            path=path,
            label=label,
            part="scored",
            answer=str(answer),
            top=[(classes[k], float(given[k])) for k in codes[:3]],
            neighbours=[(int(j), float(row[j])) for j in near],
        )
        for path, label, answer, given, codes, row, near in zip(
            paths, labels, answers, probabilities, order, cosines, nearest, strict=True
        )
    ]
    sure = probabilities.max(axis=1)
    wrong = np.flatnonzero(answers != y)
    counts = {label: {"train": 0, "scored": labels.count(label), "other": 0} for label in classes}
    scores = score(y, answers, probabilities, classes, training_counts=[c["scored"] for c in counts.values()])
    flat = PCA(2, random_state=0).fit_transform(X)
    close = np.argwhere(np.triu(cosines > np.quantile(cosines, 0.9999)))[:8]
    return Findings(
        data=folder,
        model="models/logreg.joblib",
        head="logreg",
        backbone="nano",
        features="layer relu, average pooling, 224 x 224, weights imagenet",
        date="2026-11-23",
        scored="5 folds",
        pictures=pictures,
        failures=[(f"{folder}/broken.jpg", "damaged JPEG: image file is truncated")],
        classes=classes,
        trained_on={label: labels.count(label) for label in classes},
        counts=counts,
        scores=scores,
        positive=None,
        leaked=Leaked(),
        baselines=[
            _rate("always the most frequent class", int(scores.support.max()), scores.n),
            _rate("the nearest training picture", int((y[nearest[:, 0]] == y).sum()), scores.n),
        ],
        calibration=_calibration(sure, answers == y),
        calibration_error=0.012,
        calibration_by_chance=ChanceError(0.02, 0.005, 0.04),
        calibration_verdict="Expected calibration error 0.012: these pictures show no difference from that.",
        epochs={
            "loss": [0.9, 0.4, 0.25, 0.2, 0.17, 0.15],
            "accuracy": [0.7, 0.85, 0.92, 0.94, 0.96, 0.97],
            "val_loss": [0.6, 0.38, 0.3, 0.27, 0.26, 0.26],
            "val_accuracy": [0.8, 0.88, 0.9, 0.92, 0.92, 0.93],
        },
        epochs_of="a dense head trained for this report",
        learning_curve=_by_count(X, y),
        gain=Gain(14, 29, 0.01, (-0.05, 0.07)),
        advice="Probably not: twice as many pictures raised the accuracy by less than a point.",
        mistakes=[int(i) for i in wrong[np.argsort(-sure[wrong])][:24]],
        uncertain=[int(i) for i in np.argsort(sure)[:24]],
        map=((flat - flat.min(0)) / np.ptp(flat, axis=0)).astype(np.float32),
        near_duplicates=[
            DuplicateGroup("near" if n % 2 else "exact", [int(i), int(j)], n == 0, bool(y[i] != y[j]))
            for n, (i, j) in enumerate(close)
        ],
        wrong_labels=_rate("labels estimated to be wrong", 2, len(y)),
        suspects=[_suspect(int(i), pictures[i], probabilities[i], classes) for i in wrong[:100]],
        unknowns=[_rate("known pictures kept", 95, 100), _rate(f"pictures of {classes[0]} rejected", 88, 100)],
        forward_passes=0,
        seconds={"features": 0.1, "folds": 1.4, "copies": 0.6, "map": 2.0},
    )


def renamed(findings: Findings, names: dict[str, str]) -> Findings:
    """The same findings, every class called otherwise."""
    scores: Scores = replace(findings.scores, classes=[names[c] for c in findings.classes])
    pictures = [
        replace(
            p,
            label=names[p.label],
            answer=names[p.answer] if p.answer else None,
            top=[(names[label], share) for label, share in p.top],
        )
        for p in findings.pictures
    ]
    return replace(
        findings,
        classes=scores.classes,
        scores=scores,
        pictures=pictures,
        trained_on={names[label]: count for label, count in findings.trained_on.items()},
        counts={names[label]: parts for label, parts in findings.counts.items()},
        suspects=[replace(s, suggested=names[s.suggested]) for s in findings.suspects],
    )


def _rate(name: str, hits: int, n: int) -> Rate:
    return Rate(name, hits / n, wilson_interval(hits, n), n)


def _calibration(sure: np.ndarray, right: np.ndarray) -> list[CalibrationBin]:
    edges = np.linspace(0, 1, 11)
    inside = [(sure > low) & (sure <= high) for low, high in pairwise(edges)]
    return [CalibrationBin(float(sure[m].mean()), float(right[m].mean()), int(m.sum())) for m in inside if m.any()]


def _by_count(X: np.ndarray, y: np.ndarray) -> list[LearningPoint]:
    found = []
    for share in (0.2, 0.4, 0.8):
        n, accuracies = round(share * len(y)), []
        for seed in range(3):
            order = np.random.default_rng(seed).permutation(len(y))
            model = LogisticRegression(C=10, max_iter=500).fit(X[order[:n]], y[order[:n]])
            accuracies.append(float(model.score(X[order[n:]], y[order[n:]])))
        found.append(LearningPoint(n, float(np.mean(accuracies)), min(accuracies), max(accuracies)))
    return found


def _suspect(number: int, picture: Picture, given: np.ndarray, classes: list[str]) -> Suspect:
    suggested, probability = picture.top[0]
    of_given = float(given[classes.index(picture.label)])
    return Suspect(number, suggested, probability, of_given, of_given < 0.05)


def many_classes(findings: Findings, k: int) -> Findings:
    """The same pictures in k classes, several of each answered wrongly."""
    names = [f"n{code:08}-breed {code}" for code in range(k)]
    truth = np.arange(4 * k) % k
    answers = np.where(np.arange(4 * k) < k, (truth + 1) % k, truth)
    given = np.full((len(truth), k), 1 / k)
    labels = np.array(names)
    scores = score(labels[truth], labels[answers], given, names, training_counts=np.ones(k))
    pictures = [
        Picture(findings.pictures[n % 36].path, names[t], "scored", names[a], [(names[a], 0.5)], [])
        for n, (t, a) in enumerate(zip(truth, answers, strict=True))
    ]
    flat = np.random.default_rng(0).random((4 * k, 2)).astype(np.float32)
    counts = {label: {"train": 0, "scored": 4, "other": 0} for label in names}
    shown = {"mistakes": [0, 1], "uncertain": [2], "near_duplicates": [], "suspects": []}
    return replace(findings, pictures=pictures, classes=names, counts=counts, scores=scores, map=flat, **shown)


def looking_for(findings: Findings, prevalence: float | None) -> Findings:
    """The same pictures in two classes, of which the second is looked for."""
    found = many_classes(findings, 2)
    random = np.random.default_rng(0)
    truth = np.arange(60) % 2
    sure = np.clip(0.5 + (truth - 0.5) * 0.4 + random.normal(0, 0.2, 60), 0.01, 0.99)
    answers = HeldOutAnswers(
        classes=found.classes,
        rows=np.arange(60),
        parts=np.full(60, "scored"),
        truth=truth,
        probabilities=np.stack([1 - sure, sure], axis=1),
        groups=np.arange(60),
    )
    return replace(found, positive=positive_scores(answers, found.classes[1], prevalence))
