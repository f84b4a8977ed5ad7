"""What may be accepted without looking, at which precision, and which group of pictures is bad."""

from bottleneck_features.report.findings import Accepted, Delegation
from classify.decisions.group_scores import group_scores
from classify.decisions.saved_answers import SavedAnswers
from classify.decisions.thresholds import Acceptance, Curve

TARGETS = (0.9, 0.95, 0.98, 0.99)


def delegation(answers: SavedAnswers | None, classes: list[str]) -> Delegation | None:
    """What the held-out answers of a model support; None where it was saved without any.

    The groups' accepted answers are those at the highest of `TARGETS` that is supported.
    """
    if answers is None:
        return None
    asked = [Acceptance.of(answers, classes, target) for target in TARGETS]
    supported = [acceptance for acceptance in asked if not acceptance.refused]
    taken = supported[-1] if supported else None
    return Delegation(
        answers=len(answers.truth),
        curve=Curve.of(answers).rows(),
        targets=[Accepted(acceptance.target, *acceptance.share()) for acceptance in supported],
        refused=[(acceptance.target, acceptance.needed) for acceptance in asked if acceptance.refused],
        by_class=asked[0].by_class,
        groups=group_scores(answers, None if taken is None else taken.accepted),
        groups_at=None if taken is None else taken.target,
    )
