"""Every image passes a frozen CNN once; everything after that reads the cache.

    images --featurize--> bottleneck features --cache--> immutable HDF5 shards
    labels --classify.labels.read_labels--> split --classify.train--> head --classify.saved.persist--> models/*.joblib,
    *.npz new images --the same decoder, engine and cache--> predict

    import pipeline
    pipeline.train("photos", head="logreg")
    pipeline.predict(["new.jpg"], "models/logreg.joblib")

Importing this module imports nothing but the standard library. On the command line: `python -m pipeline --help`.
"""

if __name__ == "__main__":
    import runpy

    runpy.run_module("bottleneck_features", run_name="__main__")  # the command line, which imports this module

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Unpack

from cache.errors import UserError
from classify.labels.label_options import DEFAULT_SCORING, LabelOptions, PredictOptions
from featurize.spec_options import DEFAULT_CACHE, DEFAULT_RECIPE, SpecOptions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from bottleneck_features.report.findings import Findings
    from classify.labels.read_labels import LabelledImages
    from classify.saved.classifier import Classifier
    from featurize.extract.extractor import Extractor
    from featurize.extract.hashing import Progress
    from featurize.featurizer import Featurizer

__all__ = [
    "Featurizer", "UserError", "compare", "evaluate", "features", "load", "predict", "predict_proba", "report", "top_k",
    "train",
]  # fmt: skip

SCORES = ("accuracy", "classes", "confusion_matrix", "log_loss", "baseline_accuracy", "leaked", "cv_accuracy", "cv_std")
Report = dict[str, Any]


class Options(SpecOptions, LabelOptions, total=False):
    """What decides the features, and where labels come from."""


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

    `options`: backbone, pooling, layer, size, weights, resize, preprocess, precision, stored, engine, isolate, views,
    recipe, as in `featurize.resolve.resolve`, and those of `classify.labels.label_options.LabelOptions`, such as labels
    or label_pattern (here they only serve to list a table's images and to count classes). `rehash`: read every file
    again, even one whose size, times and inode say that it is unchanged, see `cache.digests.Stamp`. `progress` is
    called with (stage, done, total). Without `data` and labels: the photographs of `classify.data.surfaces` in
    ./surfaces, with the backbone nano unless another one is named.

    Returns the report: images, computed, cached, failed, forward_passes, seconds, startup_seconds, failures,
    notes (path and note of unusual pictures), fingerprint and features (the folder of the rows), views and recipe.
    Raises UserError for what the caller can mend.
    """
    from classify.data.default_data import split_options
    from classify.data.view_counts import Views
    from classify.labels.read_labels import announce_classes, find_labelled
    from featurize.extract.summary import report_of

    started = time.perf_counter()
    data, spec, label_source = split_options(data, options)
    views = Views.asked(spec.get("recipe", DEFAULT_RECIPE), spec.get("views", 1))
    found = find_labelled(data, **label_source)
    announce_classes(found)
    images, failures = found.all_images, found.failures
    del found  # of 100,000 images what is not needed any more is many megabytes
    extractor = open_extractor(cache_dir, shard_rows, **spec)  # after the folder: this may download weights
    started = time.perf_counter() - started
    with _reading(rehash):
        outcome = extractor.run(images, progress)
    report = report_of(extractor, outcome, failures, started)
    return report | {"views": views.train, "recipe": views.recipe}


def train(
    data: str | None = None,
    head: str = "logreg",
    *,
    model: str | None = None,
    head_params: dict[str, Any] | None = None,
    test_size: float = 0.2,
    seed: int = 0,
    cv: int = 0,
    search: bool = False,
    scoring: str = DEFAULT_SCORING,
    refit: bool = False,
    predict_views: int | None = None,
    cut: str | None = None,
    tensorboard: str | None = None,
    max_failed: float = 0.5,
    cache_dir: str = DEFAULT_CACHE,
    shard_rows: int | None = None,
    rehash: bool = False,
    progress: "Progress | None" = None,
    **options: Unpack[Options],
) -> Report:
    """Train a head on the features of labelled images (computing those that are missing), score it, save it.

    `model` is where to save, by default models/HEAD.joblib; a model of other data or classes that is there is
    announced, and kept as NAME.previous.joblib. Folders such as `train/` with `val/` or `test/` are the data's own
    split (see `classify.labels.read_labels.read_labels`); else a stratified share `test_size` is held out. See
    `classify.train.train_head` for `cv`, `search`, `scoring` and `refit`, and `features` for the other arguments. With
    `views` the head is fitted on so many views of each picture; `predict_views`, by default as many up to 4
    (`finetune`: 8), are averaged in its scores and predictions. `cut` (or `layer`) is where `finetune` cuts the
    backbone: a layer, or "auto", see `classify.heads.finetune.cut_choice`. `tensorboard`: a folder for the curves of
    `dense` and `finetune`.

    Returns the report of `features` and predict_views, accuracy, accuracy_interval, baseline_accuracy, log_loss,
    classes, confusion_matrix, per_class, leaked, leaked_files, without_leaked (scores without those that are
    near-duplicates of training pictures), validation_accuracy, cv_accuracy, cv_std, stage_seconds, model. Where
    more than a share `max_failed` of the images failed nothing is trained, and `SCORES` are None.
    """
    from classify.data.dataset import dataset_of
    from classify.data.default_data import split_options
    from classify.data.view_counts import Views
    from classify.heads.dense.tensorboard import with_curves
    from classify.heads.finetune.cut_choice import spec_at_cut
    from classify.heads.head_table import HEADS, check_layer, make_head
    from classify.saved.model_files import written_by_training
    from classify.saved.persist import check_place
    from classify.saved.previous import announce_replacing, source_of
    from classify.saved.results import save_training
    from classify.scoring.scorers import check_scoring
    from classify.train import check_split, train_head
    from featurize.outputs import check_outputs, inputs_of

    started = time.perf_counter()
    head_params = with_curves(head, head_params, tensorboard)
    make_head(head, head_params, seed)  # refuses what cannot be used before any work, as do the next lines
    check_layer(head, cut, options.get("layer"), options.get("pooling"))
    check_place(model := os.fspath(model or default_model(head)))
    check_outputs(written_by_training(model, tensorboard), inputs_of(options), cache_dir=cache_dir)
    data, spec, label_source = split_options(data, options)
    views = Views.of_training(head, spec.get("recipe"), spec.get("views"), predict_views)
    spec |= {"views": max(views.train, views.predict), "recipe": views.recipe}
    found = _labelled(data, label_source, for_training=True)
    check_scoring(scoring, found.labels, search)
    check_split(found.labels, found.parts, test_size, cv, seed)  # for what it refuses: features may take hours
    with _reading(rehash):
        if HEADS[head].maps:
            spec = spec_at_cut(spec, cut, found, cache_dir, seed, progress)
        extractor = open_extractor(cache_dir, shard_rows, **spec)
        started = time.perf_counter() - started
        dataset, report = dataset_of(extractor, found, views, head, started, progress)
    if report["failed"] > max_failed * report["images"]:
        return report | dict.fromkeys(SCORES)
    origin = {"head": head, "data": source_of(data, label_source), "views": views.to_json(), **extractor.record()}
    announce_replacing(model, origin["data"], dataset)
    plan: Any = {"test_size": test_size, "seed": seed, "cv": cv, "search": search, "scoring": scoring, "refit": refit}
    training = train_head(dataset, head, head_params, **plan, progress=progress)
    report |= training.report() | {"model": model}
    save_training(model, training, report, origin, dataset)
    return report


def evaluate(
    data: str | None = None,
    model: "str | Classifier | None" = None,
    *,
    max_failed: float = 0.5,
    cache_dir: str | None = None,
    weights: str | None = None,
    rehash: bool = False,
    progress: "Progress | None" = None,
    **label_source: Unpack[LabelOptions],
) -> Report:
    """Score a saved model on labelled images.

    Without `data` and labels: on the photographs of `classify.data.surfaces`. `model` is by default
    models/logreg.joblib. Under the data's own split all of the test part is scored, else of the validation part;
    without one, all pictures but those that the model was trained on (`left_out`). Where near-duplicates of training
    pictures are among them (`leaked`), `without_leaked` has the scores without these. Returns the report of `train`, as
    far as it applies. `rehash` as in `features`. Raises UserError where nothing is left to score.
    """
    from classify.data.dataset import dataset_of
    from classify.data.default_data import given_or_surfaces
    from classify.data.view_counts import Views
    from classify.evaluate import evaluate_head
    from classify.saved.model_files import EVALUATION, files_of
    from classify.saved.results import write_evaluation
    from featurize.outputs import check_outputs, inputs_of, named

    started = time.perf_counter()
    classifier = _warm(model or default_model("logreg"), cache_dir, weights)
    check_outputs(named("--model", *files_of(classifier.saved.path, EVALUATION)), inputs_of(label_source))
    data, _ = given_or_surfaces(data, label_source, {"backbone": classifier.extractor.spec.backbone})
    found = _labelled(data, label_source, for_training=False).named_as(classifier.classes_)
    started = time.perf_counter() - started
    trained = Views.of_record(classifier.saved.record)
    views = Views(trained.recipe, predict=len(classifier.extractor.stores))
    with _reading(rehash):
        dataset, report = dataset_of(classifier.extractor, found, views, None, started, progress)
    report["views"] = trained.train
    if report["failed"] > max_failed * report["images"]:
        return report | dict.fromkeys(SCORES)
    classifier.saved.check_width(dataset.features.shape[-1])
    scores, leaked, left_out = evaluate_head(classifier.saved, dataset, classifier.extractor.cache_dir)
    report |= scores.to_json() | leaked.to_json() | {"left_out": len(left_out), "left_out_files": left_out}
    report |= {"cv_accuracy": None, "cv_std": None, "model": classifier.saved.path}
    write_evaluation(classifier.saved.path, scores, report)
    return report


def compare(
    data: str | None = None,
    *,
    heads: Sequence[str] | None = None,
    folds: int = 5,
    search: bool = False,
    scoring: str | None = None,
    seed: int = 0,
    cache_dir: str = DEFAULT_CACHE,
    progress: "Progress | None" = None,
    **options: Unpack[Options],
) -> Report:
    """Cross-validate heads on the cached rows of labelled images, in the same folds; nothing passes a network.

    `heads` are by default all. Every spec in the cache that has the rows of all images takes part, unless `options`
    name another backbone, layer, pooling or size; the others are named in the report. Joined backbones, "a+b", are
    compared with each of them alone. See `classify.compare` for the report, `search` and `scoring`. Raises
    UserError where nothing can be compared.
    """
    from classify.compare import compare_heads
    from classify.data.default_data import split_options

    data, spec, label_source = split_options(data, options)
    found = _labelled(data, label_source, for_training=True)
    plan: Any = {"count": folds, "search": search, "scoring": scoring, "seed": seed}
    return compare_heads(found, spec, cache_dir, heads, **plan, progress=progress)


def report(
    data: str | None = None,
    model: "str | Classifier | None" = None,
    output: str = "report.html",
    *,
    cache_dir: str | None = None,
    weights: str | None = None,
    progress: "Progress | None" = None,
    **label_source: Unpack[LabelOptions],
) -> "Findings":
    """Write one HTML file on a saved model and labelled images, and return what is in it.

    `data`, `model` as in `evaluate`. Raises UserError where no image can be held out or `output` is a file in use.
    """
    from bottleneck_features.report.write_report import run_report

    warm = _warm(model or default_model("logreg"), cache_dir, weights)
    return run_report(warm, data, output, progress, label_source)


def load(
    model: str,
    *,
    cache_dir: str | None = None,
    weights: str | None = None,
    engine: str = "auto",
    isolate: bool = False,
    allow_other_versions: bool = False,
    sha256: str | None = None,
    no_pickle: bool = False,
    predict_views: int | None = None,
) -> "Classifier":
    """A trained model as an object with `predict`, `predict_proba`, `top_k` and `classes_`, kept warm.

    The cache is `cache_dir`, else the one that it was trained with if that is still there. The weights are the file
    `weights`, else those of the recorded place; either way their digest must be the recorded one. `engine`: auto,
    openvino or tensorflow. `isolate`: decode pictures in processes of their own. For `allow_other_versions`, `sha256`
    and `no_pickle` see `classify.saved.persist.load`. `predict_views`: average so many views of each picture, not as
    many as it was saved with. Raises UserError for a model that cannot be loaded or whose spec cannot be reproduced
    here.
    """
    from classify.saved.load import open_classifier
    from classify.saved.persist import load as load_saved

    saved = load_saved(model, allow_other_versions, sha256=sha256, no_pickle=no_pickle)
    return open_classifier(saved, cache_dir, weights, engine, isolate, predict_views)


def predict(images: Any, model: "str | Classifier", **options: Unpack[PredictOptions]) -> "np.ndarray":
    """The label of each image, in the order given: (n,) of str; None (announced) where an image is damaged or rejected.

    images: a path, a folder, bytes of an image file, a PIL image, an array (height, width[, channels]), or a list of
    these. model: path of a `.joblib` file, or what `load` returned. `options`: cache_dir, weights, use_cache, rehash
    and reject, see `classify.labels.label_options.PredictOptions`. `top_k` says why an image has no label.
    """
    with _serving(model, options) as (classifier, how):
        return classifier.predict(images, **how)


def predict_proba(images: Any, model: "str | Classifier", **options: Unpack[PredictOptions]) -> "np.ndarray":
    """Probabilities (n, classes) float64, columns in the order of `load(model).classes_`; NaN as `predict` has None."""
    with _serving(model, options) as (classifier, how):
        return classifier.predict_proba(images, **how)


def top_k(images: Any, model: "str | Classifier", k: int = 3, **options: Unpack[PredictOptions]) -> "pd.DataFrame":
    """The k most probable labels of each image: columns path, rank, label, probability and, with `reject`, reason."""
    with _serving(model, options) as (classifier, how):
        return classifier.top_k(images, k, **how)


def export(
    data: str | None, output: str, *, cache_dir: str = DEFAULT_CACHE, **options: Unpack[Options]
) -> tuple[int, int]:
    """Write features, labels and paths of the images in a folder (or table) into one plain HDF5 file.

    With labels, labelled images only; where none has a label, all images and no labels. Missing features are computed.
    Rows are those of the pictures themselves, not of other views. `data` None is as in `features`. Returns (rows
    written, images that failed). Raises UserError for an `output` that would overwrite what is read.
    """
    from classify.data.default_data import split_options
    from classify.labels.read_labels import find_labelled
    from featurize.extract.export_features import export_images
    from featurize.outputs import check_outputs, inputs_of, named

    check_outputs(named("--output", output), inputs_of(options), data=data, cache_dir=cache_dir)
    data, spec, label_source = split_options(data, options)
    spec.pop("views", None)
    found = find_labelled(data, **label_source)
    if found.doubt:
        raise UserError(found.doubt)
    extractor = open_extractor(cache_dir, **spec)
    outcome = export_images(extractor, found.paths or found.all_images, found.labels or None, output)
    return len(outcome.succeeded), len(outcome.failures) + len(found.failures)


def default_model(head: str) -> str:
    """Where `train` saves a head, and where the other commands look for it, unless told otherwise."""
    return os.path.join("models", f"{head}.joblib")


def open_extractor(
    cache_dir: str = DEFAULT_CACHE, shard_rows: int | None = None, **spec: Unpack[SpecOptions]
) -> "Extractor":
    """The extractor of a spec: its rows in the cache, and the network that computes those that are missing."""
    from cache.store import SHARD_ROWS
    from featurize.extract.joined_extractor import open_parts
    from featurize.extract.read_only import open_table
    from featurize.joined_options import resolve_parts

    parts = resolve_parts(open_table(cache_dir), spec)
    return open_parts(parts, cache_dir, SHARD_ROWS if shard_rows is None else shard_rows)


def _labelled(data: str | None, label_source: LabelOptions, *, for_training: bool) -> "LabelledImages":
    from classify.labels.read_labels import announce_classes, read_labels

    found = read_labels(data, **label_source, for_training=for_training)
    announce_classes(found)
    return found


def _reading(again: bool) -> AbstractContextManager[None]:
    from cache.digests import rehashing

    return rehashing(again)


@contextmanager
def _serving(model: "str | Classifier", options: PredictOptions) -> Iterator[tuple["Classifier", dict[str, Any]]]:
    """The model, warm, and what its methods are told; in the body files are read as `rehash` says."""
    rest: dict[str, Any] = {**options}
    with _reading(rest.pop("rehash", False)):
        yield _warm(model, rest.pop("cache_dir", None), rest.pop("weights", None)), rest


def _warm(model: "str | Classifier", cache_dir: str | None, weights: str | None) -> "Classifier":
    from classify.saved.load import warm

    return warm(model, cache_dir, weights)


def __getattr__(name: str) -> Any:
    if name == "Featurizer":  # needs scikit-learn, which is slow to import: only when asked for
        from featurize.featurizer import Featurizer

        return Featurizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
