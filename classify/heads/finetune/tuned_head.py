"""A fine-tuned model as plain arrays: the weights of a backbone's tail, and hyperplanes after it.

Decisions are what the whole network gives, see `featurize.backbones.tail`; cached maps become decisions by the
tail alone, which is the one thing here that needs Keras.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.stored_rows import StoredRows
from classify.heads.numerics import Floats, probabilities, unit_rows
from featurize.backbones.tail import Tail, Tuned, pooled_features
from featurize.engines.engine import check_tensorflow

ARRAYS = ("classes", "tail", "kernel", "bias")


@dataclass(frozen=True, eq=False)
class TunedHead:
    """Classes (k,) in sorted order, what was tuned, and the tail's place in the network that made the maps.

    Without the `place`, which is no part of the arrays, only decisions can be told.
    """

    classes_: NDArray[Any]
    tuned: Tuned
    place: Tail | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the tail that was built, which is no part of the arrays."""
        return {name: value for name, value in self.__dict__.items() if name != "_tail"}

    def at(self, place: Tail) -> "TunedHead":
        """This head, its maps being those below `place`."""
        return replace(self, place=place)

    def of_decisions(self, decisions: Floats | StoredRows) -> Floats:
        """Probabilities (n, k) float64 for decisions (n, k); for (n, M, k) their means over the M views."""
        if isinstance(decisions, StoredRows):
            return decisions.apply(self.of_decisions)
        each = probabilities(decisions.reshape(-1, decisions.shape[-1]).astype(np.float64)).reshape(decisions.shape)
        return each if each.ndim == 2 else each.mean(axis=1)

    def predict_proba(self, X: ArrayLike | StoredRows) -> Floats:
        """Probabilities (n, k) float64 for maps X (n, h, w, c), columns in the order of `classes_`.

        For pictures X (n, M, h, w, c), the mean of the probabilities of their M views. Raises ValueError for other
        shapes and numbers that are not finite, UserError where the tail does not fit the network.
        """
        if isinstance(X, StoredRows):
            return X.apply(self.predict_proba)
        maps = np.asarray(X)
        if maps.ndim not in (4, 5) or not len(maps) or not np.isfinite(maps).all():
            raise ValueError(f"give maps (n, h, w, c) of finite numbers; these are {maps.shape}")
        check_tensorflow()
        if maps.shape[-3:] != (expected := self._tail.input_shape[1:]):
            raise ValueError(f"give maps of shape {expected}; these are {maps.shape[-3:]}")
        features = pooled_features(self._tail, maps.reshape(-1, *expected))
        decisions = unit_rows(features.astype(np.float64)) @ self.tuned.kernel + self.tuned.bias
        return self.of_decisions(decisions.reshape(*maps.shape[:-3], -1))

    def predict(self, X: ArrayLike | StoredRows) -> NDArray[Any]:
        """The most probable class (n,) of each map of X (n, h, w, c), or picture of X (n, M, h, w, c)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    @cached_property
    def _tail(self) -> Any:
        if self.place is None:
            raise ValueError("where the tail belongs is not known: see TunedHead.at")
        return self.tuned.build_tail(self.place)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the place as named arrays, none of objects."""
        return dict(zip(ARRAYS, (self.classes_, self.tuned.tail, self.tuned.kernel, self.tuned.bias), strict=True))

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]]) -> Self:
        """The head of `to_arrays`. Raises ValueError for arrays that are not those of a head that can predict."""
        if named.keys() != set(ARRAYS):
            raise ValueError(f"not the arrays of a fine-tuned head: {', '.join(sorted(named))!r:.100}")
        classes, tail, kernel, bias = (named[name] for name in ARRAYS)
        if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in (tail, kernel, bias)):
            raise ValueError("its weights are not finite numbers in float32")
        if classes.ndim != 1:
            raise ValueError(f"its classes have shape {classes.shape}")
        shaped = tail.ndim == 1 and kernel.ndim == 2 and kernel.shape[1:] == bias.shape == classes.shape
        if not shaped or not len(kernel) or not 1 < len(classes) == len(np.unique(classes)):
            raise ValueError("the shapes of its arrays do not fit each other")
        return cls(classes, Tuned(tail, kernel, bias))
