"""The base classes of heads: checked parameters, encoded labels, normalised features, predict = argmax of
predict_proba.

Features are normalised inside the estimator, so that a cross-validation learns nothing from the fold that it scores.
"""

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import field, fields
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
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
Validation = tuple[Any, ArrayLike]  # pictures and labels that are held out by whoever calls `fit`


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


class Examples(NamedTuple):
    """pictures (n, ...), labels (n,) that count the classes from 0, and weights (n,)."""

    pictures: Any
    labels: Labels
    weights: Floats

    def of(self, chosen: NDArray[np.bool_]) -> "Examples":
        """Those of a mask (n,)."""
        if chosen.all():  # maps are large
            return self
        return Examples(self.pictures[chosen], self.labels[chosen], self.weights[chosen])


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
    converged_ = True  # whether the solver of the last fit did

    # With scikit-learn's metadata routing both are passed on wherever they are given.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True, "sample_weight": True}

    @abstractmethod
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        validation: Validation | None = None,
    ) -> Self:
        """Learn from pictures X, axis 0, and labels y (n,); the other arguments are those of `FeatureHead.fit`."""

    def learn(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        validation: Validation | None = None,
    ) -> Self:
        """As `fit`, without its ConvergenceWarning: `warnings.catch_warnings` is not safe in threads."""
        return self.fit(X, y, groups, sample_weight, validation)

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

    @property
    def validates(self) -> str | None:
        """What held-out pictures are for in `fit`, such as "early stopping"; None where it holds none out."""
        return None

    def check_parameters(self) -> None:
        """Raise UserError for the first parameter with an invalid value."""
        for declared in fields(self):
            value, allowed = getattr(self, declared.name), declared.metadata["allowed"]
            if not allowed.test(value):
                raise UserError(f"{declared.name}={value!r} is not valid: give {allowed.words}")

    def _counted(
        self, pictures: Any, y: NDArray[Any], groups: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> tuple[Examples, Indices]:
        """The pictures with a weight above 0, and their groups as of `copies_by_first`; sets `classes_`.

        Raises as `fit`.
        """
        check_consistent_length(pictures, y)
        if y.dtype.kind not in "biuSU":  # of many classes of few pictures it warns
            check_classification_targets(y)
        weights, copies = checked_weights(sample_weight, len(y)), copies_by_first(groups, len(y))
        if not (counted := weights > 0).all():
            pictures, y, weights = pictures[counted], y[counted], weights[counted]
            copies = copies_by_first(copies[counted], len(y))
        return Examples(pictures, self._encoded(y), weights), copies

    def _held_out(self, pictures: Any, y: ArrayLike) -> Examples:
        """Pictures that `fit` is given to validate on. Raises UserError for a label not in `classes_`, and for none."""
        labels = column_or_1d(y)
        check_consistent_length(pictures, labels)
        if not len(labels):
            raise UserError("validation has no picture: leave it out")
        if len(unknown := np.setdiff1d(labels, self.classes_)):
            raise UserError(f"validation has the class {unknown[0]!s}: there are {', '.join(map(str, self.classes_))}")
        return Examples(pictures, np.searchsorted(self.classes_, labels), np.ones(len(labels)))

    def _encoded(self, y: Any) -> Labels:
        """Set `classes_`; returns the index in them of each label of y (n,). Raises UserError for fewer than two."""
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(
                f"only one class, {self.classes_[0]!s}, among {len(y)} training pictures: a head needs 2 or more"
            )
        return labels

    def _row_weights(self, class_weight: ClassWeight, labels: Labels, given: Floats | None = None) -> Floats:
        """One weight a picture (n,): `given`, by default 1, times that of its class; not brought to any mean.

        Raises UserError for a class that there is not, and where fewer than two classes have a weight above 0.
        """
        given = np.ones(len(labels)) if given is None else given
        weights = given * self._class_weights(class_weight, labels, given)[labels]
        if len(np.unique(labels[weights > 0])) < 2:
            raise UserError(f"class_weight={class_weight} leaves fewer than 2 classes a weight above 0: a head needs 2")
        return weights

    def _validation_weights(self, class_weight: ClassWeight, training: Examples, validation: Examples) -> Floats:
        """One weight a held-out picture (m,): that of its class in the training part.

        Raises UserError where no picture has a weight above 0.
        """
        of_classes = self._class_weights(class_weight, training.labels, training.weights)
        if not (weights := of_classes[validation.labels]).any():
            raise UserError(f"class_weight={class_weight} leaves no picture of validation a weight above 0")
        return weights * validation.weights

    def _class_weights(self, class_weight: ClassWeight, labels: Labels, given: Floats) -> Floats:
        """One weight a class (k,), as scikit-learn's `compute_class_weight` has it; `given`: of the pictures (n,)."""
        if isinstance(class_weight, dict):
            unknown = [name for name in class_weight if name not in self.classes_]
            if unknown:
                raise UserError(
                    f"class_weight names the class {unknown[0]!r}: there are {', '.join(map(str, self.classes_))}"
                )
            return np.array([float(class_weight.get(name, 1)) for name in self.classes_.tolist()])
        if class_weight is None:
            return np.ones(len(self.classes_))
        counts = np.bincount(labels, given, len(self.classes_))
        return counts.sum() / (len(counts) * counts)


class FeatureHead(Head):
    """A classifier of feature rows. Subclasses say how to fit; they predict by `arrays`, or by `_probabilities`.

    Attributes after `fit`: `classes_` (k,) in sorted order, `n_features_in_`; `mean_` and `scale_` (d,) where
    `normalize="standard"`, else None.
    """

    normalize: str
    max_iter: int

    @abstractmethod
    def _fit(self, training: Examples, groups: Indices, validation: Examples | None) -> None:
        """Learn from normalised rows (n, d) or (n, K, d) float32; their weights are above 0, without `class_weight`.

        A picture counts as its weight, however many views it has. groups: (n,) as of `copies_by_first`, of use where
        pictures are held out. validation: what takes the place of these, each of the weight 1. A head that streams
        (`HEADS` says which do) takes `StoredRows` as well.
        """

    def fit(
        self,
        X: ArrayLike | StoredRows,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        validation: Validation | None = None,
    ) -> Self:
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
        sample_weight : array (n,), optional
            How much each picture counts, by default 1; times the weight of its class. 0 leaves it out, 2 counts as two
            copies of it: in losses, class means, the mean and deviation of `normalize`, votes of `knn` (of which its
            n_neighbors counts pictures), and in the losses that stop a training or fit a temperature. What is held out
            for these is drawn by pictures, not by weight.
        validation : (rows, labels), optional
            Pictures that are no training pictures: they stop the training, or fit the temperature, of a head that does
            so, and nothing of the training part is held out.

        Returns
        -------
        self

        Raises
        ------
        UserError
            For an invalid parameter, fewer than two classes with a weight above 0, a weight for an unknown class, and
            for held-out pictures of an unknown class.
        ValueError
            For groups or weights of another length, weights that are negative or no finite numbers, and for rows that
            are no finite numbers.

        Warns
        -----
        ConvergenceWarning
            Where the solver stopped early.
        """
        self.learn(X, y, groups, sample_weight, validation)
        if not self.converged_:
            warnings.warn(f"stopped after max_iter={self.max_iter}", ConvergenceWarning, stacklevel=2)
        return self

    def learn(
        self,
        X: ArrayLike | StoredRows,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        validation: Validation | None = None,
    ) -> Self:
        self.check_parameters()
        self.converged_ = True
        named = column_or_1d(y, warn=True)
        training, copies = self._counted(self._rows(X, reset=True), named, groups, sample_weight)
        self._learn_scale(training.pictures, training.weights)
        held_out = None
        if validation is not None:
            held_out = self._held_out(self._rows(validation[0], reset=False), validation[1])
            held_out = held_out._replace(pictures=mapped(held_out.pictures, self._normalized))
        self._fit(training._replace(pictures=mapped(training.pictures, self._normalized)), copies, held_out)
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
        """What predicts the same without scikit-learn; None for a head that needs more."""
        return None

    def _probabilities(self, rows: Floats) -> Floats:
        """Probabilities (n, k) for normalised rows (n, d) float64."""
        head = self.arrays()
        assert head is not None, "a head without arrays has probabilities of its own"
        return head.of_normalized(rows)

    def _numbers_per_row(self) -> int:
        """The most numbers that predicting one row holds at once."""
        return int(self.n_features_in_)

    def _rows(self, X: ArrayLike | StoredRows, *, reset: bool) -> Rows:
        """`_checked` rows; those that are stored are finite, and stay as they are."""
        if not isinstance(X, StoredRows):
            return self._checked(X, reset=reset)
        if reset:
            self.n_features_in_ = X.shape[1]
        return X

    def _checked(self, X: ArrayLike, *, reset: bool) -> Floats:
        """X (n, d) or (n, K, d) as finite float32; `reset` as in `validate_data`, which knows no third axis."""
        if getattr(X, "ndim", 2) != 3:
            return validate_data(self, X, reset=reset, dtype=np.float32)
        pictures = np.asarray(X)
        rows = pictures.reshape(math.prod(pictures.shape[:2]), pictures.shape[2])
        return validate_data(self, rows, reset=reset, dtype=np.float32).reshape(pictures.shape)

    def _learn_scale(self, rows: Rows, weights: Floats) -> None:
        """Set `mean_` and `scale_` to those of rows (n, ..., d), weighted by `weights` (n,), or to None."""
        self.mean_: Floats | None = None
        self.scale_: Floats | None = None
        if self.normalize == "standard":
            self.mean_, variance = moments(rows, weights)
            self.scale_ = np.where(variance > 0, np.sqrt(variance), 1.0)  # a constant feature stays as it is

    def _normalized(self, rows: Floats) -> Floats:
        return normalized(rows, self.normalize, self.mean_, self.scale_)

    def _array_head(self, layers: Layers, temperature: float = 1.0, *, cosine: bool = False) -> ArrayHead:
        """This head's classes and normalising with what follows them."""
        return ArrayHead(self.classes_, layers, temperature, self.normalize, self.mean_, self.scale_, cosine)


def checked_weights(sample_weight: ArrayLike | None, count: int) -> Floats:
    """Weights (n,) float64 of `count` pictures, by default 1.

    Raises ValueError for another shape, for a negative number or one that is not finite, and where all are 0.
    """
    if sample_weight is None:
        return np.ones(count)
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (count,):
        raise ValueError(f"sample_weight must have one value for each of {count} pictures, not shape {weights.shape}")
    if len(wrong := np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))):
        raise ValueError(
            f"sample_weight of the picture number {wrong[0]} is {weights[wrong[0]]}: give finite numbers, 0 or more"
        )
    if not weights.any():
        raise ValueError("sample_weight: every weight is zero, so no picture is left: give some a weight above 0")
    return weights


def generator(random_state: Seed) -> np.random.RandomState:
    """The generator of one fit; for None a fresh one, not numpy's global one."""
    if isinstance(random_state, np.random.RandomState):
        return random_state
    return np.random.RandomState(random_state)
