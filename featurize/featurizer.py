"""The featurizer as a scikit-learn transformer: paths in, cached bottleneck features out."""

from collections.abc import Sequence, Sized
from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from cache.errors import UserError, log
from featurize.extract.extractor import Extractor
from featurize.open_extractor import open_extractor
from featurize.pictures.sources import expand
from featurize.spec_options import DEFAULT_BACKBONE


class Featurizer(TransformerMixin, BaseEstimator):
    """Frozen CNN features of images, each computed once and then read from the cache.

    Nothing is learnt: `fit` only checks the parameters. They are those of the command `features`, see there. Columns
    are called featurizer0, featurizer1 and so on, also in what `set_output(transform="pandas")` asks for.

    Parameters
    ----------
    backbone : str
        The name of a backbone, the path of a `.keras` file, of a model file (`.onnx`, `.xml`, `.tflite`) or of its
        folder, or several joined as in "nano+mobilenet_v2".
    pooling : {"avg", "max", "flatten", "none", "cls", "mean"}
        How the map (h, w, c) of the layer becomes a row; "none" keeps the map. The last two are for the tokens of a
        model file.
    layer : str, optional
        The layer whose output is taken; by default the last one.
    size : int, str or tuple of int, optional
        Side of the network's input in pixels, or (height, width); by default the backbone's own.
    weights : str, optional
        A file of weights, "imagenet" or "random"; by default ImageNet's.
    resize : {"antialias", "nearest", "bilinear"}
        How pictures are brought to the size of the input.
    preprocess : str, optional
        The preprocessing of a model of your own; the named backbones have theirs. Of a model file also such as
        "scale=1/255 mean=0.5 std=0.5 crop=0.875", where no file beside it says so.
    precision : {"float32", "bf16", "mixed_bfloat16"}
        What the network computes in.
    stored : {"float32", "float16"}
        What rows are stored in.
    engine : {"auto", "openvino", "tensorflow"}
        What computes the rows; they differ by rounding alone.
    isolate : bool
        Decode pictures in processes of their own.
    cache_dir : str
        The folder of the cache.
    errors : {"raise", "nan"}
        What is done about images that cannot be decoded: UserError, or a row of NaN, which is announced.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from featurize import Featurizer
    >>> model = make_pipeline(Featurizer("nano", pooling="avg"), LogisticRegression())
    >>> model.named_steps["featurizer"].backbone
    'nano'
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        *,
        pooling: str = "avg",
        layer: str | None = None,
        size: int | str | tuple[int, int] | None = None,
        weights: str | None = None,
        resize: str = "antialias",
        preprocess: str | None = None,
        precision: str = "float32",
        stored: str = "float32",
        engine: str = "auto",
        isolate: bool = False,
        cache_dir: str = ".features",
        errors: str = "raise",
    ):
        self.backbone = backbone
        self.pooling = pooling
        self.layer = layer
        self.size = size
        self.weights = weights
        self.resize = resize
        self.preprocess = preprocess
        self.precision = precision
        self.stored = stored
        self.engine = engine
        self.isolate = isolate
        self.cache_dir = cache_dir
        self.errors = errors

    def fit(self, X: Sequence[Any], y: Any = None) -> "Featurizer":  # noqa: ARG002
        """Check the parameters. Raises UserError for those that cannot be used."""
        self._extractor()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of images, computed where the cache lacks them.

        Parameters
        ----------
        X : sequence, or DataFrame with one column
            n images: paths, bytes of image files, PIL images or arrays.

        Returns
        -------
        numpy.ndarray
            (n, d) float32; with `pooling="none"` the shape that the layer gives, such as (n, h, w, c).

        Raises
        ------
        UserError
            Naming the first image that cannot be decoded, unless `errors` is "nan": rows stay aligned with labels.
            For a table of several columns.
        """
        sources = expand(X)
        if not isinstance(X, str) and isinstance(X, Sized) and len(sources) > len(X):
            raise UserError(f"{len(X)} paths name {len(sources)} images, some are folders: name the images themselves")
        outcome, rows = self._extractor().features(sources)
        rows = rows.astype(np.float32, copy=False)
        if len(rows):
            self._count(rows)
        if not outcome.failures:
            return rows
        first, count = outcome.failures[0], len(outcome.failures)
        failed = f"{count} of {len(sources)} images have no features, the first is {first.path}: {first.reason}"
        if self.errors == "raise":
            raise UserError(failed)
        if not len(rows):
            raise UserError(f"{failed}; none has any")
        log.warning("%s", failed)
        aligned = np.full((len(sources), *rows.shape[1:]), np.nan, np.float32)
        aligned[outcome.digests.known] = rows
        return aligned

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002
        """Names of the columns: (d,) of str, featurizer0, featurizer1 and so on.

        Before the first `transform` a blank picture passes the network, to count them. Raises UserError for maps.
        """
        if self._counted is None or self._counted[0] != self.get_params():
            self._count(self._extractor().without_cache(expand(np.zeros((32, 32, 3), np.uint8)))[1])
        _, shape = cast(tuple[Any, tuple[int, ...]], self._counted)
        if len(shape) > 1:
            raise UserError('rows of pooling="none" are maps, which have no columns')
        return np.array([f"featurizer{number}" for number in range(shape[0])], object)

    _counted: tuple[dict[str, Any], tuple[int, ...]] | None = None  # parameters, and the shape of their rows

    def _count(self, rows: np.ndarray) -> None:
        self._counted = self.get_params(), rows.shape[1:]

    def _extractor(self) -> Extractor:
        if self.errors not in ("raise", "nan"):
            raise UserError(f'errors {self.errors!r}: give "raise" or "nan"')
        return open_extractor(**{name: value for name, value in self.get_params().items() if name != "errors"})

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags
