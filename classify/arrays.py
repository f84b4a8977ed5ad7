"""A fitted head as plain arrays: the same predictions as those of the estimator, without scikit-learn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.stored_rows import StoredRows
from classify.numerics import Floats, Layers, decisions, in_blocks, normalized, probabilities, unit_rows


@dataclass(frozen=True)
class ArrayHead:
    """Normalising, layers of hyperplanes with ReLU between them, a softmax at some temperature.

    classes_: (k,) in sorted order. normalize: as that of the head; mean and scale (d,) belong to `standard`.
    cosine: whether the normalised rows are brought to length 1 before the layers.
    """

    classes_: NDArray[Any]
    layers: Layers
    temperature: float
    normalize: str
    mean: Floats | None
    scale: Floats | None
    cosine: bool

    @property
    def n_features_in_(self) -> int:
        """How many features a row has."""
        return len(self.layers[0][0])

    def predict_proba(self, X: ArrayLike | StoredRows) -> Floats:
        """Probabilities (n, k) float64 for feature rows X (n, d), columns in the order of `classes_`.

        Raises ValueError for rows that are no (n, d) finite numbers.
        """
        if isinstance(X, StoredRows):
            return X.apply(self.predict_proba)
        rows = np.asarray(X, np.float32)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != self.n_features_in_ or not np.isfinite(rows).all():
            raise ValueError(f"give rows (n, {self.n_features_in_}) of finite numbers; these are {rows.shape}")
        return in_blocks(
            rows,
            self.n_features_in_,
            lambda block: self.of_normalized(normalized(block, self.normalize, self.mean, self.scale)),
        )

    def predict(self, X: ArrayLike | StoredRows) -> NDArray[Any]:
        """The most probable class (n,) of each row of X (n, d)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def of_normalized(self, rows: Floats) -> Floats:
        """Probabilities (n, k) for rows (n, d) float64 that are normalised already."""
        return probabilities(decisions(unit_rows(rows) if self.cosine else rows, self.layers), self.temperature)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as named arrays, none of objects."""
        named = {
            "classes": self.classes_,
            "temperature": np.float64(self.temperature),
            "normalize": np.str_(self.normalize),
            "cosine": np.bool_(self.cosine),
        }
        for number, (kernel, bias) in enumerate(self.layers):
            named |= {f"kernel{number}": kernel, f"bias{number}": bias}
        if self.mean is not None and self.scale is not None:
            named |= {"mean": self.mean, "scale": self.scale}
        return {name: np.asarray(value) for name, value in named.items()}

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]]) -> Self:
        """The head of `to_arrays`. Raises KeyError where one is missing."""
        standard = "mean" in named
        depth = sum(name.startswith("kernel") for name in named)
        return cls(
            classes_=named["classes"],
            layers=[(named[f"kernel{number}"], named[f"bias{number}"]) for number in range(depth)],
            temperature=float(named["temperature"]),
            normalize=str(named["normalize"]),
            mean=named["mean"] if standard else None,
            scale=named["scale"] if standard else None,
            cosine=bool(named["cosine"]),
        )
