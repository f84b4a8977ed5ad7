"""Scores as plain text for a terminal; the complete tables go to JSON and CSV."""

import numpy as np
from rich.cells import cell_len, chop_cells

from bottleneck_features.terminal.safe_text import escape
from classify.scoring.metrics import Scores

MATRIX_CLASSES = 12  # a wider confusion matrix no longer fits a terminal line
TABLE_CLASSES = 30  # a longer table pushes the accuracy off the screen
SHOWN_ROWS = 15
NAME_WIDTH = 32


def format_report(scores: Scores) -> str:
    """Accuracy with its interval, baseline, log loss, per-class table and confusion matrix.

    With many classes the table shows those with the lowest F1 only, and the most frequent confusions stand in
    for the matrix.
    """
    low, high = scores.accuracy_interval
    return "\n".join(
        [
            f"accuracy  {scores.accuracy:.4f}  (95% interval {low:.4f} to {high:.4f}, {scores.n} pictures)",
            f"baseline  {scores.baseline_accuracy:.4f}  (always the most frequent training class)",
            f"log loss  {scores.log_loss:.4f}",
            "",
            *_class_table(scores),
            "",
            *(_matrix(scores) if len(scores.classes) <= MATRIX_CLASSES else _confusions(scores)),
        ]
    )


def _class_table(scores: Scores) -> list[str]:
    header, *rows = scores.class_rows()
    title = []
    if len(rows) > TABLE_CLASSES:
        title = [f"the {SHOWN_ROWS} classes of {len(rows)} with the lowest F1"]
        worst = np.argsort(scores.f1, kind="stable")[:SHOWN_ROWS]
        rows = [rows[i] for i in worst]
    names = _padded([header[0], *(row[0] for row in rows)])
    lines = [f"{names[0]}  " + "".join(f"{column:>11}" for column in header[1:])]
    for name, (_, precision, recall, f1, support) in zip(names[1:], rows, strict=True):
        lines.append(f"{name}  {precision:>11.4f}{recall:>11.4f}{f1:>11.4f}{support:>11}")
    return title + lines


def _matrix(scores: Scores) -> list[str]:
    """Columns carry the numbers of the rows, so that long names need no room there."""
    counts = scores.confusion_matrix
    width = max(4, len(str(counts.max())) + 2)
    numbers = range(1, len(scores.classes) + 1)
    names = _padded([f"{number:>2} {name}" for number, name in zip(numbers, scores.classes, strict=True)])
    return [
        "confusion matrix (rows: true class, columns: predicted class)",
        " " * cell_len(names[0]) + "".join(f"{number:>{width}}" for number in numbers),
        *(
            name + "".join(f"{count:>{width}}" for count in row)
            for name, row in zip(names, counts.tolist(), strict=True)
        ),
    ]


def _confusions(scores: Scores) -> list[str]:
    errors = scores.confusion_matrix.copy()
    np.fill_diagonal(errors, 0)
    most = [divmod(int(i), len(errors)) for i in np.argsort(-errors, axis=None, kind="stable")[:SHOWN_ROWS]]
    shown = [(true, predicted) for true, predicted in most if errors[true, predicted]]
    if not shown:
        return ["no confusions"]
    true_names = _padded([scores.classes[true] for true, _ in shown])
    return [
        f"the most frequent confusions, {errors.sum()} errors in all (pictures, true class, predicted class)",
        *(
            f"{errors[true, predicted]:>6}  {name}  {_printable(scores.classes[predicted])}"
            for name, (true, predicted) in zip(true_names, shown, strict=True)
        ),
    ]


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
