"""What a training or an evaluation says of decisions: thresholds, what they gave on the scored pictures, each group."""

from typing import Any

import numpy as np

from cache.errors import UserError
from classify.decisions.group_scores import group_scores
from classify.decisions.lower_bounds import CONFIDENCE, counted
from classify.decisions.prediction_sets import PredictionSets, measured_out_of_fold
from classify.decisions.saved_answers import UNANSWERED, SavedAnswers, required
from classify.decisions.thresholds import Acceptance, Curve
from classify.scoring.held_out_answers import HeldOutAnswers


def decisions_of_training(
    out_of_fold: HeldOutAnswers | None,
    scored: HeldOutAnswers,
    accept: float | None,
    coverage: float | None,
    refit: bool,
) -> dict[str, Any] | None:
    """As `decisions_of`, of the answers out of fold of a training; also what label sets give among these.

    refit: whether the scored pictures have had a part in the thresholds: then they check nothing.
    """
    if not out_of_fold:
        return None
    found = decisions_of(SavedAnswers.of(out_of_fold), scored, accept, coverage, checked=not refit)
    if found and found["coverage"] and coverage is not None:
        found["coverage"]["out_of_fold"] = measured_out_of_fold(out_of_fold, coverage)
    return found


def decisions_of(
    answers: SavedAnswers | None,
    scored: HeldOutAnswers,
    accept: float | None,
    coverage: float | None,
    checked: bool = True,
) -> dict[str, Any] | None:
    """What to say of decisions, as JSON types; None where none were asked for.

    answers: what the model keeps. scored: about pictures that it was not fitted on, which check what is promised.
    Returns answers, groups and named_groups (how many), curve (see `Curve.rows`), group_scores (the worst first); and
    accept and coverage, each None where not asked; their `scored` is None unless `checked`. Raises UserError where the
    model has no held-out answers.
    """
    if accept is None and coverage is None:
        return None
    answers = required(answers)
    acceptance = None if accept is None else Acceptance.of(answers, scored.classes, accept)
    scores = group_scores(answers, None if acceptance is None else acceptance.accepted)
    return {
        "answers": len(answers.truth),
        "groups": len(np.unique(answers.groups)),
        "named_groups": len(answers.names),
        "curve": Curve.of(answers).rows(),
        "accept": None if acceptance is None else _accept(acceptance, scored if checked else None),
        "coverage": None if coverage is None else _coverage(answers, scored, coverage, checked),
        "group_scores": [score.to_json() for score in scores],
    }


def _accept(acceptance: Acceptance, scored: HeldOutAnswers | None) -> dict[str, Any]:
    refused = dict.fromkeys(acceptance.unanswered, UNANSWERED) | {
        acceptance.classes[number]: reason
        for number in range(len(acceptance.curves))
        if acceptance.by_class and (reason := acceptance.refused_of(number))
    }
    about = {
        "target": acceptance.target,
        "confidence": CONFIDENCE,
        "needed": acceptance.needed,
        "by_class": acceptance.by_class,
        "refused": acceptance.refused,
        "refused_classes": refused,
    }
    if acceptance.refused:
        return about
    share, low, high = acceptance.share()
    thresholds = [threshold if np.isfinite(threshold) else None for threshold in acceptance.thresholds.tolist()]
    return about | {
        "thresholds": dict(zip(acceptance.classes, thresholds, strict=True)),
        "share": share,
        "share_interval": [low, high],
        "scored": _checked(acceptance, scored) if scored else None,
    }


def _checked(acceptance: Acceptance, scored: HeldOutAnswers) -> dict[str, Any]:
    """What the scored pictures say: the share that is accepted, the precision there and its 95% interval."""
    accepted = acceptance.accepts(scored.predicted, scored.confidence)
    found: dict[str, Any] = {"n": len(accepted), "accepted": int(accepted.sum()), "share": float(accepted.mean())}
    if not accepted.any():
        return found | {"precision": None, "precision_interval": None}
    right = scored.right[accepted]
    (low,), (high,) = counted(right, np.unique(scored.groups[accepted], return_inverse=True)[1]).interval()
    return found | {"precision": float(right.mean()), "precision_interval": [float(low), float(high)]}


def _coverage(answers: SavedAnswers, scored: HeldOutAnswers, coverage: float, checked: bool) -> dict[str, Any]:
    try:
        sets = PredictionSets.of(answers, len(scored.classes), coverage)
    except UserError as error:
        return {"target": coverage, "refused": str(error)}
    limits = [limit if np.isfinite(limit) else None for limit in sets.limits.tolist()]
    return {
        "target": coverage,
        "refused": None,
        "sure": sets.sure,
        "by_class": sets.by_class,
        "limits": dict(zip(scored.classes, limits, strict=True)),
        "always": [scored.classes[code] for code in np.flatnonzero(answers.unanswered(len(scored.classes)))],
        "scored": sets.measured(scored.probabilities, scored.truth) if checked else None,
    }
