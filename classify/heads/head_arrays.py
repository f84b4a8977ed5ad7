"""A fitted head as plain arrays: the predictions of the estimator, without scikit-learn."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.stored_rows import StoredRows
from classify.heads.numerics import Floats, Layers, decisions, in_blocks, normalized, probabilities, unit_rows


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

        For pictures X (n, M, d), the mean of the probabilities of their M views. Raises ValueError for rows that are no
        finite numbers or not d.
        """
        if isinstance(X, StoredRows):
            return X.apply(self.predict_proba)
        rows = np.asarray(X, np.float32)
        fitting = rows.ndim in (2, 3) and rows.size and rows.shape[-1] == self.n_features_in_
        if not fitting or not np.isfinite(rows).all():
            raise ValueError(f"give rows (n, {self.n_features_in_}) of finite numbers; these are {rows.shape}")
        return in_blocks(
            rows,
            max(len(kernel) for kernel, _ in self.layers),  # the widest layer
            lambda block: self.of_normalized(normalized(block, self.normalize, self.mean, self.scale)),
        )

    def predict(self, X: ArrayLike | StoredRows) -> NDArray[Any]:
        """The most probable class (n,) of each row of X (n, d), or picture of X (n, M, d)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def of_normalized(self, rows: Floats) -> Floats:
        """Probabilities (n, k) for rows (n, d) float64 that are normalised already."""
        return probabilities(self.decisions(rows), self.temperature)

    def decisions(self, rows: Floats) -> Floats:
        """Decisions (n, k), or (n, 1) for the second of two classes, about rows (n, d) that are normalised already."""
        return decisions(unit_rows(rows) if self.cosine else rows, self.layers)

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
        """The head of `to_arrays`. Raises ValueError for arrays that are not those of a head that can predict."""
        depth = sum(name.startswith("kernel") for name in named)
        layers = [f"{part}{number}" for number in range(depth) for part in ("kernel", "bias")]
        standard = ["mean", "scale"] if "mean" in named else []
        if not depth or named.keys() != {"classes", "temperature", "normalize", "cosine", *layers, *standard}:
            raise ValueError(f"not the arrays of a head: {', '.join(sorted(named))!r:.100}")
        head = cls(
            classes_=named["classes"],
            layers=[(named[f"kernel{number}"], named[f"bias{number}"]) for number in range(depth)],
            temperature=float(_one(named, "temperature", "f")),
            normalize=str(_one(named, "normalize", "U")),
            mean=named["mean"] if standard else None,
            scale=named["scale"] if standard else None,
            cosine=bool(_one(named, "cosine", "b")),
        )
        head._check()
        return head

    def _check(self) -> None:
        """Raise ValueError unless shapes, types and numbers are those that a head may have."""
        numbers = [number for layer in self.layers for number in layer]
        numbers += [number for number in (self.mean, self.scale) if number is not None]
        if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in numbers):
            raise ValueError("its weights are not finite numbers")
        if self.classes_.ndim != 1:
            raise ValueError(f"its classes have shape {self.classes_.shape}")
        classes, width = self.classes_, self.layers[0][0].shape[:1]
        outputs = len(classes) if len(classes) > 2 else 1
        sizes = [width, *(bias.shape for _, bias in self.layers)]
        kernels = [above + below for above, below in pairwise(sizes)]
        shaped = (
            1 < len(classes) == len(np.unique(classes))
            and [kernel.shape for kernel, _ in self.layers] == kernels
            and sizes[-1] in ((outputs,), (len(classes),))
        )
        if self.mean is not None and self.scale is not None:
            shaped = shaped and self.mean.shape == self.scale.shape == width and bool((self.scale > 0).all())
        if not shaped or self.normalize not in (("l2", "none") if self.scale is None else ("standard",)):
            raise ValueError("the shapes of its arrays do not fit each other")
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"its temperature is {self.temperature}")


def _one(named: Mapping[str, NDArray[Any]], name: str, kind: str) -> Any:
    if named[name].shape != () or named[name].dtype.kind != kind:
        raise ValueError(f"{name} has type {named[name].dtype!s:.50} and shape {named[name].shape!s:.50}")
    return named[name]
