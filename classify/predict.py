"""What a saved model says of new pictures: the part of `pipeline` that reads a model. Imports nothing heavy."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Unpack

from cache.arguments import at_home, checked_arguments, plain_options
from cache.errors import UserError
from classify.labels.label_options import PredictOptions, TopOptions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from classify.labels.label_options import AnyTable
    from classify.saved.classifier import Classifier


@checked_arguments
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
    """Load a trained model once, to predict many times.

    Parameters
    ----------
    model : str
        Path of a `.joblib` file, or of a bundle, the `.zip` that `export` writes: everything is in that.
    cache_dir : str, optional
        Where features are kept; by default the cache that the model was trained with, if it is still there.
    weights : str, optional
        File of the backbone's weights, by default the recorded one. Either must have the recorded digest.
    engine : {"auto", "openvino", "tensorflow"}
        What computes features.
    isolate : bool
        Decode pictures in processes of their own, which a picture may crash.
    allow_other_versions, sha256, no_pickle
        Which files may be read, see `classify.saved.persist.load`. Of a bundle, `sha256` is that of the whole file.
    predict_views : int, optional
        Average so many views of each picture, not as many as the model was saved with.

    Returns
    -------
    Classifier
        It has `predict`, `predict_proba`, `top_k` and `classes_`.

    Raises
    ------
    UserError
        The model cannot be loaded, or its features cannot be computed here as they were.

    Examples
    --------
    >>> import pipeline
    >>> pipeline.load("models/logreg.joblib").classes_
    ['brick', 'grass', 'gravel']
    """
    from classify.saved.open_classifier import open_model

    return open_model(
        os.fspath(model), cache_dir, weights, engine, isolate, allow_other_versions, sha256, no_pickle, predict_views
    )


def predict(images: Any, model: "str | Classifier", **options: Unpack[PredictOptions]) -> "np.ndarray":
    """Predict the label of each image.

    Parameters
    ----------
    images : str, bytes, PIL.Image.Image, ndarray or list of these
        A path, a folder, the bytes of an image file, a picture, pixels (height, width[, channels]). A folder, also in a
        list, stands at its place for its images, in byte order of their paths.
    model : str or Classifier
        Path of a `.joblib` file or a bundle, which is loaded once, or what `load` returned.
    **options
        cache_dir, weights, use_cache, rehash, reject: see `classify.labels.label_options.PredictOptions`.

    Returns
    -------
    ndarray of str, shape (n,)
        Labels, in the order given. None, which is announced, for a damaged image, or with `reject` for an outlier;
        `top_k` says why.

    Raises
    ------
    UserError
        As `load`; and for `images` of another kind.

    Examples
    --------
    >>> import pipeline
    >>> pipeline.predict(["photos/grass/grass.0.png", "photos/brick/brick.1.png"], "models/logreg.joblib").tolist()
    ['grass', 'brick']
    """
    with _serving(model, options) as (classifier, rest):
        return classifier.predict(images, **rest)


def predict_proba(images: Any, model: "str | Classifier", **options: Unpack[PredictOptions]) -> "np.ndarray":
    """Predict the probability of each class for each image.

    Parameters
    ----------
    images, model, **options
        As in `predict`.

    Returns
    -------
    ndarray of float64, shape (n, classes)
        Columns in the order of `load(model).classes_`. NaN where `predict` has None.

    Raises
    ------
    UserError
        As `predict`.

    Examples
    --------
    >>> import pipeline
    >>> probabilities = pipeline.predict_proba("photos/grass", "models/logreg.joblib")
    >>> probabilities.shape, probabilities.sum(axis=1).round(6).tolist()[:2]
    ((12, 3), [1.0, 1.0])
    """
    with _serving(model, options) as (classifier, rest):
        return classifier.predict_proba(images, **rest)


@checked_arguments
def top_k(images: Any, model: "str | Classifier", k: int = 3, **options: Unpack[TopOptions]) -> "pd.DataFrame":
    """Predict the most probable labels of each image.

    Parameters
    ----------
    images, model
        As in `predict`.
    k : int
        How many labels of each image.
    **options
        As in `predict`, and accept, coverage: see `classify.labels.label_options.TopOptions`.

    Returns
    -------
    DataFrame
        Columns path, rank, label, probability, margin; with `reject` also reason: why there is no label. With `accept`
        also decision: accept, review or unknown; with `coverage` also labels: the set, most probable first.

    Raises
    ------
    UserError
        As `predict`.

    Examples
    --------
    >>> import pipeline
    >>> table = pipeline.top_k("photos/grass/grass.0.png", "models/logreg.joblib", k=2)
    >>> table["rank"].tolist(), table["label"][0]
    ([1, 2], 'grass')
    """
    with _serving(model, options) as (classifier, rest):
        return classifier.top_k(images, k, **rest)


@checked_arguments
def predict_groups(
    images: Any,
    model: "str | Classifier",
    groups: "str | Mapping[Any, Any]",
    *,
    labels: "AnyTable | None" = None,
    path_column: str = "path",
    **options: Unpack[PredictOptions],
) -> "pd.DataFrame":
    """Predict one label for each group of images, such as a burst: by the mean of their probabilities.

    Parameters
    ----------
    images, model, **options
        As in `predict`.
    groups : str or mapping
        "column:NAME" of a table, "pattern:REGEX" with a group named `group`, searched in paths below a folder that is
        given, and in others as they are; "folder" (the one that an image lies in), "time:SECONDS" (images of one folder
        taken less than so many seconds apart), or a mapping from paths to groups.
    labels : path or DataFrame, optional
        The table that has the column, and maybe times of images without EXIF.
    path_column : str
        Its column of paths.

    Returns
    -------
    DataFrame
        One row for each group, in the order of their first images: group, pictures, answered (those that count in the
        mean: not the damaged and, with `reject`, not the outliers), label (None where no image has an answer),
        probability, margin. An image in no group, which is announced, is one of its own with the name "".

    Raises
    ------
    UserError
        As `predict`; and for groups that cannot be used.

    Examples
    --------
    >>> import pipeline
    >>> table = pipeline.predict_groups("photos", "models/logreg.joblib", "folder")
    >>> table["group"].tolist(), table["label"].tolist()
    (['photos/brick', 'photos/grass', 'photos/gravel'], ['brick', 'grass', 'gravel'])
    """
    import pandas as pd

    from classify.group_answers import group_answers, groups_of_pictures
    from featurize.pictures.sources import expand

    if decided := sorted(options.keys() & (TopOptions.__annotations__.keys() - PredictOptions.__annotations__.keys())):
        raise UserError(f"predict_groups has no {decided[0]}: it is of single pictures, see pipeline.top_k")
    sources = expand(images)
    names = groups_of_pictures(sources, images, groups, labels, path_column)
    with _serving(model, options) as (classifier, rest):
        rows = group_answers(classifier.answers(sources, **rest), names).rows(classifier.classes_)
    kinds = {"group": "object", "label": "object", "pictures": "int64", "answered": "int64"}  # as in `top_k`
    columns = ("group", "pictures", "answered", "label", "probability", "margin")
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=kinds.get(name, "float64")) for name in columns}
    )


def default_model(head: str) -> str:
    """Where `train` saves a head and the other functions look for it, by default."""
    return os.path.join("models", f"{head}.joblib")


def warm_classifier(model: "str | Classifier", cache_dir: str | None, weights: str | None) -> "Classifier":
    """The model at a path, loaded once and kept; a loaded one is returned as it is."""
    if not isinstance(model, str | os.PathLike):
        return model
    from classify.saved.open_classifier import warm

    return warm(at_home(model), cache_dir, weights)


@contextmanager
def _serving(model: "str | Classifier", options: PredictOptions) -> Iterator[tuple["Classifier", dict[str, Any]]]:
    """The model and the options of its methods; within the body files are read as `rehash` says."""
    from cache.digest_table import rehashing

    rest = plain_options(options) if options else {}
    with rehashing(rest.pop("rehash", False)):
        yield warm_classifier(model, rest.pop("cache_dir", None), rest.pop("weights", None)), rest
