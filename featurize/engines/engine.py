"""Forward passes of one network: batches of fixed shape, every picture counted, whichever engine computes them.

Two batch shapes at most, one picture and as many as the graph takes best (padded): a row does not depend on how many
came with it, but for the rounding between these two.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Optional, Protocol

import numpy as np

from featurize.engines.registry import Registry

Function = Callable[[np.ndarray], np.ndarray]  # pixels (n, height, width, 3) RGB in 0..255 -> rows (n, *row_shape)


class Graph(Protocol):
    """A network that one engine has made its own. `size` is (height, width) in pixels, `row_shape` that of a row.

    `compile` gives the function for `count` pictures, 1 or `batch`, as uint8 or float32; several threads may call that
    function at once. `batch` is the number of pictures that it computes fastest. The versions of `libraries` may change
    rows by rounding.
    """

    name: str
    libraries: tuple[str, ...]
    size: tuple[int, int]
    row_shape: tuple[int, ...]
    batch: int

    def compile(self, count: int, dtype: str) -> Function: ...


class Cost:
    """What a run spends; what it adds here is added to `total`, too. Several threads may add at once.

    forward_passes: views of pictures that went through a network. startup_seconds: building and compiling it.
    """

    def __init__(self, total: Optional["Cost"] = None) -> None:
        self.forward_passes = 0
        self.startup_seconds = 0.0
        self._total = total
        self._lock = threading.Lock()

    def add(self, forward_passes: int = 0, startup_seconds: float = 0.0) -> None:
        """Count what was just spent."""
        with self._lock:
            self.forward_passes += forward_passes
            self.startup_seconds += startup_seconds
        if self._total:
            self._total.add(forward_passes, startup_seconds)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Count the time of the body, which builds a network or waits for one that is being built."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(startup_seconds=time.perf_counter() - start)


class Engine:
    """Forward passes of `graph`, which compiles at the first batch of a shape. Threads may call it at once."""

    def __init__(self, graph: Graph):
        self.size = graph.size
        self.row_shape = graph.row_shape
        self.dimension = math.prod(graph.row_shape)  # numbers of a row
        self.batch = graph.batch
        self._graph = graph
        self._functions: Registry[tuple[int, str], Function] = Registry()
        self._process = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """Whether a parent process made it: what it needs of threads has ended with the fork."""
        return self._process != os.getpid()

    def __call__(self, pixels: np.ndarray, cost: Cost | None = None) -> np.ndarray:
        """Features (n, *row_shape) float32 of `pixels` (n, height, width, 3) RGB, uint8 or float32 in 0..255.

        The pictures, padding excluded, count in `cost`, and so does the time to compile.
        """
        cost = cost or Cost()
        rows = [self._batch(pixels[start : start + self.batch], cost) for start in range(0, len(pixels), self.batch)]
        cost.add(forward_passes=len(pixels))
        return np.concatenate(rows) if rows else np.empty((0, *self.row_shape), np.float32)

    def _batch(self, pixels: np.ndarray, cost: Cost) -> np.ndarray:
        count = len(pixels)
        shape = 1 if count == 1 else self.batch
        if count < shape:
            padding = np.zeros((shape - count, *pixels.shape[1:]), pixels.dtype)
            pixels = np.concatenate([pixels, padding])
        function = self._functions((shape, pixels.dtype.name), lambda: self._compile(shape, pixels.dtype.name, cost))
        return function(pixels)[:count].astype(np.float32, copy=False)

    def _compile(self, count: int, dtype: str, cost: Cost) -> Function:
        with cost.starting():
            function = self._graph.compile(count, dtype)
            function(np.zeros((count, *self.size, 3), dtype))  # the first run takes longer than others
            return function

    @property
    def provenance(self) -> dict[str, str]:
        """What may change features by rounding: the engine and the versions of the libraries."""
        return {"engine": self._graph.name} | _versions(*self._graph.libraries, "numpy", "pillow", "cykooz-resizer")


@lru_cache
def _versions(*libraries: str) -> dict[str, str]:
    from importlib.metadata import version  # slow to import

    return {library: version(library) for library in libraries}
