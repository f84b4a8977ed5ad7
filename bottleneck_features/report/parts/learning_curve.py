"""Would more photographs help? Accuracy after training on a share of them, and what that tells."""

from typing import Any

import numpy as np

from bottleneck_features.report.findings import Gain, LearningPoint
from classify.comparison.paired_difference import paired_difference
from classify.data.split import Indices, Split
from classify.heads.head_table import fit_head, make_head
from classify.heads.numerics import Floats

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # each twice the one before
LEAST = 2  # pictures of a class
REPETITIONS = 3  # of each share at least, with other pictures
WORTH = 0.005  # a gain in accuracy that is worth taking photographs for


def learning_curve(
    rows: Floats, labels: np.ndarray, groups: Indices, splits: list[Split], head: str, params: dict[str, Any]
) -> tuple[list[LearningPoint], Gain | None]:
    """Accuracies of `head` fitted on growing shares of the training pictures, as many of each class in proportion.

    rows (n, d); labels, groups of near-duplicates (n,); splits: indices of (training, scored) rows. A round over all
    splits scores each picture once. Returns the accuracies, and the gain of the last doubling of the pictures: None
    where half of them cannot be drawn.
    """
    random = np.random.default_rng(0)
    scored = np.concatenate([test for _, test in splits])
    counts: dict[int, list[float]] = {}  # small shares may come to the same pictures
    rounds_of: dict[float, list[tuple[int, np.ndarray]]] = {}  # share -> (pictures drawn, (n,) right) of each round
    for share in SHARES:
        for _ in range(-(-REPETITIONS // len(splits)) if share < 1 else 1):
            drawn = [_drawn(train, labels, groups, share, random) for train, _ in splits]
            if share < 1 and any(len(some) == len(train) for some, (train, _) in zip(drawn, splits, strict=True)):
                continue
            right = []
            for some, (_, test) in zip(drawn, splits, strict=True):
                fitted = fit_head(make_head(head, params), rows[some], labels[some], groups[some])
                right.append(fitted.predict(rows[test]) == labels[test])
            number = round(np.mean([len(some) for some in drawn]))
            rounds_of.setdefault(share, []).append((number, np.concatenate(right)))
    for rounds in rounds_of.values():
        number = round(np.mean([drawn for drawn, _ in rounds]))
        counts.setdefault(number, []).extend(float(right.mean()) for _, right in rounds)
    found = [LearningPoint(n, float(np.mean(of)), min(of), max(of)) for n, of in sorted(counts.items())]
    if len(found) < 2 or 1 / 2 not in rounds_of:
        return found, None
    ((_, full),) = rounds_of[1.0]
    changes = [paired_difference(full, half, groups[scored]) for _, half in rounds_of[1 / 2]]
    return found, Gain(
        half=found[-2].pictures,
        full=found[-1].pictures,
        change=float(np.mean([change.value for change in changes])),
        # What every repetition leaves possible: another half of the pictures may give another accuracy.
        interval=(min(change.interval[0] for change in changes), max(change.interval[1] for change in changes)),
    )


def advice(gain: Gain | None) -> str:
    """Would more photographs help? One sentence that claims no more than the interval of the last doubling."""
    if gain is None:
        return "There are too few photographs to tell whether more would help."
    low, high = gain.interval
    seen = (
        f"training on {gain.full} instead of {gain.half} changed the accuracy by {100 * gain.change:+.1f} points "
        f"(95% interval {100 * low:+.1f} to {100 * high:+.1f}, on the same scored pictures)"
    )
    if low > 0:
        return f"The last doubling of the photographs helped, so more are likely to: {seen}."
    if high < WORTH:
        return f"The last doubling of the photographs did not help, so more like these are unlikely to: {seen}."
    return f"These pictures cannot tell whether more photographs would help: {seen}."


def _drawn(train: Indices, labels: np.ndarray, groups: Indices, share: float, random: np.random.Generator) -> Indices:
    """A share of the rows `train`, of each class in proportion, but at least `LEAST`; near-duplicates come together."""
    chosen = []
    for name in np.unique(labels[train]):
        members = train[labels[train] == name]
        different = random.permutation(np.unique(groups[members]))
        drawn = different[: max(LEAST, round(share * len(different)))]
        chosen.append(members[np.isin(groups[members], drawn)])
    return np.sort(np.concatenate(chosen))
