"""What fine-tuning has learnt, as plain arrays: the weights of a backbone's tail, and hyperplanes after it."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cache.errors import UserError
from featurize.backbones.tail import Tail, set_weights_vector
from featurize.backbones.weights import BLANK


@dataclass(frozen=True, eq=False)
class Tuned:
    """What replaces a network above a cut; all arrays are float32.

    tail: (p,), all weights of the tail as `featurize.backbones.tail.weights_vector` has them. kernel (d, k), bias (k,):
    the hyperplanes of k classes; decisions are rows of length 1 @ kernel + bias.
    """

    tail: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` of the arrays and their shapes: the field `tuned` of a spec."""
        digest = hashlib.sha256()
        for array in (self.tail, self.kernel, self.bias):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array, "<f4").data)
        return f"sha256:{digest.hexdigest()}"

    def build_tail(self, place: Tail) -> Any:
        """The tail at that place with these weights: a frozen keras.Model, maps (n, h, w, c) -> features (n, d).

        The backbone's own weights need not be there. Raises UserError where they do not fit, and as `Tail.build`.
        """
        own_model = place.network.endswith(".keras")  # with its weights in it
        tail = (place if own_model else replace(place, weights=BLANK)).build()
        try:
            set_weights_vector(tail, self.tail)
        except ValueError as error:
            raise UserError(f"a model that does not fit {place.network} above {place.layer} ({error})") from error
        if tail.output_shape[1:] != self.kernel.shape[:1]:
            raise UserError(
                f"a model for {len(self.kernel)} features, {place.network} has {tail.output_shape[-1]}: train it again"
            )
        return tail
