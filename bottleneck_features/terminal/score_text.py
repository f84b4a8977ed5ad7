"""Scores as plain text for a terminal; the complete tables go to JSON and CSV."""

from typing import Any

import numpy as np
from rich.cells import cell_len, chop_cells

from bottleneck_features.terminal.safe_text import escape
from classify.scoring.metrics import Scores

SHOWN_CLASSES = 6  # a longer table, or a wider matrix beside it, pushes the accuracy off the screen
SHOWN_MISTAKES = 3
NAME_WIDTH = 32


def format_report(scores: Scores) -> str:
    """The scores of `score_lines`, and `class_table`."""
    return "\n".join([*score_lines(scores), "", class_table(scores)])


def score_lines(scores: Scores) -> list[str]:
    """Accuracy with its interval, baseline, log loss; where the classes are uneven also the means over the classes."""
    low, high = scores.accuracy_interval
    interval = f"95% interval {low:.4f} to {high:.4f} {scores.drawn}"
    lines = [f"accuracy  {scores.accuracy:.4f}  ({scores.n} pictures; {interval})"]
    baseline = "always the most frequent training class"
    lines += mean_lines(scores)
    if scores.uneven and scores.baseline_balanced_accuracy is not None:
        baseline += f"; balanced {scores.baseline_balanced_accuracy:.4f}"
    lines.append(f"baseline  {scores.baseline_accuracy:.4f}  ({baseline})")
    return [*lines, f"log loss  {scores.log_loss:.4f}  (how far the probabilities are off; 0 is best)"]


def mean_lines(scores: Scores) -> list[str]:
    """The means over the classes, where these are uneven."""
    if not scores.uneven:
        return []
    (low, high), (low_f1, high_f1) = scores.balanced_accuracy_interval, scores.macro_f1_interval
    return [
        f"balanced  {scores.balanced_accuracy:.4f}  (mean recall of the classes; {low:.4f} to {high:.4f})",
        f"macro F1  {scores.macro_f1:.4f}  (mean F1 of the classes; {low_f1:.4f} to {high_f1:.4f})",
    ]


def class_table(scores: Scores) -> str:
    """A table of the classes with their confusion matrix.

    With many classes the table shows those with the lowest F1 alone, and the most frequent mistakes stand in for the
    matrix: the files beside the model have all of them.
    """
    return "\n".join(_few_classes(scores) if len(scores.classes) <= SHOWN_CLASSES else _many_classes(scores))


def positive_lines(scores: dict[str, Any]) -> list[str]:
    """The scores of the positive class of two, see `classify.scoring.two_classes.PositiveScores.to_json`."""
    given = f", given a prevalence of {scores['prevalence']:g}" if scores["prevalence_given"] else ""
    header = f"positive class {_printable(scores['class'])}: {scores['positives']} of {scores['n']} pictures{given}"
    names = {"roc_auc": "ROC AUC", "average_precision": "average precision", "f1": "F1"}
    lines = []
    for name in ("precision", "recall", "f1", "roc_auc", "average_precision"):
        low, high = scores[f"{name}_interval"]
        lines.append(f"  {names.get(name, name):18}{scores[name]:.4f}  ({low:.4f} to {high:.4f})")
    return [header, *lines]


def _few_classes(scores: Scores) -> list[str]:
    """A row a class. Columns of the matrix carry the numbers of the rows, so that long names need no room there."""
    _, *rows = scores.class_rows()
    counts = scores.confusion_matrix
    width = max(6, len(str(counts.max())) + 2)
    numbers = range(1, len(rows) + 1)
    names = _padded(["  class", *(f"{number} {row[0]}" for number, row in zip(numbers, rows, strict=True))])
    taken_for = ["".join(f"{f'as {number}':>{width}}" for number in numbers)]
    taken_for += ["".join(f"{count:>{width}}" for count in row) for row in counts.tolist()]
    lines = [name + cells + taken for name, cells, taken in zip(names, _cells(rows), taken_for, strict=True)]
    return [*lines, "as N: so many pictures of the class were taken for class N"]


def _many_classes(scores: Scores) -> list[str]:
    _, *rows = scores.class_rows()
    worst = [rows[i] for i in np.argsort(scores.f1, kind="stable")[:SHOWN_CLASSES]]
    names = _padded([f"{SHOWN_CLASSES} of {len(rows)} classes", *(row[0] for row in worst)])
    table = [name + cells for name, cells in zip(names, _cells(worst), strict=True)]
    return [*table, "", _mistakes(scores)]


def _cells(rows: list[list[Any]]) -> list[str]:
    """The header and the figures of each class."""
    header = "".join(f"{column:>11}" for column in ("precision", "recall", "f1", "pictures"))
    return [header, *(f"{p:>11.4f}{recall:>11.4f}{f1:>11.4f}{count:>11}" for _, p, recall, f1, count, *_ in rows)]


def _mistakes(scores: Scores) -> str:
    errors = scores.confusion_matrix.copy()
    np.fill_diagonal(errors, 0)
    if not (count := int(errors.sum())):
        return "no mistakes"
    most = [divmod(int(i), len(errors)) for i in np.argsort(-errors, axis=None, kind="stable")[:SHOWN_MISTAKES]]
    shown = [
        f"{errors[true, answer]} {_printable(scores.classes[true])} taken for {_printable(scores.classes[answer])}"
        for true, answer in most
        if errors[true, answer]
    ]
    return f"mistakes {count}, most of them: {', '.join(shown)}"


def _padded(names: list[str]) -> list[str]:
    """Printable names of one width in terminal cells; a long one loses its middle."""
    shown = [_printable(name) for name in names]
    width = max(cell_len(name) for name in shown)
    return [name + " " * (width - cell_len(name)) for name in shown]


def _printable(name: str) -> str:
    """At most NAME_WIDTH cells, and no character that moves the cursor (folder names may hold any)."""
    name = "".join(c if c.isprintable() else escape(c) for c in name)
    if cell_len(name) <= NAME_WIDTH:
        return name
    half = (NAME_WIDTH - 1) // 2
    return chop_cells(name, half)[0] + "…" + chop_cells(name[::-1], half)[0][::-1]
