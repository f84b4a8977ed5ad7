"""What a classifier says of pictures, and that as the rows of a table: labels by rank, or a column for each class."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.errors import UserError
from featurize.extract.outcome import Outcome

if TYPE_CHECKING:
    from classify.group_answers import GroupAnswers

COLUMNS = ("path", "rank", "label", "probability", "margin")
OF_REJECTION = ("reason", "would_be_label", "would_be_probability", "distance")
OF_GROUP = ("group", "group_label", "group_probability")
OF_DECISIONS = ("decision", "labels")  # see `classify.decisions.decide`
HEATMAP = "heatmap"

# The order of the pictures -> its key; of equal keys the order given stays.
ORDERS: dict[str, Callable[[str, float, bool], Any]] = {
    "uncertainty": lambda _path, margin, rejected: (np.isnan(margin), not rejected, margin),  # failures come last
    "path": lambda path, _margin, _rejected: os.fsencode(path),
}


@dataclass(frozen=True)
class Answers:
    """What became of each of n images: probabilities (n, k) float64, a row of NaN where it has no features.

    distances: (n,) float64 from the training pictures, where these decide; NaN without features. unknown: position ->
    one line, for the images that are rejected; why others have no answer is in `outcome`. decisions: what was asked of
    `OF_DECISIONS`, each with one text an image. heatmaps: position -> file of its heat map, where such were asked for.
    """

    outcome: Outcome
    probabilities: np.ndarray
    distances: np.ndarray | None = None
    unknown: dict[int, str] = field(default_factory=dict)
    decisions: dict[str, list[str]] = field(default_factory=dict)
    heatmaps: dict[int, str] | None = None

    @property
    def columns(self) -> list[str]:
        """The columns of its table, but those of groups, heat maps and classes."""
        reasons = ("reason",) if "decision" in self.decisions else ()
        return [*COLUMNS, *(reasons if self.distances is None else OF_REJECTION), *self.decisions]

    @property
    def codes(self) -> list[int | None]:
        """The number of the class that each image was given; None for those without an answer."""
        return [
            None if np.isnan(row).any() or position in self.unknown else int(row.argmax())
            for position, row in enumerate(self.probabilities)
        ]


def check_table(k: int, wide: bool) -> None:
    """Raise UserError for k < 1, and for k > 1 in a wide table."""
    if k < 1:
        raise UserError(f"top k {k}: give a number of 1 or more")
    if wide and k > 1:
        raise UserError(f"--wide has one row a picture, so --top-k {k} says nothing: leave out one of them")


def prediction_rows(
    answers: Answers,
    classes: Sequence[str],
    k: int = 1,
    *,
    wide: bool = False,
    order: str | None = None,
    groups: "GroupAnswers | None" = None,
) -> list[dict[str, Any]]:
    """The rows of a table of predictions, each as column -> value.

    The columns are `Answers.columns`: `COLUMNS`; if the answers were asked to reject, also `OF_REJECTION`; of
    `OF_DECISIONS` what they were asked for, a decision with its reason where there is none. With answers about groups,
    also `OF_GROUP`; where there are heat maps, `HEATMAP` with the file. If `wide`, one a class with its probability,
    called as the class, or "class NAME" where that is one of these names. margin: the probability of
    the first label less that of the second. A picture without an answer has rank 1, label None and NaN; one that is
    rejected keeps what it would have been in columns of their own.

    Parameters
    ----------
    k : int
        Rows for each picture at most.
    order : {"uncertainty", "path"}, optional
        Rejected pictures and small margins first, or paths by their bytes; by default the order given.

    Raises
    ------
    UserError
        As `check_table`.
    """
    check_table(k, wide)
    taken = (*COLUMNS, *OF_REJECTION, *OF_DECISIONS, *OF_GROUP, HEATMAP)
    names = [name if name not in taken else f"class {name}" for name in classes]
    tables = []
    for position, probabilities in enumerate(answers.probabilities):
        path, rejected = answers.outcome.name(position), position in answers.unknown
        best = np.argsort(-probabilities, kind="stable")
        margin = float(probabilities[best[0]] - probabilities[best[1]]) if len(classes) > 1 else float("nan")
        first, certainty = classes[best[0]], float(probabilities[best[0]])
        if np.isnan(certainty) or rejected:
            rows = [{"path": path, "rank": 1, "label": None, "probability": float("nan"), "margin": float("nan")}]
        else:
            rows = [
                {
                    "path": path,
                    "rank": rank,
                    "label": classes[i],
                    "probability": float(probabilities[i]),
                    "margin": margin,
                }
                for rank, i in enumerate(best[:k], start=1)
            ]
        for row in rows:
            if "reason" in answers.columns:
                row["reason"] = answers.unknown.get(position) or answers.outcome.reasons.get(position, "")
            if answers.distances is not None:
                row["would_be_label"] = first if rejected else None
                row["would_be_probability"] = certainty if rejected else float("nan")
                row["distance"] = float(answers.distances[position])
            row |= {name: texts[position] for name, texts in answers.decisions.items()}
            if groups is not None:
                row |= dict(zip(OF_GROUP, groups.answer_about(position, classes), strict=True))
            if answers.heatmaps is not None:
                row[HEATMAP] = answers.heatmaps.get(position)
            if wide:
                row |= dict(zip(names, probabilities.tolist(), strict=True))
        tables.append((ORDERS[order](path, margin, rejected) if order else 0, rows))
    return [row for _, rows in sorted(tables, key=lambda table: table[0]) for row in rows]
