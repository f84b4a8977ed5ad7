"""A comparison as a picture: accuracy, its difference to the best line, seconds of a training, the best line on top.

The intervals of accuracies overlap where their difference may well be told, since all lines are of the same pictures:
it has a panel, and an interval, of its own.
"""

import io
import os
from typing import Any

from cache.errors import UserError
from cache.files.atomic import write_atomically

SUFFIXES = (".svg", ".png")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito's


def check_suffix(output: str) -> None:
    """Raise UserError unless `output` names a kind of picture that can be drawn."""
    if os.path.splitext(output)[1].lower() not in SUFFIXES:
        raise UserError(f"output {output!r}: give a name that ends in {' or '.join(SUFFIXES)}")


def short_names(features: list[str]) -> dict[str, str]:
    """Names of folders of specs -> the same without the fingerprint at their end, where that tells them apart."""
    short = {name: " + ".join(one.rpartition("-")[0] for one in name.split(" + ")) for name in features}
    return {name: one if [*short.values()].count(one) == 1 else name for name, one in short.items()}


def draw_leaderboard(report: dict[str, Any], output: str) -> None:
    """Draw the lines of `classify.compare.compare_heads` as an SVG or PNG file, a colour for each spec.

    Raises UserError for another suffix, `OSError` where it cannot be written.
    """
    import matplotlib
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    check_suffix(output)
    lines = report["lines"][::-1]  # matplotlib counts from below
    specs = short_names([line["features"] for line in report["lines"]])
    # Names come from files: a $ in them is no formula. Text stays text, and the same report makes the same file.
    with matplotlib.rc_context({"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "leaderboard"}):
        figure = Figure(figsize=(12, 1.6 + 0.3 * len(lines) + 0.2 * len(specs)), layout="constrained")
        scores, differences, seconds = figure.subplots(1, 3, sharey=True, width_ratios=(3, 2, 1))
        for number, (spec, name) in enumerate(specs.items()):
            colour = COLOURS[number % len(COLOURS)]
            places = [place for place, line in enumerate(lines) if line["features"] == spec]
            mine = [lines[place] for place in places]
            for axes, value in ((scores, "accuracy"), (differences, "difference")):
                middles = np.array([line[value] for line in mine])
                ends = np.abs(np.array([line[f"{value}_interval"] for line in mine]).T - middles)
                label = name if axes is scores else None
                axes.errorbar(middles, places, xerr=ends, fmt="o", color=colour, capsize=3, label=label)
            seconds.plot([line["train_seconds"] for line in mine], places, "o", color=colour)
        scores.set_yticks(range(len(lines)), [line["head"] for line in lines])
        scores.set_xlabel(f"accuracy in {report['folds']} folds of {report['pictures']} pictures, 95% interval")
        scores.grid(axis="x", color="#dddddd")
        differences.axvline(0, color="#888888", linewidth=1)
        differences.set_xlabel("against the first line, 95% interval")
        differences.grid(axis="x", color="#dddddd")
        seconds.set_xscale("log")
        seconds.xaxis.set_major_formatter("{x:g}")
        seconds.xaxis.set_minor_formatter(NullFormatter())
        seconds.set_xlabel("seconds of a training")
        seconds.grid(axis="x", color="#dddddd")
        for axes in (scores, differences, seconds):
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", frameon=False)
        drawn = io.BytesIO()
        kind = os.path.splitext(output)[1].lower()[1:]
        figure.savefig(drawn, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_atomically(output, drawn.getvalue())
