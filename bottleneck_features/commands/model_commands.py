"""evaluate, predict, report: what a saved model does on pictures."""

import csv
import io
import math
import os
import sys
from dataclasses import replace
from typing import Any

import click

import pipeline
from bottleneck_features.commands.command_files import existing_paths, require_outputs
from bottleneck_features.commands.command_options import (
    CACHE,
    DATA,
    DECISIONS,
    FILE,
    FOLDER,
    GROUP_TABLE,
    GROUPS,
    HEAD,
    JSON,
    LABELS,
    MAX_FAILED,
    MODEL,
    POSITIVE,
    PREDICT_VIEWS,
    REHASH,
    SPEC,
    examples,
    given,
    options,
)
from bottleneck_features.commands.command_result import exit_if_too_many_failed, finish
from bottleneck_features.terminal.progress import progress_reporter
from bottleneck_features.terminal.result_summary import show_leaked
from bottleneck_features.terminal.safe_text import printable
from cache.arguments import at_home
from cache.errors import UserError
from cache.files.atomic import require_writable
from featurize.outputs import named
from featurize.spec_options import SpecOptions


@click.command(epilog=examples("evaluate --data new_photos", "evaluate --data photos --model models/svm.joblib"))
@options(DATA, HEAD, SPEC, PREDICT_VIEWS, LABELS, CACHE, REHASH, MODEL, POSITIVE, DECISIONS, JSON, MAX_FAILED)
def evaluate(json_file: str | None, max_failed: float, **chosen: Any) -> None:
    """Score a saved model on images it was not trained on.

    Without --data and --labels: on the test part of the photographs that come with scikit-image.
    """
    from classify.saved.model_files import EVALUATION, files_of, read_with_model

    classifier, rest = loaded(given(chosen))
    model = classifier.saved.path
    used = read_with_model(model, classifier.extractor.record())
    require_outputs(named("--json", json_file), chosen, used, named("--model", *files_of(model, EVALUATION)))
    with progress_reporter() as progress:
        report = pipeline.evaluate(rest.pop("data", None), classifier, progress=progress, max_failed=max_failed, **rest)
    finish(report, json_file, max_failed)


@click.command(epilog=examples("predict --images new_photos > labels.csv", "predict --top-k 3 a.jpg b.jpg"))
@options(HEAD, SPEC, PREDICT_VIEWS, GROUPS, GROUP_TABLE, CACHE, REHASH, MODEL, DECISIONS, MAX_FAILED)
@click.option("--images", multiple=True, type=at_home, metavar="PATH", help="Image, folder or pattern; repeatable.")
@click.argument("paths", type=at_home, nargs=-1)
@click.option("--top-k", type=click.IntRange(1), default=1, show_default=True, help="Labels for each image.")
@click.option("--no-cache", is_flag=True, help="Neither look features up nor store them.")
@click.option(
    "--reject",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="No label for what is unlike the training pictures; this share of known ones is kept, such as 0.95.",
)
@click.option("--wide", is_flag=True, help="One row a picture, with a column for the probability of each class.")
@click.option(
    "--sort",
    "order",
    type=click.Choice(["uncertainty", "path"]),
    help="Rejected pictures and small margins first, or by path; by default as they are given.",
)
@click.option("--output", **FILE, help="Write the table to this file, not to stdout.")
@click.option("--heatmap", **FOLDER, help="Write there, of each picture, which parts its label comes from.")
def predict(
    images: tuple[str, ...],
    paths: tuple[str, ...],
    top_k: int,
    no_cache: bool,
    reject: float | None,
    accept: float | None,
    coverage: float | None,
    wide: bool,
    order: str | None,
    output: str | None,
    heatmap: str | None,
    max_failed: float,
    **chosen: Any,
) -> None:
    """Print path,label,probability,margin of images as CSV.

    The margin is the probability of the first label less that of the second. With --reject there are columns more: the
    reason why a picture has no label, its would_be_label and would_be_probability, its distance from the training
    pictures. With --accept there is the column decision (accept, review, or unknown where it is rejected), with
    --coverage the column labels. With groups, such as --group-by time:60, there are the group of each picture, and the
    label and probability of that group: by the mean of its pictures that have an answer. With --heatmap there is the
    file with the picture and its map.
    Without images: of the test part of the photographs that come with scikit-image.
    """
    from cache.digest_table import rehashing
    from cache.files.atomic import write_atomically
    from classify.answers import check_table, prediction_rows
    from classify.bundles.open_bundle import is_bundle
    from classify.data.default_data import surfaces_to_predict
    from classify.group_answers import group_answers, groups_of_pictures
    from classify.heatmaps.heatmap_files import check_folder, write_heatmaps
    from classify.heatmaps.make_heatmaps import heatmaps_of
    from classify.saved.model_files import read_with_model
    from featurize.pictures.sources import expand
    from featurize.replaceable import require_kind

    check_table(top_k, wide)
    classifier, rest = loaded(given(chosen))
    wanted = [*images, *paths] or [surfaces_to_predict()]
    found = existing_paths(wanted)
    sources: Any = expand(found)  # paths alone
    names = None
    if rest.get("groups") or rest.get("labels"):
        names = groups_of_pictures(sources, found, rest.get("groups"), rest.get("labels"), rest["path_column"])
    if output:
        require_kind("--output", output, "table of predictions")
        used = read_with_model(classifier.saved.path, classifier.extractor.record())
        require_outputs(named("--output", output), chosen, [*used, *named("--images", *wanted)])
    if heatmap:
        check_folder(heatmap, sources, wanted, classifier.extractor.cache_dir)
    # A bundle is for machines without a cache: one is filled where it is named, and read where it is.
    use_cache = False if no_cache else None if is_bundle(classifier.saved.path) and not chosen["cache_dir"] else True
    with rehashing(rest.get("rehash", False)):
        answers = classifier.answers(sources, use_cache, reject, accept, coverage)
        if heatmap:
            maps = heatmaps_of(classifier, sources, answers.codes, use_cache).maps
            answers = replace(answers, heatmaps=write_heatmaps(heatmap, sources, maps))
    groups = group_answers(answers, names) if names else None
    rows = prediction_rows(answers, classifier.classes_, top_k, wide=wide, order=order, groups=groups)
    columns = [name for name in answers.columns if name != "rank"]
    columns += [name for name in rows[0] if name not in answers.columns]
    table = io.StringIO(newline="")
    writer = csv.writer(_Lines(table))
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    if output:
        write_atomically(output, table.getvalue().encode("utf-8", "surrogateescape"))
    else:
        sys.stdout.reconfigure(errors="surrogateescape", newline="")  # type: ignore[union-attr]
        sys.stdout.write(table.getvalue())
    exit_if_too_many_failed(len(answers.outcome.failures), len(sources), max_failed)


class _Lines:
    """A text with plain ends of lines, for a `csv.writer` with its own: only so does it quote carriage returns."""

    def __init__(self, text: io.StringIO):
        self._text = text

    def write(self, line: str) -> None:
        self._text.write(line.removesuffix("\r\n") + "\n")


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6f}"
    return value


def loaded(options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(classifier, the options that are left), no option contradicting the model."""
    from featurize.joined_options import check_parts

    head = options.pop("head", None)
    path = options.pop("model", None) or pipeline.default_model(head or "logreg")
    spec = {name: options.pop(name) for name in SpecOptions.__annotations__ if name in options}
    classifier = pipeline.load(
        path,
        weights=spec.pop("weights", None),
        engine=spec.pop("engine", "auto"),
        isolate=spec.pop("isolate", False),
        cache_dir=options.pop("cache_dir", None),
        allow_other_versions=options.pop("allow_other_versions"),
        sha256=options.pop("sha256", None),
        no_pickle=options.pop("no_pickle"),
        predict_views=options.pop("predict_views", None),
    )
    trained = classifier.saved.record["head"]
    if head not in (None, trained):
        raise UserError(f"--head {head} contradicts the model {path}, which has head {trained}")
    check_parts(classifier.extractor.spec, path, spec, classifier.extractor.table)
    return classifier, options


@click.command(epilog=examples("report --data photos", "report --data photos --head svm --output svm.html"))
@options(DATA, HEAD, SPEC, PREDICT_VIEWS, LABELS, CACHE, MODEL, POSITIVE)
@click.option("--output", **FILE, default="report.html", show_default=True, help="The HTML file to write.")
@click.option("--no-heatmaps", is_flag=True, help="Leave out which parts of a picture its answer comes from.")
def report(output: str, no_heatmaps: bool, **chosen: Any) -> None:
    """Show a saved model and its data in one HTML file.

    It shows the data, how well the model does, and which pictures to look at.

    Without --data and --labels: of the photographs that come with scikit-image.
    """
    from bottleneck_features.terminal.score_text import positive_lines, score_lines

    require_writable(output)
    classifier, rest = loaded(given(chosen))
    with progress_reporter() as progress:
        how: Any = {"heatmaps": not no_heatmaps, "progress": progress}
        findings = pipeline.report(rest.pop("data", None), classifier, output, **how, **rest)
    print(f"pictures {len(findings.pictures)}, failed {len(findings.failures)}; scored: {printable(findings.scored)}")
    print("\n".join(score_lines(findings.scores)))
    if findings.positive:
        print("\n".join(positive_lines(findings.positive.to_json()["positive"])))
    if findings.leaked.paths:
        show_leaked(findings.leaked.to_json())
    print(f"calibration: {findings.calibration_verdict}")
    print(f"advice: {findings.advice}")
    wrong = sum(suspect.probably_wrong for suspect in findings.suspects)
    print(f"suspects {len(findings.suspects)} (labels that the model doubts), {wrong} of them probably wrong")
    print(f"groups of near-duplicates {len(findings.near_duplicates)}")
    print(f"forward passes {findings.forward_passes}")
    print("seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in findings.seconds.items()))
    print(f"report  {printable(output)}  ({os.path.getsize(output) / 1e6:.1f} MB)")
