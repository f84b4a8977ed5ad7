"""Curves as SVG in the colours of the page, which knows whether it is light or dark.

Matplotlib draws in colours that stand for those of the page (`COLOURS`); text stays text, in the font of the page.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from bottleneck_features.drawing import Axes, Figure, FuncFormatter, MaxNLocator, rc_context
from bottleneck_features.report.findings import CalibrationBin, LearningPoint
from classify.scoring.two_classes import POINTS, Curve

SIZE = (4.2, 2.9)  # inches of 72 CSS pixels: text is as large as it says on a phone, where a plot is a little narrower

INK, QUIET, GRID, ACCENT, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    GRID: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bottleneck-features",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 11,
}
PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 2):g}%")


@rc_context(STYLE)
def calibration_plot(bins: Sequence[CalibrationBin], verdict: str) -> str:
    """Share of right answers over their mean probability, with its 95% interval, one dot a bin, its area by its count.

    verdict: what the plot is called, besides, for those who do not see it.
    """
    figure, axes = _axes("probability of the answer", "right answers")
    points = [b.confidence for b in bins], [b.accuracy for b in bins]
    ends = [[b.accuracy - b.interval[0] for b in bins], [b.interval[1] - b.accuracy for b in bins]]
    least = min([0.5, *points[0], *(b.interval[0] for b in bins)])
    axes.plot([least, 1], [least, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 4)))
    axes.plot(*points, color=ACCENT)
    axes.errorbar(*points, yerr=ends, fmt="none", ecolor=ACCENT, elinewidth=1, alpha=0.6)
    most = max((b.n for b in bins), default=1)
    axes.scatter(*points, s=[16 + 120 * b.n / most for b in bins], color=ACCENT, zorder=3)
    axes.set_xlim(least - 0.02, 1.02)
    axes.set_ylim(least - 0.02, 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PERCENT)
    return _svg(figure, f"Calibration curve of {len(bins)} bins. {verdict}")


@rc_context(STYLE)
def acceptance_plot(curve: Sequence[Mapping[str, float]]) -> str:
    """Precision of the accepted answers over their share, above its 95% lower bound; see `Delegation.curve`."""
    figure, axes = _axes("share accepted", "right of the accepted")
    shares = [row["share"] for row in curve]
    precision = [row["precision"] for row in curve]
    least = max(0, min(*precision, curve[-1]["lower_bound"]) - 0.05)
    bounds = [max(least, row["lower_bound"]) for row in curve]  # of few answers it is far below
    axes.fill_between(shares, bounds, precision, color=ACCENT, alpha=0.18, linewidth=0)
    axes.plot(shares, precision, color=ACCENT, label="measured")
    axes.plot(shares, bounds, color=SECOND, label="at least (95%)")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(least, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PERCENT)
    axes.legend(loc="best")
    return _svg(figure, f"Precision by share accepted; of all answers {precision[-1]:.3f} right")


@rc_context(STYLE)
def epochs_plot(history: Mapping[str, Sequence[float]], quantity: str) -> str:
    """`quantity` ("accuracy" or "loss") by epoch, of the training pictures and of those held out; "" where missing."""
    curves = {"training": history.get(quantity, ()), "held out": history.get(f"val_{quantity}", ())}
    curves = {name: values for name, values in curves.items() if len(values)}
    if not curves:
        return ""
    figure, axes = _axes("epoch", quantity)
    for colour, (name, values) in zip((SECOND, ACCENT), curves.items(), strict=False):
        marker = "o" if len(values) == 1 else ""
        axes.plot(range(1, len(values) + 1), values, color=colour, label=name, marker=marker)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(PERCENT)
    else:
        axes.set_ylim(bottom=0)
    axes.legend(loc="best")
    last = ", ".join(f"{name} {values[-1]:.3f}" for name, values in curves.items())
    return _svg(figure, f"{quantity.capitalize()} by epoch; after the last: {last}")


@rc_context(STYLE)
def learning_plot(curve: Sequence[LearningPoint]) -> str:
    """Accuracy by number of training pictures: mean, and the range of the repetitions."""
    pictures = [point.pictures for point in curve]
    figure, axes = _axes("training pictures", "accuracy")
    low, high = [point.low for point in curve], [point.high for point in curve]
    axes.fill_between(pictures, low, high, color=ACCENT, alpha=0.18, linewidth=0)
    axes.plot(pictures, [point.accuracy for point in curve], color=ACCENT, marker="o", markersize=5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(PERCENT)
    last = curve[-1]
    return _svg(figure, f"Accuracy by number of training pictures; {last.accuracy:.3f} with {last.pictures}")


@rc_context(STYLE)
def roc_plot(curve: Curve, area: float) -> str:
    """True positive rate over false positive rate, with its band."""
    figure, axes = _axes("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 4)))
    _band(axes, curve)
    return _svg(figure, f"ROC curve; the area below it is {area:.3f}")


@rc_context(STYLE)
def precision_recall_plot(curve: Curve, prevalence: float, mean: float) -> str:
    """Precision over recall, with its band; a guess has the prevalence as precision."""
    figure, axes = _axes("recall", "precision")
    axes.plot([0, 1], [prevalence, prevalence], color=QUIET, linewidth=1, linestyle=(0, (4, 4)))
    _band(axes, curve)
    return _svg(figure, f"Precision by recall; average precision {mean:.3f}")


def _band(axes: Axes, curve: Curve) -> None:
    axes.fill_between(POINTS, curve.low, curve.high, color=ACCENT, alpha=0.18, linewidth=0)
    axes.plot(POINTS, curve.y, color=ACCENT)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.03, 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PERCENT)


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_title(y, loc="left", fontsize=11, color=QUIET)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    return figure, axes


def _svg(figure: Figure, description: str) -> str:
    """The figure as an `svg` element for a page of HTML: no document around it, no style sheet, nothing to look up.

    `description` is what it is called for those who do not see it.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE.*?>", "", file.getvalue(), count=1, flags=re.DOTALL))
    _, _, width, height = root.get("viewBox", "0 0 0 0").split()
    shapes = {element.get("id"): element for element in root.iter() if element.get("id")}
    for element in root.iter():
        _plain(element)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "defs"):
                parent.remove(child)
            elif child.tag == "use":
                _in_place(child, shapes[child.attrib.pop("href")[1:]])
    root.attrib = {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": description, "class": "plot"}
    return ElementTree.tostring(root, encoding="unicode")


def _plain(element: ElementTree.Element) -> None:
    """No name spaces, no names; styles as attributes, which a strict Content-Security-Policy allows."""
    element.tag = element.tag.rpartition("}")[2]
    fields = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    fields.pop("clip-path", None)  # every axis ends beyond what is drawn
    fields.pop("id", None)
    for rule in filter(None, fields.pop("style", "").split(";")):
        name, _, value = (part.strip() for part in rule.partition(":"))
        if name == "font":
            name, value = "font-size", value.split("px")[0].split()[-1]
        fields[name] = value
    fields.pop("font-family", None)  # that of the page
    element.attrib = {name: COLOURS.get(value, value) for name, value in fields.items()}


def _in_place(use: ElementTree.Element, shape: ElementTree.Element) -> None:
    """Turn a reference to a shape into the shape itself, so that two plots in a page cannot mix up their names."""
    x, y = use.attrib.pop("x", "0"), use.attrib.pop("y", "0")
    use.tag = shape.tag
    use.attrib = {**shape.attrib, **use.attrib, "transform": f"translate({x} {y})"}
