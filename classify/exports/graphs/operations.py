"""The few operations that a head is written in, so that it is written once for Keras and for OpenVINO."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from classify.heads.numerics import Floats

# A tensor of either library: rows (n, d), which also take + - * / with tensors, numbers and arrays of float32.
Tensor = Any


class Operations(Protocol):
    """Operations on tensors of one library. All numbers are float32."""

    def width(self, rows: Tensor) -> int:
        """d of rows (n, d)."""

    def dense(self, rows: Tensor, kernel: Floats, bias: Floats | None = None) -> Tensor:
        """rows (n, d) @ kernel (d, k) + bias (k,)."""

    def unit(self, rows: Tensor) -> Tensor:
        """Rows (n, d) brought to length 1; zeros stay zeros."""

    def relu(self, rows: Tensor) -> Tensor:
        """Negative numbers become 0."""

    def exp(self, rows: Tensor) -> Tensor:
        """The exponential of each number."""

    def softmax(self, rows: Tensor) -> Tensor:
        """Along each row (n, k)."""

    def total(self, rows: Tensor) -> Tensor:
        """The sum of each row (n, k): (n, 1)."""

    def mean(self, rows: Tensor) -> Tensor:
        """The mean of each row (n, k): (n,)."""

    def side_by_side(self, parts: list[Tensor]) -> Tensor:
        """Rows (n, d1), (n, d2) ... as (n, d1 + d2 + ...)."""

    def largest(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The largest numbers of each row (n, m), and where they are: both (n, count)."""

    def looked_up(self, table: Floats, indices: Tensor) -> Tensor:
        """Rows of a table (m, k): (n, j, k) for indices (n, j)."""

    def weighted(self, weights: Tensor, rows: Tensor) -> Tensor:
        """Sums (n, k) of rows (n, j, k), each with its weight (n, j)."""

    def folded(self, rows: Tensor, order: NDArray[np.intp], signs: Floats, width: int) -> Tensor:
        """Columns of rows (n, d) in another order (d,), each times its sign, every `width`-th added up: (n, width)."""
