"""The base classes of heads: checked parameters, encoded labels, normalised features, predict = argmax of
predict_proba.

Features are normalised inside the estimator, so that a cross-validation learns nothing from the fold that it scores.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import field, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from cache.arguments import SEED, Allowed, number, or_none
from cache.errors import UserError
from cache.stored_rows import Rows, StoredRows
from classify.data.split import Indices, copies_by_first
from classify.heads.finetune.tuned_head import TunedHead
from classify.heads.head_arrays import ArrayHead
from classify.heads.numerics import Floats, Layers, in_blocks, normalized
from classify.heads.streaming import mapped, moments

Labels = NDArray[np.intp]
ClassWeight = str | dict[Any, float] | None
Seed = int | np.random.RandomState | None


def choice(*values: str) -> Allowed:
    """One of these strings."""
    return Allowed(lambda value: isinstance(value, str) and value in values, " or ".join(values))


FLAG = Allowed(lambda value: isinstance(value, bool | np.bool_), "True or False")
NORMALIZE = choice("l2", "standard", "none")
FOLDER = Allowed(lambda value: isinstance(value, str) and bool(value), "the path of a folder")
WEIGHT = number(0, below=1e9)  # of a class: sums of the squares of such are still numbers in float32
CLASS_WEIGHT = Allowed(
    lambda value: (
        all(map(WEIGHT.test, value.values()))
        if isinstance(value, dict)
        else value is None or choice("balanced").test(value)
    ),
    f"balanced, a dictionary of class: weight ({WEIGHT.words}), or None",
)
RANDOM_STATE = Allowed(
    lambda value: isinstance(value, np.random.RandomState) or or_none(SEED).test(value),
    f"{SEED.words}, a numpy RandomState, or None",
)


def parameter(default: Any, allowed: Allowed) -> Any:
    """A parameter of a head: a field of a class that is decorated with `@dataclass(eq=False, repr=False)`.

    The dataclass makes the `__init__` that scikit-learn wants; equality and repr stay those of an estimator.
    """
    return field(default=default, metadata={"allowed": allowed})


class Head(ClassifierMixin, BaseEstimator, ABC):
    """A classifier of pictures, in scikit-learn's terms, with checked parameters and probabilities.

    Subclasses are dataclasses whose fields are made by `parameter`. Attributes after `fit`: `classes_` (k,) in sorted
    order.
    """

    classes_: NDArray[Any]

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}  # with scikit-learn's metadata routing

    @abstractmethod
    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Learn from pictures X, axis 0, and labels y (n,).

        groups: (n,), equal values for copies of one picture: what is held out inside the fit, to stop in time or to fit
        probabilities on, is held out with its copies. By default no picture is a copy.
        """

    @abstractmethod
    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities (n, k) float64 for pictures X, columns in the order of `classes_`."""

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class (n,) of each row of X (n, d), or picture of X (n, M, d)."""
        probabilities = self.predict_proba(X)  # before `classes_`: an unfitted head says that it is not fitted
        return self.classes_[probabilities.argmax(axis=1)]

    def arrays(self) -> ArrayHead | TunedHead | None:
        """What predicts the same without scikit-learn; None for a head that needs more."""
        return None

    @property
    def pair_bytes(self) -> int:
        """Memory that a fit takes for each pair of training rows."""
        return 0

    def check_parameters(self) -> None:
        """Raise UserError for the first parameter with an invalid value."""
        for declared in fields(self):
            value, allowed = getattr(self, declared.name), declared.metadata["allowed"]
            if not allowed.test(value):
                raise UserError(f"{declared.name}={value!r} is not valid: give {allowed.words}")

    def _encoded(self, y: Any) -> Labels:
        """Set `classes_`; returns the index in them of each label of y (n,). Raises UserError for fewer than two."""
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(
                f"only one class, {self.classes_[0]!s}, among {len(y)} training pictures: a head needs 2 or more"
            )
        return labels

    def _row_weights(self, class_weight: ClassWeight, labels: Labels) -> Floats:
        """One weight a picture (n,), as scikit-learn's `compute_sample_weight` has it: not brought to any mean.

        Raises UserError for a class that there is not, and where fewer than two classes have a weight above 0.
        """
        if isinstance(class_weight, dict):
            unknown = [name for name in class_weight if name not in self.classes_]
            if unknown:
                raise UserError(
                    f"class_weight names the class {unknown[0]!r}: there are {', '.join(map(str, self.classes_))}"
                )
        weights = compute_sample_weight(class_weight, self.classes_[labels])
        if len(np.unique(labels[weights > 0])) < 2:
            raise UserError(f"class_weight={class_weight} leaves fewer than 2 classes a weight above 0: a head needs 2")
        return weights


class FeatureHead(Head):
    """A classifier of feature rows. Subclasses say how to fit; they predict by `arrays`, or by `_probabilities`.

    Attributes after `fit`: `classes_` (k,) in sorted order, `n_features_in_`; `mean_` and `scale_` (d,) where
    `normalize="standard"`, else None. Heads of hyperplanes have `coef_` (k, d), or (1, d) for two classes, and
    `intercept_`; a temperature that makes probabilities of their decisions is `temperature_`.
    """

    normalize: str
    coef_: Floats
    intercept_: Floats

    @abstractmethod
    def _fit(self, pictures: Floats, labels: Labels, groups: Indices) -> None:
        """Learn from normalised rows (n, d) or (n, K, d) float32 and labels (n,) that count the classes from 0.

        Every picture counts once, however many views it has. groups: (n,) as of `copies_by_first`, of use where
        pictures are held out. A head that streams (`HEADS` says which do) takes `StoredRows` as well.
        """

    def fit(self, X: ArrayLike | StoredRows, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Learn from feature rows and their labels.

        Parameters
        ----------
        X : array (n, d), computed with as float32, or (n, K, d)
            One row a picture, or K views of each, which counts once: all views alike, it is the fit on one. Stored rows
            (n, d) where the head streams.
        y : array (n,)
            The labels.
        groups : array (n,), optional
            Equal values for copies of one picture. What is held out inside the fit, to stop in time or to fit
            probabilities on, is held out with its copies. By default no picture is a copy.

        Returns
        -------
        self

        Raises
        ------
        UserError
            For an invalid parameter, fewer than two classes, or a weight for an unknown class.
        ValueError
            For groups of another length, and for rows that are no finite numbers.
        """
        self.check_parameters()
        y = column_or_1d(y, warn=True)
        if isinstance(X, StoredRows):  # finite: others are not stored
            rows: Rows = X
            self.n_features_in_ = rows.shape[1]
        else:
            rows = self._checked(X, reset=True)
        check_consistent_length(rows, y)
        labels = self._encoded(y)
        self._learn_scale(rows)
        prepared: Any = mapped(rows, self._normalized)
        self._fit(prepared, labels, copies_by_first(groups, len(labels)))
        return self

    def predict_proba(self, X: ArrayLike | StoredRows) -> Floats:
        """The probabilities of the classes.

        Parameters
        ----------
        X : array or stored rows (n, d), or array (n, M, d)
            Feature rows, or M views of each picture.

        Returns
        -------
        array (n, k), float64
            Columns in the order of `classes_`. For pictures of M views, the mean of the probabilities of their views.
        """
        check_is_fitted(self)
        if isinstance(X, StoredRows):
            return X.apply(self.predict_proba)
        rows = self._checked(X, reset=False)
        return in_blocks(rows, self._numbers_per_row(), lambda block: self._probabilities(self._normalized(block)))

    def arrays(self) -> ArrayHead | None:
        """What predicts the same without scikit-learn; by default one layer of hyperplanes."""
        return self._array_head([(self.coef_.T, self.intercept_)], getattr(self, "temperature_", 1.0))

    def _probabilities(self, rows: Floats) -> Floats:
        """Probabilities (n, k) for normalised rows (n, d) float64."""
        head = self.arrays()
        assert head is not None, "a head without arrays has probabilities of its own"
        return head.of_normalized(rows)

    def _numbers_per_row(self) -> int:
        """The most numbers that predicting one row holds at once."""
        return int(self.n_features_in_)

    def _checked(self, X: ArrayLike, *, reset: bool) -> Floats:
        """X (n, d) or (n, K, d) as finite float32; `reset` as in `validate_data`, which knows no third axis."""
        if getattr(X, "ndim", 2) != 3:
            return validate_data(self, X, reset=reset, dtype=np.float32)
        pictures = np.asarray(X)
        rows = pictures.reshape(math.prod(pictures.shape[:2]), pictures.shape[2])
        return validate_data(self, rows, reset=reset, dtype=np.float32).reshape(pictures.shape)

    def _learn_scale(self, rows: Floats | StoredRows) -> None:
        """Set `mean_` and `scale_` to those of rows (..., d), or to None."""
        self.mean_: Floats | None = None
        self.scale_: Floats | None = None
        if self.normalize == "standard":
            self.mean_, variance = moments(rows)
            self.scale_ = np.where(variance > 0, np.sqrt(variance), 1.0)  # a constant feature stays as it is

    def _normalized(self, rows: Floats) -> Floats:
        return normalized(rows, self.normalize, self.mean_, self.scale_)

    def _array_head(self, layers: Layers, temperature: float = 1.0, *, cosine: bool = False) -> ArrayHead:
        """This head's classes and normalising with what follows them."""
        return ArrayHead(self.classes_, layers, temperature, self.normalize, self.mean_, self.scale_, cosine)


def generator(random_state: Seed) -> np.random.RandomState:
    """The generator of one fit; for None a fresh one, not numpy's global one."""
    if isinstance(random_state, np.random.RandomState):
        return random_state
    return np.random.RandomState(random_state)
