"""The featurizer as a scikit-learn transformer: paths in, cached bottleneck features out."""

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from cache.errors import UserError
from featurize.extract.extractor import Extractor
from featurize.open_extractor import open_extractor
from featurize.pictures.sources import expand
from featurize.spec_options import DEFAULT_BACKBONE


class Featurizer(TransformerMixin, BaseEstimator):
    """Frozen CNN features of images, each computed once and then read from the cache.

    Nothing is learnt: `fit` only checks the parameters. They are those of the command `features`, see there.

    Parameters
    ----------
    backbone : str
        The name of a backbone, the path of a `.keras` file, or several joined as in "nano+mobilenet_v2".
    pooling : {"avg", "max", "flatten", "none"}
        How the map (h, w, c) of the layer becomes a row; "none" keeps the map.
    layer : str, optional
        The layer whose output is taken; by default the last one.
    size : int, str or tuple of int, optional
        Side of the network's input in pixels, or (height, width); by default the backbone's own.
    weights : str, optional
        A file of weights, "imagenet" or "random"; by default ImageNet's.
    resize : {"antialias", "nearest", "bilinear"}
        How pictures are brought to the size of the input.
    preprocess : str, optional
        The preprocessing of a model of your own; the named backbones have theirs.
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

    def fit(self, X: Sequence[Any], y: Any = None) -> "Featurizer":  # noqa: ARG002
        """Check the parameters. Raises UserError for those that cannot be used."""
        self._extractor()
        return self

    def transform(self, X: Sequence[Any]) -> np.ndarray:
        """Features of images, computed where the cache lacks them.

        Parameters
        ----------
        X : sequence
            n images: paths, bytes of image files, PIL images or arrays.

        Returns
        -------
        numpy.ndarray
            (n, d) float32; with `pooling="none"` the shape that the layer gives, such as (n, h, w, c).

        Raises
        ------
        UserError
            Naming the images that cannot be decoded: rows must stay aligned with labels.
        """
        sources = expand(X)
        if not isinstance(X, str) and isinstance(X, Sized) and len(sources) > len(X):
            raise UserError(f"{len(X)} paths name {len(sources)} images, some are folders: name the images themselves")
        outcome, rows = self._extractor().features(sources)
        if outcome.failures:
            first = outcome.failures[0]
            count = len(outcome.failures)
            raise UserError(f"{count} images have no features, the first is {first.path}: {first.reason}")
        return rows.astype(np.float32, copy=False)

    def _extractor(self) -> Extractor:
        return open_extractor(**self.get_params())

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags
