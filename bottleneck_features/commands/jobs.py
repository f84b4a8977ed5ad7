"""features, train, evaluate, predict: each is one call of `pipeline` and what is shown of its result."""

import csv
import json
import logging
import sys
from typing import Any

import click

import pipeline
from bottleneck_features.commands.check_places import check_places
from bottleneck_features.commands.command_options import (
    CACHE,
    DATA,
    HEAD,
    LABELS,
    MODEL,
    PREDICT_VIEWS,
    REHASH,
    REPORT,
    SHARDS,
    SPEC,
    VIEWS,
    examples,
    given,
    options,
)
from bottleneck_features.terminal.progress import progress_reporter
from bottleneck_features.terminal.show import show_report
from cache.errors import UserError
from cache.files.atomic import write_atomically
from featurize.outputs import named
from featurize.spec_options import SpecOptions

log = logging.getLogger("bottleneck")


@click.command(
    epilog=examples(
        "features",
        "features --data photos",
        "features --data photos --backbone vgg16 --pooling flatten",
        "features --data photos --backbone nano+mobilenet_v2",
    )
)
@options(DATA, SPEC, VIEWS, LABELS, CACHE, REHASH, SHARDS, REPORT)
def features(json_file: str | None, max_failed: float, **chosen: Any) -> None:
    """Compute and cache the features of all images that are not cached yet.

    Without --data and --labels: of photographs that come with scikit-image, with the backbone nano.
    """
    check_places(named("--json", json_file), chosen)
    with progress_reporter() as progress:
        report = pipeline.features(progress=progress, **given(chosen))
    _finish(report, json_file, max_failed)


@click.command(
    epilog=examples(
        "train --data photos",
        "train --data photos --head dense --head-params 'hidden=256 dropout=0.3' --cv 5",
        "train --data pets --label-pattern '(?P<label>cat|dog)' --search",
        "train --data photos --views 8 --recipe 'rotation_range=40 horizontal_flip=True'",
    )
)
@options(DATA, HEAD, SPEC, VIEWS, PREDICT_VIEWS, LABELS, CACHE, REHASH, SHARDS, MODEL[:1], REPORT)
@click.option("--head-params", metavar="'K=V ...'", default="", help="Parameters of the head, such as C=1.0.")
@click.option("--test-size", type=float, default=0.2, show_default=True, help="Share held out for scoring.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of splits and heads.")
@click.option("--cv", type=click.IntRange(2), help="Cross-validate in this many folds as well.")
@click.option("--cut", metavar="LAYER|auto", help="Where finetune cuts the backbone. [--layer, else auto]")
@click.option("--tensorboard", metavar="DIR", help="Write the curves of dense or finetune there for TensorBoard.")
@click.option("--search", is_flag=True, help="Tune the head by cross-validation.")
@click.option("--scoring", metavar="NAME", help="Scorer of scikit-learn that --search goes by. [neg_log_loss]")
@click.option("--refit", is_flag=True, help="Save a head fitted on all images (scored before that).")
def train(json_file: str | None, max_failed: float, head_params: str, **chosen: Any) -> None:
    """Train a head on cached features, score it on held-out images, save it.

    Without --data and --labels: on photographs that come with scikit-image, with the backbone nano.
    """
    from classify.heads.head_table import parse_params
    from classify.saved.model_files import written_by_training

    model = chosen["model"] or pipeline.default_model(chosen["head"] or "logreg")
    written = written_by_training(model, chosen["tensorboard"])
    check_places(named("--json", json_file), chosen, writes=written)
    with progress_reporter() as progress:
        report = pipeline.train(
            progress=progress, max_failed=max_failed, head_params=parse_params(head_params), **given(chosen)
        )
    _finish(report, json_file, max_failed)


@click.command(epilog=examples("evaluate --data new_photos", "evaluate --data photos --model models/svm.joblib"))
@options(DATA, HEAD, SPEC, PREDICT_VIEWS, LABELS, CACHE, REHASH, MODEL, REPORT)
def evaluate(json_file: str | None, max_failed: float, **chosen: Any) -> None:
    """Score a saved model on labelled images that it was not trained on.

    Without --data and --labels: on the test part of the photographs that come with scikit-image.
    """
    from classify.saved.model_files import EVALUATION, files_of, read_with_model

    classifier, rest = loaded(given(chosen))
    model = classifier.saved.path
    used = read_with_model(model, classifier.extractor.record())
    check_places(named("--json", json_file), chosen, used, named("--model", *files_of(model, EVALUATION)))
    with progress_reporter() as progress:
        report = pipeline.evaluate(rest.pop("data", None), classifier, progress=progress, max_failed=max_failed, **rest)
    _finish(report, json_file, max_failed)


@click.command(epilog=examples("predict --images new_photos > labels.csv", "predict --top-k 3 a.jpg b.jpg"))
@options(HEAD, SPEC, PREDICT_VIEWS, CACHE, REHASH, MODEL)
@click.option("--images", "named", multiple=True, metavar="PATH", help="Image, folder or pattern; may be repeated.")
@click.argument("paths", nargs=-1)
@click.option("--top-k", type=click.IntRange(1), default=1, show_default=True, help="Labels for each image.")
@click.option("--no-cache", is_flag=True, help="Neither look features up nor store them.")
@click.option(
    "--reject",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="No label for what is unlike the training pictures; this share of known ones is kept, such as 0.95.",
)
@click.option("--max-failed", type=click.FloatRange(0, 1), default=0.5, show_default=True)
def predict(
    named: tuple[str, ...],
    paths: tuple[str, ...],
    top_k: int,
    no_cache: bool,
    reject: float | None,
    max_failed: float,
    **chosen: Any,
) -> None:
    """Print path,label,probability of images as CSV; with --reject a column reason, why there is no label.

    Without images: of the test part of the photographs that come with scikit-image.
    """
    from bottleneck_features.commands.path_arguments import existing_paths
    from cache.digests import rehashing
    from classify.data.default_data import surfaces_to_predict
    from featurize.pictures.sources import expand

    classifier, rest = loaded(given(chosen))
    wanted = [*named, *paths] or [surfaces_to_predict()]
    sources = [source for path in existing_paths(wanted) for source in expand(path)]
    if not sources:
        raise UserError(f"there is no image in {', '.join(wanted)}")
    with rehashing(rest.get("rehash", False)):
        answers = classifier.answers(sources, not no_cache, reject)
    sys.stdout.reconfigure(errors="surrogateescape", newline="")  # type: ignore[union-attr]
    writer = csv.writer(_Lines())
    columns = ["path", "label", "probability", "reason"][: 3 if reject is None else 4]
    writer.writerow(columns)
    for path, _, label, probability, reason in classifier.ranked(sources, answers, top_k):
        cells = [path, "", "", reason] if label is None else [path, label, f"{probability:.6f}", ""]
        writer.writerow(cells[: len(columns)])
    _exit_if_too_many_failed(len(answers.outcome.failures), len(sources), max_failed)


class _Lines:
    """stdout with plain ends of lines, for a `csv.writer` with its own: only so does it quote carriage returns."""

    def write(self, line: str) -> None:
        sys.stdout.write(line.removesuffix("\r\n") + "\n")


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


def _finish(report: dict[str, Any], json_file: str | None, max_failed: float) -> None:
    if json_file:  # first: printing may end early, in `| head`
        write_atomically(json_file, json.dumps(report, indent=2).encode())
    show_report(report)
    _exit_if_too_many_failed(report["failed"], report["images"], max_failed)


def _exit_if_too_many_failed(failed: int, images: int, max_failed: float) -> None:
    if failed > max_failed * images:
        log.error("%d of %d images failed, more than --max-failed %g allows", failed, images, max_failed)
        sys.exit(1)
