"""The report as one file of HTML that needs nothing else: no network, no other file.

Everything that comes from files (names, labels, reasons) is escaped by the template engine; the style sheet and the
script are allowed by their digests, so that nothing else in the page could run or fetch anything.
"""

import base64
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bottleneck_features.report.findings import Findings
from bottleneck_features.report.page import plots
from bottleneck_features.report.page.thumbnails import Kept, album_of, overlay_of
from bottleneck_features.report.page.wording import below, count, percent, printable
from bottleneck_features.report.parts.confusions import TABLE_CLASSES, cells, occurring, worst_pairs
from bottleneck_features.report.parts.suspects import CUT_OFF
from cache.files.atomic import write_atomically

FOLDER = Path(__file__).parent
SAMPLES = 48  # pictures that show what the classes look like, over all classes; at least one of each
FEW = 3  # classes that have a row of large samples each
MOST_SAMPLES = 6  # of one class; the page shows a row of them
GROUPS, MEMBERS = 60, 6  # of near-duplicates: groups with pictures, pictures of a group
LISTED = 1000  # lines of a list of names: failures, further near-duplicates
MAP_POINTS = 5000  # beyond that a map is slow to draw on a phone
OF_CLASS = {"precision": "precision", "recall": "recall", "f1": "F1", "roc_auc": "ROC AUC"}
OF_CLASS |= {"average_precision": "average precision"}
COLOURS = 8  # classes that colours can tell apart


def write_report(findings: Findings, output: str, kept_in: Kept | None = None) -> None:
    """Write the report to the file `output`, whole or not at all. The pictures are opened for their thumbnails.

    Pictures that are gone or damaged by now are shown as such. Raises `OSError` naming `output`.
    """
    write_atomically(output, render(findings, kept_in).encode())


def render(findings: Findings, kept_in: Kept | None = None) -> str:
    """The report as HTML. kept_in: as for `album_of`."""
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "printable": printable,
        "count": count,
        "file": lambda number: below(findings.data, findings.pictures[number].path),
        "below": lambda path: below(findings.data, path),
        "labels": lambda numbers: list(dict.fromkeys(findings.pictures[number].label for number in numbers)),
    }
    return environment.get_template("template.html").render(
        f=findings,
        title=printable(Path(findings.data).name or findings.data),
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        **_drawn(findings),
        **_arranged(findings, kept_in),
    )


def _policy(style: str, script: str) -> str:
    """The Content-Security-Policy: nothing is fetched, and nothing runs but this style sheet and this script."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    allowed = "style-src 'sha256-{}'; script-src 'sha256-{}'".format(*digests)
    return f"default-src 'none'; img-src data:; {allowed}; base-uri 'none'; form-action 'none'"


def _drawn(findings: Findings) -> dict[str, Any]:
    """The plots, each an `svg` element or empty."""
    drawn = {
        "calibration": plots.calibration_plot(findings.calibration, findings.calibration_verdict)
        if findings.calibration
        else "",
        "accuracy_by_epoch": plots.epochs_plot(findings.epochs, "accuracy"),
        "loss_by_epoch": plots.epochs_plot(findings.epochs, "loss"),
        "acceptance": plots.acceptance_plot(findings.delegation.curve) if findings.delegation else "",
        "learning_curve": plots.learning_plot(findings.learning_curve) if findings.learning_curve else "",
    }
    if found := findings.positive:
        drawn["roc"] = plots.roc_plot(found.roc, found.values["roc_auc"][0])
        mean = found.values["average_precision"][0]
        drawn["precision_recall"] = plots.precision_recall_plot(found.precision_recall, found.prevalence, mean)
    return {name: Markup(svg) for name, svg in drawn.items()}


def _arranged(findings: Findings, kept_in: Kept | None) -> dict[str, Any]:
    """What the template shows besides the findings themselves, in the order in which it is shown."""
    samples = _samples(findings)
    groups = sorted(findings.near_duplicates, key=lambda group: (not group.straddles, not group.labels_differ))
    points = _evenly(np.arange(len(findings.pictures)), MAP_POINTS)
    judged = [*findings.mistakes, *findings.uncertain, *(suspect.picture for suspect in findings.suspects)]
    near = [n for number in judged for n, _ in findings.pictures[number].neighbours]
    grouped = [number for group in groups[:GROUPS] for number in group.members[:MEMBERS]]
    sampled = [number for numbers in samples.values() for number in numbers]
    large = len(findings.classes) > TABLE_CLASSES
    cards, small = [*judged, *grouped], [*near, *sampled, *points]
    if len(findings.classes) <= FEW:
        cards += sampled
    album = album_of([p.path for p in findings.pictures], cards, small, kept_in=kept_in)
    maps = {number: heat for number, heat in findings.heatmaps.items() if number in album.uris}
    return {
        "album": album,
        "overlays": {number: overlay_of(heat, album.uris[number]) for number, heat in maps.items()},
        "exact": all(heat.exact for heat in maps.values()),
        "few": FEW,
        "samples": samples,
        "groups": groups,
        "across": sum(group.straddles for group in groups),
        "shown_groups": GROUPS,
        "shown_members": MEMBERS,
        "listed": LISTED,
        "cut_off": CUT_OFF,
        "dots": [_dot(findings, number) for number in points],
        "coloured": len(findings.classes) <= COLOURS,
        "known": _known_to_the_script(findings, points),
        "matrix": [] if large else cells(findings.scores),
        "occurring": occurring(findings.scores) if large else [],
        "pairs": worst_pairs(findings.scores),
        "code": {label: number for number, label in enumerate(findings.classes)},
        "unjudged": sum(picture.answer is None for picture in findings.pictures),
        "of_class": {OF_CLASS[name]: value for name, value in findings.positive.values.items()}
        if findings.positive
        else {},
        "right": int(np.trace(findings.scores.confusion_matrix)),
    }


def _dot(findings: Findings, number: int) -> dict[str, Any]:
    """A picture on the map of 1000 x 1000, whose y runs downwards."""
    picture, (across, up) = findings.pictures[number], findings.map[number].tolist()
    few = len(findings.classes) <= COLOURS and picture.label in findings.classes
    kinds = [f"k{findings.classes.index(picture.label)}"] if few else []
    if picture.answer not in (None, picture.label):
        kinds.append("wrong")
    x, y = 20 + 960 * across, 980 - 960 * up
    return {"number": number, "kinds": " ".join(kinds), "x": round(x, 1), "y": round(y, 1)}


def _known_to_the_script(findings: Findings, points: list[int]) -> dict[str, Any]:
    """What the script writes beside a dot: by its number the file, the label and the answer."""
    shown = {}
    for number in points:
        picture = findings.pictures[number]
        answer = None if picture.answer is None else printable(picture.answer)
        shown[number] = [below(findings.data, picture.path), printable(picture.label), answer]
    return {"classes": [printable(label) for label in findings.classes], "points": shown}


def _samples(findings: Findings) -> dict[str, list[int]]:
    """Some pictures of each class, evenly from the first to the last."""
    numbers = defaultdict(list)
    for number, picture in enumerate(findings.pictures):
        numbers[picture.label].append(number)
    each = min(MOST_SAMPLES, max(1, SAMPLES // max(1, len(findings.classes))))
    return {label: _evenly(np.array(numbers[label], int), each) for label in findings.classes}


def _evenly(numbers: np.ndarray, most: int) -> list[int]:
    if len(numbers) <= most:
        return list(numbers.tolist())
    return list(numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)].tolist())
