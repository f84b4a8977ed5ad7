"""Every image passes a frozen CNN once; everything after that reads the cache.

    images --featurize--> bottleneck features --cache--> immutable HDF5 shards
    labels --classify.labels.read_labels--> split --classify.train--> head --classify.saved.persist--> models/*.joblib
    new images --the same decoder, engine and cache--> predict (`classify.predict`)

Importing this module imports nothing but the standard library. On the command line: `python -m pipeline --help`.
"""

if __name__ == "__main__":
    import runpy

    runpy.run_module("bottleneck_features", run_name="__main__")  # the command line, which imports this module

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import bottleneck_features.own_packages  # noqa: F401  # no file of the user hides the packages below
from bottleneck_features.web.create_app import create_app
from cache.errors import UserError
from classify.exports.export_model import export_model
from classify.exports.plain_features import export
from classify.labels.label_options import Options
from classify.plan_options import (
    CompareOptions,
    EvaluateOptions,
    ReportOptions,
    TrainOptions,
    split_comparison,
    split_plan,
)
from classify.predict import default_model, load, predict, predict_groups, predict_proba, top_k, warm_classifier
from featurize.cluster.given_cluster import checked_arguments
from featurize.open_extractor import open_extractor
from featurize.spec_options import DEFAULT_CACHE, DEFAULT_RECIPE

if TYPE_CHECKING:
    from bottleneck_features.report.findings import Findings
    from classify.saved.classifier import Classifier
    from featurize.extract.outcome import Progress
    from featurize.featurizer import Featurizer

__all__ = [
    "Featurizer", "UserError", "compare", "create_app", "evaluate", "export", "export_model", "features", "load",
    "predict", "predict_groups", "predict_proba", "report", "top_k", "train",
]  # fmt: skip

SCORES = ("accuracy", "classes", "confusion_matrix", "log_loss", "baseline_accuracy", "leaked", "cv_accuracy", "cv_std")
Report = dict[str, Any]


@checked_arguments
def features(
    data: str | None = None,
    *,
    cache_dir: str = DEFAULT_CACHE,
    shard_rows: int | None = None,
    rehash: bool = False,
    progress: "Progress | None" = None,
    **options: Unpack[Options],
) -> Report:
    """Compute and cache the features of all images in a folder (or table) that are not cached yet.

    Parameters
    ----------
    data : str, optional
        Folder of images. Without `data` and labels: the photographs of `classify.data.surfaces` in ./surfaces.
    cache_dir : str
        Where features are kept.
    shard_rows : int, optional
        Rows of one shard at most.
    rehash : bool
        Read every file again, even one that looks unchanged, see `cache.digest_table.Stamp`.
    progress : callable, optional
        Called with (stage, done, total).
    **options
        What decides the features, see `featurize.resolve.resolve`: backbone, pooling, layer, size, weights, resize,
        preprocess, precision, stored, engine, isolate, views, recipe. Where labels come from, see
        `classify.labels.label_options.LabelOptions`; here they only list a table's images and count classes.

    Returns
    -------
    dict
        images, computed, cached, failed, forward_passes, seconds, startup_seconds, failures, notes (path and note of
        unusual pictures), fingerprint, features (the folder of the rows), views, recipe.

    Raises
    ------
    UserError
        For what the caller can mend: one line that says how.

    Examples
    --------
    >>> report = pipeline.features("photos", backbone="nano")
    >>> report["images"], report["failed"]
    (36, 0)
    """
    from cache.digest_table import rehashing
    from classify.data.default_data import split_options
    from classify.data.view_counts import Views
    from classify.labels.read_labels import announced, find_labelled

    started = time.perf_counter()
    data, spec, label_source = split_options(data, options)
    views = Views.checked(spec.get("recipe", DEFAULT_RECIPE), spec.get("views", 1))
    found = announced(find_labelled(data, **label_source))
    images, failures = found.all_images, found.failures
    del found  # of 100,000 images what is not needed any more is many megabytes
    extractor = open_extractor(cache_dir, shard_rows, **spec)  # after the folder: this may download weights
    started = time.perf_counter() - started
    with rehashing(rehash):
        outcome = extractor.run(images, progress)
    return extractor.report(outcome, failures, started) | {"views": views.train, "recipe": views.recipe}


@checked_arguments
def train(
    data: str | None = None,
    head: str = "logreg",
    *,
    model: str | None = None,
    head_params: dict[str, Any] | None = None,
    predict_views: int | None = None,
    cut: str | None = None,
    tensorboard: str | None = None,
    max_failed: float = 0.5,
    cache_dir: str = DEFAULT_CACHE,
    shard_rows: int | None = None,
    rehash: bool = False,
    progress: "Progress | None" = None,
    **options: Unpack[TrainOptions],
) -> Report:
    """Train a head on the features of labelled images (computing those that are missing), score it, save it.

    Parameters
    ----------
    data : str, optional
        Folder of images; its folders are the labels. Folders such as `train/` with `val/` or `test/` are the data's
        own split, see `classify.labels.read_labels.read_labels`; else a share `test_size` is held out.
    head : str
        The classifier: a name in `classify.heads.head_table.HEADS`.
    model : str, optional
        Where to save, by default models/HEAD.joblib. A model of other data or classes that is there is announced, and
        kept as NAME.previous.joblib.
    head_params : dict, optional
        Parameters of the head, such as {"C": 1.0}.
    predict_views : int, optional
        Views of a picture whose probabilities are averaged, by default `views` up to 4 (`finetune`: 8).
    cut : str, optional
        Where `finetune` cuts the backbone: a layer, or "auto", see `classify.heads.finetune.cut_choice`.
    tensorboard : str, optional
        Folder for the curves of `dense` and `finetune`.
    max_failed : float
        Share of the images that may fail: where more do, nothing is trained and `SCORES` are None.
    cache_dir, shard_rows, rehash, progress, **options
        As in `features`; how the head is trained and scored: `classify.plan_options.PlanOptions`. It is fitted on
        `views` views of each picture.

    Returns
    -------
    dict
        That of `features`, and predict_views, left_out_classes (those of a single picture), groups (see
        `classify.labels.group_record`), model, and what `classify.train.Training.report` has: accuracy,
        accuracy_interval, classes, confusion_matrix, leaked_files, cv and so on.

    Raises
    ------
    UserError
        As `features`; what cannot be trained or saved is refused before any work.

    Examples
    --------
    >>> report = pipeline.train("photos", "logreg", backbone="nano")
    >>> report["model"], report["accuracy"] > report["baseline_accuracy"]
    ('models/logreg.joblib', True)
    """
    from cache.digest_table import rehashing
    from classify.check_request import check_request
    from classify.data.dataset import dataset_of
    from classify.data.default_data import split_options
    from classify.data.single_pictures import without_copies_alone, without_single
    from classify.data.view_counts import Views
    from classify.heads.dense.tensorboard import with_curves
    from classify.heads.finetune.cut_choice import spec_at_cut
    from classify.heads.head_table import HEADS
    from classify.labels.read_labels import announced_labels
    from classify.saved.data_source import source_of
    from classify.saved.previous import announce_replacing
    from classify.saved.results import save_training
    from classify.train import check_plan, train_head

    started = time.perf_counter()
    head_params = with_curves(head, head_params, tensorboard)
    model = model or default_model(head)
    plan, others = split_plan(options)
    check_request(head, head_params, plan.seed, cut, model, tensorboard, cache_dir, others)  # as the next lines do
    data, spec, label_source = split_options(data, others)
    views = Views.of_training(head, spec.get("recipe"), spec.get("views"), predict_views)
    spec |= {"views": max(views.train, views.predict), "recipe": views.recipe}
    labelled, folds = announced_labels(data, True, label_source), bool(plan.cv or plan.search)
    found = without_single(labelled, folds)
    check_plan(found, plan)  # for what it refuses: features may take hours
    with rehashing(rehash):
        if HEADS[head].maps:
            spec = spec_at_cut(spec, cut, found, cache_dir, plan.seed, progress)
        extractor = open_extractor(cache_dir, shard_rows, **spec)
        started = time.perf_counter() - started
        dataset, report = dataset_of(extractor, found, views, head, started, progress, head_params)
    if report["failed"] > max_failed * report["images"]:
        return report | dict.fromkeys(SCORES)
    dataset = without_copies_alone(dataset, folds)
    report["left_out_classes"] = sorted({*labelled.labels} - {*dataset.labels.tolist()})
    origin = {"head": head, "data": source_of(data, label_source), "views": views.to_json(), **extractor.record()}
    announce_replacing(model, origin["data"], dataset)
    training = train_head(dataset, head, head_params, progress=progress, **vars(plan))
    report |= training.report() | {"model": model}
    save_training(model, training, report, origin, dataset)
    return report


@checked_arguments
def evaluate(
    data: str | None = None,
    model: "str | Classifier | None" = None,
    *,
    max_failed: float = 0.5,
    cache_dir: str | None = None,
    weights: str | None = None,
    rehash: bool = False,
    progress: "Progress | None" = None,
    **options: Unpack[EvaluateOptions],
) -> Report:
    """Score a saved model on labelled images.

    Under the data's own split all of the test part is scored, else of the validation part; without one, all pictures
    but those that the model was trained on.

    Parameters
    ----------
    data : str, optional
        As in `train`.
    model : str or Classifier, optional
        Path of a `.joblib` file, by default models/logreg.joblib, or what `load` returned.
    cache_dir, weights, max_failed, rehash, progress
        As in `load` and `train`.
    **options
        Where labels come from, positive, prevalence, accept, coverage: see `classify.plan_options.EvaluateOptions`.

    Returns
    -------
    dict
        That of `train`, as far as it applies; left_out and left_out_files: pictures that the model was trained on.

    Raises
    ------
    UserError
        As `load`; and where nothing is left to score.

    Examples
    --------
    >>> report = pipeline.evaluate("photos", "models/logreg.joblib")
    >>> report["images"] - report["left_out"]
    7
    """
    from cache.digest_table import rehashing
    from classify.data.dataset import dataset_of
    from classify.data.default_data import given_or_surfaces
    from classify.data.view_counts import Views
    from classify.evaluate import check_asked, evaluate_head, groups_scored, scorable
    from classify.labels.read_labels import announced_labels
    from classify.saved.model_files import EVALUATION, files_of
    from classify.saved.results import write_evaluation
    from featurize.outputs import check_outputs, inputs_of, named

    started = time.perf_counter()
    classifier = warm_classifier(model or default_model("logreg"), cache_dir, weights)
    plan, label_source = split_plan(options)
    check_asked(classifier.saved, plan)
    check_outputs(named("--model", *files_of(classifier.saved.path, EVALUATION)), inputs_of(label_source))
    data = given_or_surfaces(data, label_source)
    found = scorable(classifier.saved, announced_labels(data, False, label_source), classifier.extractor.table)
    started = time.perf_counter() - started
    trained = Views.of_record(classifier.saved.record)
    views = Views(trained.recipe, predict=len(classifier.extractor.stores))
    with rehashing(rehash):
        dataset, report = dataset_of(classifier.extractor, found, views, None, started, progress)
    report["views"] = trained.train
    if report["failed"] > max_failed * report["images"]:
        return report | dict.fromkeys(SCORES)
    classifier.check_width(dataset.features.shape[-1])
    scores, answers, about = evaluate_head(classifier.saved, dataset, classifier.extractor.cache_dir, plan)
    report["groups"] = groups_scored(classifier.saved, report["groups"], answers)
    report |= about | {"model": classifier.saved.path}
    write_evaluation(classifier.saved.path, scores, answers, dataset.paths, report)
    return report


@checked_arguments
def compare(
    data: str | None = None,
    *,
    heads: Sequence[str] | None = None,
    predictions: Sequence[str] = (),
    cache_dir: str = DEFAULT_CACHE,
    progress: "Progress | None" = None,
    **options: Unpack[CompareOptions],
) -> Report:
    """Cross-validate heads on the cached rows of labelled images, in the same folds; nothing passes a network.

    Parameters
    ----------
    heads : list of str, optional
        By default all.
    predictions : list of str
        Tables of held-out answers, NAME.predictions.csv: these are compared, and nothing is trained.
    data, cache_dir, progress
        As in `train`.
    **options
        As in `features`, and folds, search, scoring, positive and so on: `classify.plan_options.CompareOptions`.
        Every spec in the cache with the rows of all images takes part, unless options name another backbone, layer,
        pooling or size. Joined backbones, "a+b", are compared with each of them alone.

    Returns
    -------
    dict
        lines (a head on a spec each, the best first), not_compared and more, see `classify.comparison.compare_heads`;
        of `predictions`: see `classify.comparison.compare_answers`.

    Raises
    ------
    UserError
        Nothing can be compared.

    Examples
    --------
    >>> report = pipeline.compare("photos", heads=["logreg", "centroid"], folds=3)
    >>> sorted(line["head"] for line in report["lines"]), report["forward_passes"]
    (['centroid', 'logreg'], 0)
    """
    from classify.comparison.compare_answers import compare_answers
    from classify.comparison.compare_heads import compare_heads
    from classify.data.default_data import split_options
    from classify.labels.read_labels import announced_labels

    chosen, others = split_comparison(options)
    if predictions:
        return compare_answers(predictions, chosen.get("scoring"), chosen.get("positive"))
    data, spec, label_source = split_options(data, others)
    return compare_heads(announced_labels(data, True, label_source), spec, cache_dir, heads, progress, **chosen)


@checked_arguments
def report(
    data: str | None = None,
    model: "str | Classifier | None" = None,
    output: str = "report.html",
    *,
    cache_dir: str | None = None,
    weights: str | None = None,
    progress: "Progress | None" = None,
    **options: Unpack[ReportOptions],
) -> "Findings":
    """Write one HTML file that shows a saved model and labelled images.

    Parameters
    ----------
    output : str
        The HTML file to write.
    data, model, cache_dir, weights, progress, **options
        As in `evaluate`; and heatmaps, see `classify.plan_options.ReportOptions`.

    Returns
    -------
    Findings
        What is in the file, see `bottleneck_features.report.findings`.

    Raises
    ------
    UserError
        No image can be held out, or `output` is a file in use.

    Examples
    --------
    >>> findings = pipeline.report("photos", "models/logreg.joblib", "report.html")
    >>> len(findings.pictures), len(findings.heatmaps)
    (36, 7)
    """
    from bottleneck_features.report.run_report import run_report

    classifier = warm_classifier(model or default_model("logreg"), cache_dir, weights)
    return run_report(classifier, data, output, progress, options)


def __getattr__(name: str) -> Any:
    if name == "Featurizer":  # needs scikit-learn, which is slow to import: only when asked for
        from featurize.featurizer import Featurizer

        return Featurizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
