"""What the side of the page says: how many labels, how good, what the next ones may bring, as JSON."""

from collections import Counter
from typing import Any

import numpy as np

from bottleneck_features.report.findings import LearningPoint
from bottleneck_features.review.session import Session, View
from classify.labelling.label_log import STATES
from classify.labelling.learner import LEAST, TARGET, Check
from classify.scoring.class_scores import share_of

MORE = 50  # labels that a gain is told for
PAIRS = 20


def side_of(session: Session) -> dict[str, Any]:
    """All of it. Parts that cannot be told yet are None."""
    view, gallery = session.view, session.gallery
    called = Counter[str]()
    if view.opinion:
        counts = np.bincount(view.opinion.answers[~view.settled], minlength=len(view.opinion.classes))
        called.update(dict(zip(view.opinion.classes, counts.tolist(), strict=True)))
    return {
        "version": view.version,
        "learnt": view.learnt,
        "trained": session.trained,
        "read_only": session.log.read_only,
        "pictures": len(view.labels),
        "progress": {"done": gallery.done, "total": gallery.total, "failed": len(gallery.failures)},
        "stopped": session.failed or None,
        "labelled": int(view.labelled.sum()),
        "classes": [{"name": name, "count": count, "called": called[name]} for name, count in view.classes.items()],
        "states": {state: int((view.states == state).sum()) for state in STATES},
        "accuracy": None if view.check is None else accuracy_of(view, view.check),
        "gain": expected_gain(view.curve) if (~view.settled).sum() >= MORE else None,
        "curve": [{"labels": point.pictures, "accuracy": point.accuracy} for point in view.curve],
        "confused": [] if view.check is None else confused(view.check),
        "accepted": None if view.check is None else accepted(view, view.check),
    }


def accuracy_of(view: View, check: Check) -> dict[str, Any] | None:
    """The share of right held-out answers and its interval, of randomly drawn pictures where these are enough.

    None where no picture was named one by one: see `Check`.
    """
    sample = check.drawn(view.pictures.pool.drawn(view.one_by_one, view.passed))
    answers = sample or check.one_by_one
    if not len(answers.truth):
        return None
    value, low, high = share_of(answers.right, answers.groups).tolist()
    of = "drawn at random" if sample else "that were asked: these are harder than others, or more typical"
    return {"value": value, "interval": [low, high], "of": f"{len(answers.truth)} pictures {of}", "drawn": bool(sample)}


def expected_gain(curve: tuple[LearningPoint, ...]) -> float | None:
    """How much accuracy `MORE` labels may bring: errors fall with a power of the number of labels.

    Cortes, Jackel, Solla, Vapnik and Denker, "Learning curves: asymptotic values and rate of convergence", NIPS 1993.
    None where the curve does not tell.
    """
    points = [point for point in curve if point.accuracy < 1]
    if len(points) < 3:
        return None
    slope, at_one = np.polyfit(np.log([p.pictures for p in points]), np.log([1 - p.accuracy for p in points]), 1)
    last = curve[-1].pictures
    now, then = (np.exp(at_one + slope * np.log(n)) for n in (last, last + MORE))
    return max(0.0, float(now - then))


def confused(check: Check) -> list[dict[str, Any]]:
    """The pairs of classes that held-out answers confuse most."""
    answers = check.held_out
    wrong = ~answers.right
    pairs = Counter(zip(answers.truth[wrong].tolist(), answers.predicted[wrong].tolist(), strict=True))
    return [
        {"true": answers.classes[true], "answer": answers.classes[answer], "count": count}
        for (true, answer), count in pairs.most_common(PAIRS)
    ]


def accepted(view: View, check: Check) -> dict[str, Any]:
    """How many pictures without label could be accepted as they are answered, or why none."""
    acceptance, left = check.acceptance, np.flatnonzero(~view.settled)
    refused = acceptance.shortfall if acceptance else f"fewer than {LEAST} pictures were named one by one"
    found: dict[str, Any] = {"target": TARGET, "left": len(left), "count": 0, "refused": refused}
    if acceptance and acceptance.accepts_some and view.opinion and view.opinion.classes == acceptance.classes:
        sure = acceptance.accepts(view.opinion.answers[left], view.opinion.confidence[left])
        found["count"] = int(sure.sum())
    return found
