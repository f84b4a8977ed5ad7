"""Would more photographs help? Accuracy after training on a share of them, and what that tells."""

from typing import Any

import numpy as np

from classify.heads import fit_head, make_head
from classify.numerics import Floats
from classify.split import Indices, Split
from report.findings import Count

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # each twice the one before
LEAST = 2  # pictures of a class
REPETITIONS = 3  # of each share, with other pictures
WORTH = 0.005  # a gain in accuracy that is worth taking photographs for


def accuracy_by_count(
    rows: Floats, labels: np.ndarray, groups: Indices, splits: list[Split], head: str, params: dict[str, Any]
) -> list[Count]:
    """Accuracies of `head` fitted on growing shares of the training pictures, as many of each class in proportion.

    rows (n, d); labels, groups of copies (n,); splits: row indices (training, scored) pictures, used in turn where
    there are several.
    """
    random = np.random.default_rng(0)
    found: dict[float, list[tuple[int, float]]] = {}  # share -> (pictures drawn, accuracy) of each repetition
    for share in SHARES:
        for repetition in range(max(REPETITIONS, len(splits)) if share < 1 else len(splits)):
            train, scored = splits[repetition % len(splits)]
            drawn = _drawn(train, labels, groups, share, random)
            if share < 1 and len(drawn) == len(train):
                continue
            fitted = fit_head(make_head(head, params), rows[drawn], labels[drawn], groups[drawn])
            accuracy = float(np.mean(fitted.predict(rows[scored]) == labels[scored]))
            found.setdefault(share, []).append((len(drawn), accuracy))
    counts: dict[int, list[float]] = {}  # small shares may come to the same pictures
    for repetitions in found.values():
        drawn_each, accuracies = zip(*repetitions, strict=True)
        counts.setdefault(round(np.mean(drawn_each)), []).extend(accuracies)
    return [Count(n, float(np.mean(of)), min(of), max(of)) for n, of in sorted(counts.items())]


def advice(counts: list[Count]) -> str:
    """One sentence: would more photographs help?"""
    if len(counts) < 2:
        return "There are too few photographs to tell whether more would help."
    half, full = counts[-2:]
    gain = full.accuracy - half.accuracy
    seen = f"training on {full.pictures} instead of {half.pictures} changed the accuracy by {100 * gain:+.1f} points"
    if gain > max(WORTH, (half.high - half.low) / 2):
        return f"More photographs would probably help: {seen}."
    return f"More photographs like these would probably help little: {seen}."


def _drawn(train: Indices, labels: np.ndarray, groups: Indices, share: float, random: np.random.Generator) -> Indices:
    """A share of the rows `train`, of each class in proportion, but at least `LEAST`; copies come together."""
    chosen = []
    for name in np.unique(labels[train]):
        members = train[labels[train] == name]
        different = random.permutation(np.unique(groups[members]))
        drawn = different[: max(LEAST, round(share * len(different)))]
        chosen.append(members[np.isin(groups[members], drawn)])
    return np.sort(np.concatenate(chosen))
