"""From a path to a `Classifier`: the saved head, and the computation behind it found again on this machine."""

import os
import threading

from classify.data.view_counts import Views
from classify.saved.classifier import Classifier
from classify.saved.model_files import stamp_of
from classify.saved.persist import Saved
from classify.saved.persist import load as load_saved
from classify.saved.tuned_classifier import TunedClassifier
from featurize.extract.joined_extractor import open_parts
from featurize.extract.writable import open_table
from featurize.joined_options import reopen_parts
from featurize.spec_options import DEFAULT_CACHE


def open_classifier(
    saved: Saved,
    cache_dir: str | None = None,
    weights: str | None = None,
    engine: str = "auto",
    isolate: bool = False,
    predict_views: int | None = None,
) -> Classifier:
    """A loaded head with the computation of its features, the arguments as `pipeline.load` has them."""
    if cache_dir is None:  # nothing is created in a folder that is no cache because a record names it
        recorded = saved.record["cache_dir"]
        is_there = all(os.path.isdir(os.path.join(recorded, part.folder)) for part in saved.spec.parts)
        cache_dir = recorded if is_there else DEFAULT_CACHE
    names = Views.of_record(saved.record).names(predict_views)
    parts = reopen_parts(saved.record, open_table(cache_dir), weights, engine, isolate, names)
    if saved.spec.pooling == "none":
        return TunedClassifier(saved, parts[0], cache_dir)
    return Classifier(saved, open_parts(parts, cache_dir))


def warm(model: str, cache_dir: str | None, weights: str | None) -> Classifier:
    """The model at a path, loaded once and again only when its file has changed.

    The last `MOST_MODELS` are kept; one whose file is gone or another by now is not. Threads may ask at once.
    """
    key = (os.path.abspath(model), cache_dir, weights)
    stamp = stamp_of(key[0])
    with _lock:
        for other in [other for other in _loaded if other[0] == key[0] and _loaded[other][0] != stamp]:
            del _loaded[other]
        if key in _loaded:
            _loaded[key] = _loaded.pop(key)  # the one that was asked for last is the last
            return _loaded[key][1]
    opened = open_classifier(load_saved(os.fspath(model)), cache_dir, weights)  # says what is wrong with the file
    with _lock:
        kept = _loaded.setdefault(key, (stamp, opened))  # another thread may have been faster
        for other in [other for other in _loaded if other[0] != key[0] and _loaded[other][0] != stamp_of(other[0])]:
            del _loaded[other]
        for other in [*_loaded][:-MOST_MODELS]:
            del _loaded[other]
    return kept[1]


MOST_MODELS = 8
_Key = tuple[str, str | None, str | None]  # path, cache_dir, weights
_loaded: dict[_Key, tuple[tuple[int, ...] | None, Classifier]] = {}
_lock = threading.Lock()
