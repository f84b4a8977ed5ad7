"""From a path to a `Classifier`: the saved head, and the computation behind it found again on this machine."""

import os
import threading
from collections.abc import Iterator

from cache.errors import naming_packages
from classify.bundles.open_bundle import is_bundle, open_bundle, unpacked
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


def open_model(
    model: str,
    cache_dir: str | None = None,
    weights: str | None = None,
    engine: str = "auto",
    isolate: bool = False,
    allow_other_versions: bool = False,
    sha256: str | None = None,
    no_pickle: bool = False,
    predict_views: int | None = None,
) -> Classifier:
    """The model at a path, the arguments as `pipeline.load` has them.

    The networks of a bundle are those that it holds, unless others are to be built of `weights` or by TensorFlow.
    """
    if not is_bundle(model):
        saved = load_saved(model, allow_other_versions, sha256=sha256, no_pickle=no_pickle)
        return open_classifier(saved, cache_dir, weights, engine, isolate, predict_views)
    if weights is None and engine != "tensorflow":
        return open_bundle(
            model,
            sha256=sha256,
            cache_dir=cache_dir,
            engine=engine,
            isolate=isolate,
            predict_views=predict_views,
            allow_other_versions=allow_other_versions,
        )
    saved, files = unpacked(model, sha256, allow_other_versions)
    if weights is None and files.strip("+"):  # else all are in packages
        weights = files
    return open_classifier(saved, cache_dir, weights, engine, isolate, predict_views)


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
        cache_dir = next((folder for folder in _caches(saved) if _holds(folder, saved)), DEFAULT_CACHE)
    names = Views.of_record(saved.record).names(predict_views)
    parts = reopen_parts(saved.record, open_table(cache_dir), weights, engine, isolate, names, beside=_folder(saved))
    if saved.spec.pooling == "none":
        return TunedClassifier(saved, parts[0], cache_dir)
    return Classifier(saved, open_parts(parts, cache_dir))


def _folder(saved: Saved) -> str:
    return os.path.dirname(os.path.abspath(saved.path))


def _caches(saved: Saved) -> Iterator[str]:
    """Where the rows of a model may be: where they were, or near the model where both have moved."""
    yield saved.record["cache_dir"]
    yield os.path.join(_folder(saved), DEFAULT_CACHE)
    yield os.path.join(os.path.dirname(_folder(saved)), DEFAULT_CACHE)


def _holds(folder: str, saved: Saved) -> bool:
    return all(os.path.isdir(os.path.join(folder, part.folder)) for part in saved.spec.parts)


def warm(model: str, cache_dir: str | None, weights: str | None) -> Classifier:
    """The model at a path, loaded once and again only when its file has changed.

    The last `MOST_MODELS` are kept; one whose file is gone or another by now is not. Threads may ask at once.
    """
    path = os.path.abspath(model)
    key = (path, stamp_of(path), cache_dir, weights)
    with _lock:
        if key in _loaded:
            _loaded[key] = _loaded.pop(key)  # the one that was asked for last is the last
            return _loaded[key]
        for other in [other for other in _loaded if stamp_of(other[0]) != other[1]]:
            del _loaded[other]
    with naming_packages():
        opened = open_model(os.fspath(model), cache_dir, weights)  # says what is wrong with the file
    with _lock:
        kept = _loaded.setdefault(key, opened)  # another thread may have been faster
        for other in [*_loaded][:-MOST_MODELS]:
            del _loaded[other]
    return kept


MOST_MODELS = 8
_loaded: dict[tuple[str, tuple[int, ...] | None, str | None, str | None], Classifier] = {}  # by path, stamp and options
_lock = threading.Lock()
