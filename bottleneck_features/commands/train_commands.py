"""features, train, compare, distil: what is computed from a folder of pictures."""

import os
from typing import Any

import click

import pipeline
from bottleneck_features.commands.command_files import require_outputs
from bottleneck_features.commands.command_options import (
    CACHE,
    CLUSTER,
    DATA,
    DECISIONS,
    FILE,
    FOLDER,
    HEAD,
    JSON,
    LABELS,
    MAX_FAILED,
    MODEL_FILE,
    N_JOBS,
    POSITIVE,
    PREDICT_VIEWS,
    REHASH,
    SEED,
    SHARDS,
    SPEC,
    TEACHER,
    VIEWS,
    examples,
    given,
    options,
)
from bottleneck_features.commands.command_result import finish, write_json
from bottleneck_features.terminal.progress import progress_reporter
from bottleneck_features.terminal.result_summary import show_failures
from bottleneck_features.terminal.result_tables import show_answers_compared, show_comparison
from bottleneck_features.terminal.safe_text import printable
from cache.arguments import at_home
from classify.labels.label_options import LabelOptions
from featurize.outputs import named
from featurize.replaceable import require_kind

ANSWERS = os.path.join("models", "compare")
ONLY = [
    click.option("--backbone", metavar="NAME", help="Compare on the features of this backbone alone."),
    click.option("--layer", metavar="NAME", help="Compare on this layer's alone."),
    click.option("--pooling", metavar="avg|max|flatten|none", help="Compare on features pooled this way alone."),
    click.option("--size", metavar="PIXELS", help="Compare on features of this size of the input alone."),
    click.option("--weights", **FILE, help="Where the weights are that fine-tuning needs. [as `train`]"),
]


@click.command(
    epilog=examples(
        "features",
        "features --data photos",
        "features --data photos --backbone vgg16 --pooling flatten",
        "features --data photos --backbone efficientnet_lite0+efficientnet_lite2",
        "features --data photos --cluster tcp://scheduler:8786",
    )
)
@options(DATA, SPEC, VIEWS, LABELS, CACHE, REHASH, SHARDS, CLUSTER, JSON, MAX_FAILED)
def features(json_file: str | None, max_failed: float, **chosen: Any) -> None:
    """Compute and cache the features of new images.

    Without --data and --labels: of photographs that come with scikit-image.
    """
    require_outputs(named("--json", json_file), chosen)
    with progress_reporter() as progress:
        report = pipeline.features(progress=progress, **given(chosen))
    finish(report, json_file, max_failed)


@click.command(
    epilog=examples(
        "train --data photos",
        "train --data photos --head dense --head-params 'hidden=256 dropout=0.3' --cv 5",
        "train --data pets --label-pattern '(?P<label>cat|dog)' --search",
        "train --data photos --views 8 --recipe 'rotation_range=40 horizontal_flip=True'",
    )
)
@options(DATA, HEAD, SPEC, VIEWS, PREDICT_VIEWS, LABELS, CACHE, REHASH, SHARDS, MODEL_FILE, SEED, N_JOBS, POSITIVE)
@options(DECISIONS, CLUSTER, JSON, MAX_FAILED)
@click.option("--head-params", metavar="'K=V ...'", default="", help="Parameters of the head, such as C=1.0.")
@click.option("--test-size", type=float, default=0.2, show_default=True, help="Share held out for scoring.")
@click.option("--cv", type=click.IntRange(2), help="Cross-validate in this many folds as well.")
@click.option("--cut", metavar="LAYER|auto", help="Where finetune cuts the backbone. [--layer, else auto]")
@click.option("--tensorboard", **FOLDER, help="Write the curves of dense or finetune there for TensorBoard.")
@click.option("--search", is_flag=True, help="Tune the head by cross-validation.")
@click.option("--scoring", metavar="NAME", help="Scorer of scikit-learn that --search goes by. [neg_log_loss]")
@click.option("--refit", is_flag=True, help="Save a head fitted on all images (scored before that).")
def train(json_file: str | None, max_failed: float, head_params: str, **chosen: Any) -> None:
    """Train a head on cached features, score it and save it.

    It is scored on images that are held out, or on the test part that the data bring.

    Without --data and --labels: on photographs that come with scikit-image.
    """
    from classify.heads.head_table import parse_params
    from classify.saved.model_files import written_by_training

    model = chosen["model"] or pipeline.default_model(chosen["head"] or "logreg")
    written = written_by_training(model, chosen["tensorboard"])
    require_outputs(named("--json", json_file), chosen, writes=written)
    with progress_reporter() as progress:
        report = pipeline.train(
            progress=progress, max_failed=max_failed, head_params=parse_params(head_params), **given(chosen)
        )
    finish(report, json_file, max_failed)
    if report["accuracy"] is not None:
        shown = f'"{printable(model)}"' if " " in model else printable(model)
        print(f"next: python -m pipeline predict --model {shown} --images FOLDER")


@click.command(
    epilog=examples(
        "compare --data photos",
        "compare --data photos --heads logreg svm dense --output heads.svg",
        "compare --data photos --backbone mobilenet_v2 --search --json scores.json",
        "compare --predictions models/logreg.predictions.csv models/svm.predictions.csv",
    )
)
@options(DATA, ONLY, LABELS, CACHE, SEED, N_JOBS, CLUSTER, JSON)
@click.option("--heads", metavar="NAME ...", multiple=True, help="Heads to compare. [all]")
@click.argument("more_words", metavar="", nargs=-1)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="Folds of the cross-validation.")
@click.option("--search", is_flag=True, help="Tune each head inside each fold.")
@click.option(
    "--scoring",
    metavar="NAME",
    help="Scorer of scikit-learn that --search goes by, and the order of the lines. [neg_log_loss; accuracy]",
)
@click.option("--positive", metavar="CLASS", help="The class of two that --scoring f1, precision and the like are of.")
@click.option("--output", **FILE, help="Draw the leaderboard there, as .svg or .png.")
@click.option(
    "--answers",
    **FOLDER,
    default=ANSWERS,
    show_default=True,
    help="Folder for the held-out answers, HEAD-FEATURES.predictions.csv.",
)
@click.option(
    "--predictions",
    type=at_home,
    metavar="FILE ...",
    multiple=True,
    help="Compare tables of held-out answers, NAME.predictions.csv; nothing is trained.",
)
def compare(
    heads: tuple[str, ...],
    predictions: tuple[str, ...],
    more_words: tuple[str, ...],
    output: str | None,
    json_file: str | None,
    **chosen: Any,
) -> None:
    """Cross-validate heads on the cached features.

    All heads have the same folds; the leaderboard is printed. Every backbone takes part that has the rows of all these
    pictures in the cache, unless an option such as --backbone names another one; nothing is computed.

    Without --data and --labels: photographs that come with scikit-image.
    """
    from bottleneck_features.commands.leaderboard_plot import check_suffix, draw_leaderboard
    from classify.labels.read_labels import find_labelled

    if predictions:
        tables = [*predictions, *map(at_home, more_words)]
        require_outputs(named("--json", json_file), {}, named("--predictions", *tables))
        report = pipeline.compare(predictions=tables, scoring=chosen["scoring"], positive=chosen["positive"])
        write_json(json_file, report)
        show_answers_compared(report)
        return
    if output:
        check_suffix(output)
    listed = []
    if output and chosen["labels"] and os.path.exists(output):  # a table may list pictures anywhere
        named_only = {name: value for name, value in given(chosen).items() if name in LabelOptions.__annotations__}
        listed = find_labelled(chosen["data"], **named_only).all_images
    require_outputs(named("--output", output) + named("--json", json_file), chosen, named("the picture", *listed))
    if output:
        require_kind("--output", output, "leaderboard")
    names = [name for word in (*heads, *more_words) for name in word.replace(",", " ").split()]
    with progress_reporter() as progress:
        report = pipeline.compare(heads=names or None, progress=progress, **given(chosen))
    write_json(json_file, report)
    if output:
        draw_leaderboard(report, output)
    show_failures(report["failures"])
    show_comparison(report)
    print(f"held-out answers  {printable(chosen['answers'])}{os.sep}")


@click.command(
    epilog=examples(
        "distil --data photographs --output small.keras",
        "distil --data photographs --backbone resnet50 --layer conv5_block3_out --output small.keras",
        "train --data photos --backbone small.keras",
    )
)
@click.option("--data", required=True, **FOLDER, help="Folder of photographs, the more varied the better.")
@click.option("--output", required=True, **FILE, help="The student, a .keras file; its work folder beside it.")
@options(TEACHER, CACHE, JSON)
@click.option("--crops", type=click.IntRange(1), default=8, show_default=True, help="Crops of each photograph.")
@click.option("--samples", type=click.IntRange(1), default=3_000_000, show_default=True, help="Crops to learn from.")
@click.option("--side", type=click.IntRange(32, 512), default=96, show_default=True, help="Of the student's input.")
def distil(json_file: str | None, cache_dir: str | None, **chosen: Any) -> None:
    """Teach a small network to imitate a large backbone.

    --backbone, --weights, --layer and --size are the teacher's.
    Takes hours on a laptop. What is interrupted goes on from there when the same command is given again.
    """
    from featurize.distil import distil as distillation

    require_outputs(
        named("--output", chosen["output"]) + named("--json", json_file),
        chosen | {"cache_dir": cache_dir},
        writes=named("its work folder", *distillation.written_beside(chosen["output"])),
    )
    with progress_reporter() as progress:
        report = distillation.distil(cache_dir=cache_dir or pipeline.DEFAULT_CACHE, progress=progress, **given(chosen))
    write_json(json_file, report)
    print("photographs {photographs}, crops {crops}; forward passes {forward_passes}".format(**report))
    print("samples {samples}; cosine on photographs left out {held_out_cosine:.3f}".format(**report))
    print("parameters {parameters}; use it with --backbone {model}".format(**report))
