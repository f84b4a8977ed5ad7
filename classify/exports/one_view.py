"""A model that averages several views of a picture, in one view alone: as an export takes it, and what that costs."""

import os
from dataclasses import replace
from typing import Any

import numpy as np

from cache.errors import UserError, log
from cache.row_key import ORIGINAL_VIEW
from classify.comparison.score_difference import Scorable, score_differences
from classify.data.dataset import Dataset, dataset_of
from classify.data.grouping import united
from classify.data.view_counts import Views
from classify.evaluate import scorable, scored_of
from classify.labels.label_options import LabelOptions
from classify.labels.read_labels import read_labels
from classify.saved.classifier import Classifier
from classify.saved.data_source import label_options_of
from classify.saved.record import shown
from classify.saved.tuned_classifier import TunedClassifier
from featurize.extract.joined_extractor import open_parts


def in_one_view(classifier: Classifier) -> Classifier:
    """The same model, answering by the picture itself alone, from rows as they are computed: not rounded to float16."""
    extractor = classifier.extractor
    if isinstance(classifier, TunedClassifier):  # whose decisions are never rounded
        cut = replace(extractor.parts[0].resolved, views=(ORIGINAL_VIEW,))
        return TunedClassifier(classifier.saved, cut, extractor.cache_dir)
    parts = [
        replace(part.resolved, views=(ORIGINAL_VIEW,), spec=replace(part.spec, stored="float32"))
        for part in extractor.parts
    ]
    if parts == [part.resolved for part in extractor.parts]:
        return classifier
    return Classifier(classifier.saved, open_parts(parts, extractor.cache_dir))


def one_view_cost(classifier: Classifier, data: str | None) -> dict[str, Any]:
    """The accuracy of one view less that of all views which the model averages, on pictures held out of its training.

    These are of the folder `data`, else of the data that its record names; their rows are read from the cache, or
    computed into it. As JSON types: views, pictures, accuracy (in one view), accuracy_of_views, and those of
    `Difference`. Where no labelled picture is left, "unknown" says why.
    """
    views = len(classifier.extractor.stores)
    try:
        held_out, groups = _held_out(classifier, data, views)
    except UserError as error:
        log.warning("what one view instead of %d costs in accuracy cannot be told: %s", views, error)
        return {"views": views, "unknown": str(error)}
    everything = slice(None)
    predictor, classes = classifier.saved.predictor, np.array(classifier.classes_)
    one, many = (
        Scorable(classes, held_out.labels, np.asarray(predictor.predict_proba(rows)))
        for rows in (held_out.originals(everything), held_out.scored(everything))
    )
    (difference,) = score_differences("accuracy", [one], many, groups, held_out.groups is not None)
    low, high = difference.interval
    log.info(
        "one view instead of %d: accuracy %.3f instead of %.3f on %d held-out pictures, %+.1f points (95%% interval "
        "%+.1f to %+.1f)",
        views,
        one.score("accuracy"),
        many.score("accuracy"),
        len(held_out.labels),
        100 * difference.value,
        100 * low,
        100 * high,
    )
    scores = {"accuracy": one.score("accuracy"), "accuracy_of_views": many.score("accuracy")}
    return {"views": views, "pictures": len(held_out.labels), **scores, **difference.to_json()}


def _held_out(classifier: Classifier, data: str | None, views: int) -> tuple[Dataset, np.ndarray]:
    """Labelled pictures that `pipeline.evaluate` would score, in all views, and which of them are not independent (m,).

    Raises UserError where there are none.
    """
    saved, extractor = classifier.saved, classifier.extractor
    folder, options = (data, LabelOptions()) if data is not None else _source_of(saved.record)
    found = scorable(saved, read_labels(folder, for_training=False, **options), extractor.table)
    of_record = Views(Views.of_record(saved.record).recipe, predict=views)
    every, _ = dataset_of(extractor, found, of_record, None, 0.0, None, announce=False)
    chosen = scored_of(saved, every, extractor.cache_dir).rows
    return every.of(chosen), united(every.duplicates()[0], every.groups).numbers[chosen]


def _source_of(record: dict[str, Any]) -> tuple[str | None, LabelOptions]:
    """Where the pictures and labels came from that a model was trained on. Raises UserError where that is lost."""
    source = record.get("data")
    if not isinstance(source, dict):
        raise UserError("its record does not say what it was trained on: name the folder with --data")
    options = label_options_of(source)
    folder, table = source.get("folder"), source.get("table")
    for what, path, is_there in (("labels", table, os.path.isfile), ("pictures", folder, os.path.isdir)):
        if path is not None and not (isinstance(path, str) and os.path.isabs(path) and is_there(path)):
            raise UserError(f"its {what} were in {shown(path)}, which is not there: name a folder with --data")
    if groups := record.get("groups"):
        options["groups"] = groups["by"]
    return folder, options
