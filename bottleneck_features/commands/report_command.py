"""report: what a model learnt and from which pictures, as one HTML file."""

import os
from typing import Any

import click

import pipeline
from bottleneck_features.commands.command_options import (
    CACHE,
    DATA,
    HEAD,
    LABELS,
    MODEL,
    PREDICT_VIEWS,
    SPEC,
    examples,
    given,
    options,
)
from bottleneck_features.commands.jobs import loaded
from bottleneck_features.terminal.progress import progress_reporter
from bottleneck_features.terminal.safe_text import printable
from bottleneck_features.terminal.show import show_leaked
from cache.files.atomic import require_writable


@click.command(epilog=examples("report --data photos", "report --data photos --head svm --output svm.html"))
@options(DATA, HEAD, SPEC, PREDICT_VIEWS, LABELS, CACHE, MODEL)
@click.option("--output", metavar="FILE", default="report.html", show_default=True, help="The HTML file to write.")
def report(output: str, **chosen: Any) -> None:
    """Write one HTML file that shows the data, how well a saved model does, and which pictures to look at.

    Without --data and --labels: of the photographs that come with scikit-image.
    """
    require_writable(output)
    classifier, rest = loaded(given(chosen))
    with progress_reporter() as progress:
        findings = pipeline.report(rest.pop("data", None), classifier, output, progress=progress, **rest)
    low, high = findings.scores.accuracy_interval
    print(f"pictures {len(findings.pictures)}, failed {len(findings.failures)}; scored: {printable(findings.scored)}")
    print(f"accuracy  {findings.scores.accuracy:.4f}  (95% interval {low:.4f} to {high:.4f})")
    if findings.leaked.paths:
        show_leaked(findings.leaked.to_json())
    print(f"calibration: {findings.calibration_verdict}")
    print(f"advice: {findings.advice}")
    wrong = sum(suspect.probably_wrong for suspect in findings.suspects)
    print(f"suspects {len(findings.suspects)}, {wrong} of them probably wrong")
    print(f"groups of near-duplicates {len(findings.copies)}")
    print(f"forward passes {findings.forward_passes}")
    print("seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in findings.seconds.items()))
    print(f"report  {printable(output)}  ({os.path.getsize(output) / 1e6:.1f} MB)")
