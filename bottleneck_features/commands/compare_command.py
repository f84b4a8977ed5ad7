"""compare: a leaderboard of heads and cached backbones."""

import json
import os
from typing import Any

import click

import pipeline
from bottleneck_features.commands.check_places import check_places
from bottleneck_features.commands.command_options import CACHE, DATA, LABELS, examples, given, options
from bottleneck_features.terminal.progress import progress_reporter
from bottleneck_features.terminal.result_tables import show_comparison
from bottleneck_features.terminal.show import show_failures
from cache.files.atomic import write_atomically
from classify.labels.label_options import LabelOptions
from featurize.outputs import named

ONLY = [
    click.option("--backbone", metavar="NAME", help="Compare on the features of this backbone alone."),
    click.option("--layer", metavar="NAME", help="Compare on this layer's alone."),
    click.option("--pooling", metavar="avg|max|flatten|none", help="Compare on features pooled this way alone."),
    click.option("--size", metavar="PIXELS", help="Compare on features of this size of the input alone."),
    click.option("--weights", metavar="FILE", help="Where the weights are that fine-tuning needs. [as `train`]"),
]


@click.command(
    epilog=examples(
        "compare --data photos",
        "compare --data photos --heads logreg svm dense --output heads.svg",
        "compare --data photos --backbone mobilenet_v2 --search --json scores.json",
    )
)
@options(DATA, ONLY, LABELS, CACHE)
@click.option("--heads", metavar="NAME ...", multiple=True, help="Heads to compare. [all]")
@click.argument("more_heads", metavar="", nargs=-1)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="Folds of the cross-validation.")
@click.option("--search", is_flag=True, help="Tune each head inside each fold.")
@click.option(
    "--scoring",
    metavar="NAME",
    help="Scorer of scikit-learn that --search goes by, and the order of the lines. [neg_log_loss; accuracy]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of folds and heads.")
@click.option("--output", metavar="FILE", help="Draw the leaderboard there, as .svg or .png.")
@click.option("--json", "json_file", metavar="FILE", help="Write the report there as JSON.")
def compare(
    heads: tuple[str, ...], more_heads: tuple[str, ...], output: str | None, json_file: str | None, **chosen: Any
) -> None:
    """Cross-validate heads on the features that are cached, in the same folds, and print a leaderboard.

    Every backbone takes part that has the rows of all these pictures in the cache, unless an option such as --backbone
    names another one; nothing is computed. Without --data and --labels: photographs that come with scikit-image.
    """
    from bottleneck_features.commands.leaderboard import check_suffix, draw_leaderboard
    from classify.labels.read_labels import find_labelled

    if output:
        check_suffix(output)
    listed = []
    if output and chosen["labels"] and os.path.exists(output):  # a table may list pictures anywhere
        listed = find_labelled(**{name: chosen[name] for name in ("data", *LabelOptions.__annotations__)}).all_images
    check_places(named("--output", output) + named("--json", json_file), chosen, named("the picture", *listed))
    names = [name for word in (*heads, *more_heads) for name in word.replace(",", " ").split()]
    with progress_reporter() as progress:
        report = pipeline.compare(heads=names or None, progress=progress, **given(chosen))
    if json_file:  # first: printing may end early, in `| head`
        write_atomically(json_file, json.dumps(report, indent=2).encode())
    if output:
        draw_leaderboard(report, output)
    show_failures(report["failures"])
    show_comparison(report)
