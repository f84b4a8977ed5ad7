"""From a path to a `Classifier`: the saved head, and the computation behind it found again on this machine."""

import os
from typing import Any

from classify.classifier import Classifier
from classify.persist import Saved
from classify.persist import load as load_saved
from classify.tuned_classifier import TunedClassifier
from classify.view_counts import Views
from featurize.joined import open_parts
from featurize.options import DEFAULT_CACHE
from featurize.parts import reopen_parts
from featurize.read_only import open_table


def open_classifier(
    saved: Saved,
    cache_dir: str | None = None,
    weights: str | None = None,
    engine: str = "auto",
    isolate: bool = False,
    predict_views: int | None = None,
) -> Classifier:
    """A loaded head with the computation of its features, the arguments as `pipeline.load` has them."""
    cache_dir = _cache_of(saved) if cache_dir is None else cache_dir
    names = Views.of_record(saved.record).names(predict_views)
    parts = reopen_parts(saved.record, open_table(cache_dir), weights, engine, isolate, names)
    if saved.spec.pooling == "none":
        return TunedClassifier(saved, parts[0], cache_dir)
    return Classifier(saved, open_parts(parts, cache_dir))


def warm(model: str | Classifier, cache_dir: str | None, weights: str | None) -> Classifier:
    """The model at a path, loaded once and again only when its file has changed."""
    if not isinstance(model, str | os.PathLike):
        return model
    path = os.path.abspath(model)
    key = (path, cache_dir, weights)
    try:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    except OSError:
        stamp = None  # `load_saved` says what is wrong
    if key not in _loaded or _loaded[key][0] != stamp:
        _loaded[key] = (stamp, open_classifier(load_saved(os.fspath(model)), cache_dir, weights))
    return _loaded[key][1]


_loaded: dict[tuple[str, str | None, str | None], tuple[Any, Classifier]] = {}


def _cache_of(saved: Saved) -> str:
    """The recorded cache if it is there: nothing is created in a folder that is no cache because a record names it."""
    recorded: str = saved.record["cache_dir"]
    there = all(os.path.isdir(os.path.join(recorded, part.folder)) for part in saved.spec.parts)
    return recorded if there else DEFAULT_CACHE
