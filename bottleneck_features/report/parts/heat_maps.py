"""Where the answers about the shown pictures come from: a map of each, by the model's own network."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bottleneck_features.report.findings import Findings
from cache.errors import UserError, log
from classify.heatmaps.make_heatmaps import heatmaps_of
from classify.saved.classifier import Classifier

if TYPE_CHECKING:
    from featurize.extract.outcome import Progress


def with_heatmaps(findings: Findings, classifier: Classifier, progress: "Progress | None" = None) -> Findings:
    """The findings with a map of every mistake and every uncertain picture, for the answer that stands beside it.

    Where the network cannot be had they say why there are none, as is announced.
    """
    started = time.perf_counter()
    numbers: Sequence[int] = list(dict.fromkeys([*findings.mistakes, *findings.uncertain]))
    shown = [findings.pictures[number] for number in numbers]
    codes = [None if picture.answer is None else classifier.classes_.index(picture.answer) for picture in shown]
    try:
        found = heatmaps_of(classifier, [picture.path for picture in shown], codes, use_cache=True, progress=progress)
    except UserError as error:
        log.warning("the report has no heat maps: %s", error)
        return replace(findings, no_heatmaps=f"They are left out: {error}")
    made = {number: heat for number, heat in zip(numbers, found.maps, strict=True) if heat}
    return replace(
        findings,
        heatmaps=made,
        no_heatmaps="" if made else "No picture has one.",
        forward_passes=findings.forward_passes + found.forward_passes,
        seconds=findings.seconds | {"heat maps": time.perf_counter() - started},
    )
