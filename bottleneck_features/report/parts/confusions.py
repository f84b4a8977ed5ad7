"""The confusion matrix as the page shows it: a table for some classes, a picture and the worst pairs for many."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from classify.scoring.metrics import Scores

TABLE_CLASSES = 20  # a larger table of numbers nobody reads
PAIRS = 30
STEPS = 10  # of colour


@dataclass(frozen=True)
class Cell:
    """`count` pictures of class number `true` answered `answer`: `share` of its pictures, `step` of its colour."""

    true: int
    answer: int
    count: int
    share: float

    @property
    def kind(self) -> str:
        """ "right" or "miss"."""
        return "right" if self.true == self.answer else "miss"

    @property
    def step(self) -> int:
        """1 to `STEPS`; 0 for none."""
        return int(np.ceil(self.share * STEPS))


def cells(scores: Scores) -> list[list[Cell]]:
    """A row for each true class, a cell for each answer."""
    count = len(scores.classes)
    flat = _cells(scores, np.ndindex(count, count))
    return [flat[start : start + count] for start in range(0, count * count, count)]


def occurring(scores: Scores) -> list[Cell]:
    """The cells that are not empty: no more of them than scored pictures, however many classes."""
    return _cells(scores, zip(*np.nonzero(scores.confusion_matrix), strict=True))


def worst_pairs(scores: Scores) -> list[Cell]:
    """The most frequent confusions, at most `PAIRS`; equally frequent ones with the larger share first."""
    wrong = [cell for cell in occurring(scores) if cell.kind == "miss"]
    return sorted(wrong, key=lambda cell: (-cell.count, -cell.share))[:PAIRS]


def _cells(scores: Scores, pairs: Iterable[tuple[int, int]]) -> list[Cell]:
    matrix = scores.confusion_matrix
    shares = matrix / np.maximum(matrix.sum(axis=1), 1)[:, None]
    return [Cell(int(row), int(column), int(matrix[row, column]), float(shares[row, column])) for row, column in pairs]
