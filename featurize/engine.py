"""Forward passes of one network: batches of fixed shape, every picture counted, whichever engine computes them.

Two batch shapes at most, one picture and as many as the graph takes best (padded): a row does not depend on how many
came with it, but for the rounding between these two.
"""

import math
import threading
import time
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np


class Graph(Protocol):
    """A network that one engine has made its own. `size` is (height, width) in pixels, `row_shape` that of a row.

    `run` takes pixels (n, height, width, 3) RGB 0..255, uint8 or float32, n being 1 or `batch`, and gives (n,
    *row_shape) float32; several threads may call it at once, once a shape has been run. `batch` is the number of
    pictures that it computes fastest; `libraries` are those whose versions may change rows by rounding.
    """

    name: str
    libraries: tuple[str, ...]
    size: tuple[int, int]
    row_shape: tuple[int, ...]
    batch: int

    def run(self, pixels: np.ndarray) -> np.ndarray: ...


class Engine:
    """Forward passes of `graph`, rows in float32; `dtype` is what they are stored as. Threads may call it at once.

    `forward_passes` counts the pictures that went through the network, padding excluded; `startup_seconds` is the time
    that went into the first batch of each shape, which is compiled then. `passes_of_all` counts those of every engine
    of this process.
    """

    passes_of_all: ClassVar[int] = 0

    def __init__(self, graph: Graph, dtype: np.dtype | type = np.float32):
        self.size = graph.size
        self.row_shape = graph.row_shape
        self.dimension = math.prod(graph.row_shape)  # numbers of a row
        self.batch = graph.batch
        self.forward_passes = 0
        self.startup_seconds = 0.0
        self._graph = graph
        self.dtype = np.dtype(dtype)
        self._compiled: set[tuple[int, str]] = set()
        self._lock = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Features (n, *row_shape) of `pixels` (n, height, width, 3) RGB, uint8 or float32 in 0..255."""
        rows = [self._batch(pixels[start : start + self.batch]) for start in range(0, len(pixels), self.batch)]
        with self._lock:
            self.forward_passes += len(pixels)
        with _counting:
            Engine.passes_of_all += len(pixels)
        return np.concatenate(rows) if rows else np.empty((0, *self.row_shape), np.float32)

    def _batch(self, pixels: np.ndarray) -> np.ndarray:
        count = len(pixels)
        shape = 1 if count == 1 else self.batch
        if count < shape:
            padding = np.zeros((shape - count, *pixels.shape[1:]), pixels.dtype)
            pixels = np.concatenate([pixels, padding])
        if (shape, pixels.dtype.name) not in self._compiled:
            self._compile(pixels)
        return self._graph.run(pixels)[:count].astype(np.float32, copy=False)

    def _compile(self, pixels: np.ndarray) -> None:
        with self._lock:
            if (key := (len(pixels), pixels.dtype.name)) not in self._compiled:
                start = time.perf_counter()
                self._graph.run(np.zeros_like(pixels))
                self.startup_seconds += time.perf_counter() - start
                self._compiled.add(key)

    @cached_property
    def provenance(self) -> dict[str, str]:
        """What may change features by rounding: the engine and the versions of the libraries."""
        from importlib.metadata import version  # slow to import

        libraries = (*self._graph.libraries, "numpy", "pillow", "cykooz-resizer")
        return {"engine": self._graph.name} | {library: version(library) for library in libraries}


_counting = threading.Lock()
