"""A comparison as a picture: accuracy, its difference to the best line, seconds of a training, the best line on top.

All lines are of the same pictures, so a difference can be significant although the intervals of the two accuracies
overlap. The difference therefore has a panel, and an interval, of its own.
"""

import io
import os
from typing import Any

from bottleneck_features.terminal.result_tables import short_names
from cache.errors import UserError
from cache.files.atomic import write_atomically

SUFFIXES = (".svg", ".png")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito's
STYLE: Any = {
    "text.parse_math": False,  # names come from files: a $ in them is no formula
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "leaderboard",  # the same report makes the same file
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
}


def check_suffix(output: str) -> None:
    """Raise UserError unless `output` names a kind of picture that can be drawn."""
    if os.path.splitext(output)[1].lower() not in SUFFIXES:
        raise UserError(f"output {output!r}: give a name that ends in {' or '.join(SUFFIXES)}")


def draw_leaderboard(report: dict[str, Any], output: str) -> None:
    """Draw the lines of `classify.comparison.compare_heads` as an SVG or PNG file, a colour for each spec.

    output: as `check_suffix` wants it.
    Raises `OSError` where it cannot be written.
    """
    import numpy as np

    from bottleneck_features.drawing import Figure, NullFormatter, rc_context

    lines = report["lines"][::-1]  # matplotlib counts from below
    specs = short_names([line["features"] for line in report["lines"]])
    with rc_context(STYLE):
        figure = Figure(figsize=(12, 1.6 + 0.3 * len(lines) + 0.2 * len(specs)), layout="constrained")
        scores, differences, seconds = figure.subplots(1, 3, sharey=True, width_ratios=(3, 2, 1))
        for number, (spec, name) in enumerate(specs.items()):
            colour = COLOURS[number % len(COLOURS)]
            heights = [height for height, line in enumerate(lines) if line["features"] == spec]
            of_spec = [lines[height] for height in heights]
            for axes, value in ((scores, "accuracy"), (differences, "difference")):
                middles = np.array([line[value] for line in of_spec])
                ends = np.abs(np.array([line[f"{value}_interval"] for line in of_spec]).T - middles)
                label = name if axes is scores else None
                axes.errorbar(middles, heights, xerr=ends, fmt="o", color=colour, capsize=3, label=label)
            seconds.plot([line["train_seconds"] for line in of_spec], heights, "o", color=colour)
        scores.set_yticks(range(len(lines)), [line["head"] for line in lines])
        scores.set_xlabel(f"accuracy in {report['folds']} folds of {report['pictures']} pictures, 95% interval")
        differences.axvline(0, color="#888888", linewidth=1)
        differences.set_xlabel("against the first line, 95% interval")
        seconds.set(xscale="log", xlabel="seconds of a training")
        seconds.xaxis.set_major_formatter("{x:g}")
        seconds.xaxis.set_minor_formatter(NullFormatter())
        figure.legend(loc="outside upper left", frameon=False)
        drawn = io.BytesIO()
        kind = os.path.splitext(output)[1].lower()[1:]
        figure.savefig(drawn, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_atomically(output, drawn.getvalue())
