"""Results as pictures: learning curves, a confusion matrix, photographs with what they were taken for. PNG files."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

import pipeline
from bottleneck_features.drawing import Axes, Figure, FigureCanvasAgg
from bottleneck_features.terminal.safe_text import printable
from cache.files.atomic import write_atomically

COLUMNS = 4
SIDE = 256  # of a photograph as it is drawn, in pixels
NAME = 28  # characters of a label
NUMBERED = 20  # classes: of more, the confusion matrix shows colours without numbers


def draw_curves(history: dict[str, list[float]], path: str) -> None:
    """Draw loss and accuracy by epoch, of the pictures trained on and of those held out to stop."""
    figure, axes = _sheet(1, 2, 4.5, 3.5)
    for axis, measure in zip(axes, ("loss", "accuracy"), strict=True):
        for name, label in ((measure, "trained on"), (f"val_{measure}", "held out to stop")):
            if name in history:
                axis.plot(range(1, len(history[name]) + 1), history[name], label=label)
        axis.set(xlabel="epoch", ylabel=measure)
        axis.legend()
    _save(figure, path)


def draw_confusion(report: pipeline.Report, path: str) -> None:
    """Draw the confusion matrix of a report: rows are the true classes, columns the predicted ones."""
    counts = np.array(report["confusion_matrix"])
    names = [_short(name) for name in report["classes"]]
    side = min(3 + 0.4 * len(names), 16)
    figure, (axis,) = _sheet(1, 1, side, side)
    axis.imshow(counts, cmap="Blues")
    axis.set(xlabel="predicted", ylabel="true")
    size = 9 if len(names) <= NUMBERED else 5
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axis.set_yticks(range(len(names)), names, fontsize=size)
    if len(names) <= NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            colour = "gray" if count < counts.max() / 2 else "white"
            axis.text(column, row, str(count), ha="center", va="center", color=colour)
    _save(figure, path)


def draw_predictions(model: str, paths: Sequence[str], path: str, k: int = 3, cache_dir: str | None = None) -> None:
    """Draw photographs with their k most probable labels, and print these: PATH: LABEL PROBABILITY, ..."""
    if not paths:
        print("there is no photograph that was neither trained on nor scored: none is shown")
        return
    table = pipeline.top_k(list(paths), model, k, cache_dir=cache_dir)
    lines = -(-len(paths) // COLUMNS)
    figure, axes = _sheet(lines, COLUMNS, 2.6, 2.6 + 0.2 * k)
    for axis in axes:
        axis.axis("off")
    for axis, (name, rows) in zip(axes, table.groupby("path", sort=False), strict=False):
        ranked = [(str(label), float(p)) for label, p in zip(rows["label"], rows["probability"], strict=True)]
        print(f"{printable(str(name))}: " + ", ".join(f"{printable(label)} {share:.3f}" for label, share in ranked))
        axis.set_title("\n".join(f"{_short(label)} {share:.2f}" for label, share in ranked), fontsize=9)
        if not np.isnan(ranked[0][1]):  # a damaged picture has no prediction, and cannot be drawn
            axis.imshow(_photograph(str(name)))
    _save(figure, path)


def _photograph(path: str) -> Image.Image:
    with Image.open(path) as picture:
        picture.draft("RGB", (SIDE, SIDE))
        return ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGB"), (SIDE, SIDE))


def _sheet(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of axes of that size in inches. Not by pyplot, which would choose a window where there is one."""
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _save(figure: Figure, path: str) -> None:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    write_atomically(path, data.getbuffer())
    print(f"drawn  {printable(path)}")


def _short(name: str) -> str:
    """A label as matplotlib can draw it: no dollar signs, which start formulas, and not too long."""
    name = printable(name).replace("$", "\\$")
    return name if len(name) <= NAME else name[: NAME - 1] + "…"
