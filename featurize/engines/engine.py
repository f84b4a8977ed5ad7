"""Forward passes of one network: batches of fixed shape, every picture counted, whichever engine computes them.

Two batch shapes at most, one picture and as many as the graph takes best (padded): a row does not depend on how many
came with it, but for the rounding between these two.

Threads end with a fork, and whoever waits for one then waits for ever. OpenVINO can start anew in the child, unless
another thread was at work in it at that moment and left locks behind: of 60 children forked while models were
compiled, 3 hung, of 80 forked otherwise none (openvino 2026.4.1). TensorFlow hangs whenever it has computed before.
"""

import ctypes
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Optional, Protocol
from weakref import WeakSet

import numpy as np

from cache.errors import UserError
from cache.files.system_calls import after_fork

Function = Callable[[np.ndarray], np.ndarray]  # pixels (n, height, width, 3) RGB in 0..255 -> rows (n, *row_shape)
Request = Callable[[np.ndarray], Any]  # a batch of pixels -> the outputs of the network; the first are its rows


class Graph(Protocol):
    """A network that one engine has made its own. `size` is (height, width) in pixels, `row_shape` that of a row.

    `compile` gives what makes requests for `count` pictures, 1 or `batch`, as uint8 or float32; a request serves one
    thread at a time. `batch` is the number of pictures that the network computes fastest. The versions of `libraries`
    may change rows by rounding.
    """

    name: str
    libraries: tuple[str, ...]
    size: tuple[int, int]
    row_shape: tuple[int, ...]
    batch: int

    def compile(self, count: int, dtype: str) -> Callable[[], Request]: ...


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
    """Forward passes of `graph`, which compiles at the first batch of a shape. Threads may call it at once.

    `is_inherited`: a parent process made it. What it needs of threads has ended with the fork; to delete it would wait
    for them for ever, so it stays in memory.
    """

    def __init__(self, graph: Graph):
        self.size = graph.size
        self.row_shape = graph.row_shape
        self.dimension = math.prod(graph.row_shape)  # numbers of a row
        self.batch = graph.batch
        self.is_inherited = False
        self._graph = graph
        # by shape what makes requests, and those that no thread uses now
        self._compiled: dict[tuple[int, str], tuple[Callable[[], Request], list[Request]]] = {}
        self._compiling = threading.Lock()
        _engines.add(self)

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
        key = shape, pixels.dtype.name
        new_request, idle = self._compiled.get(key) or self._compile(key, cost)
        with at_work():
            try:
                request = idle.pop()
            except IndexError:
                request = new_request()
            rows: np.ndarray = request(pixels)[0]
            idle.append(request)
        return rows[:count].astype(np.float32, copy=False)

    def _compile(self, key: tuple[int, str], cost: Cost) -> tuple[Callable[[], Request], list[Request]]:
        """The requests for batches of `key` (count, dtype), which one thread compiles while others wait for it."""
        with self._compiling:
            if key not in self._compiled:
                with cost.starting(), at_work():
                    count, dtype = key
                    new_request = self._graph.compile(count, dtype)
                    request = new_request()
                    request(np.zeros((count, *self.size, 3), dtype))  # the first run takes longer than others
                    self._compiled[key] = new_request, [request]
            return self._compiled[key]

    @property
    def provenance(self) -> dict[str, str]:
        """What may change features by rounding: the engine and the versions of the libraries."""
        return {"engine": self._graph.name} | _versions(*self._graph.libraries, "numpy", "pillow", "cykooz-resizer")


@lru_cache
def _versions(*libraries: str) -> dict[str, str]:
    from importlib.metadata import version  # slow to import

    return {library: version(library) for library in libraries}


ADVICE = (
    "start workers with multiprocessing's 'spawn', or fork before anything is computed; pictures in the cache need no "
    "engine"
)


@contextmanager
def at_work() -> Iterator[None]:
    """Mark that this thread builds or uses an engine in the body."""
    me = threading.get_ident()
    _at_work.append(me)  # lists, as dictionaries, need no lock, which a child could inherit locked
    try:
        yield
    finally:
        _at_work.remove(me)


def check_openvino() -> None:
    """Raise UserError in a process where OpenVINO would hang."""
    if _lost["openvino"]:
        raise UserError(f"this process was forked while another thread computed: OpenVINO would hang here; {ADVICE}")


def check_tensorflow() -> None:
    """Raise UserError in a process where TensorFlow would hang."""
    if _lost["tensorflow"]:
        raise UserError(f"this process was forked from one that had used TensorFlow, which would hang here; {ADVICE}")


def _note_in_child() -> None:
    me = threading.get_ident()
    others = [thread for thread in _at_work if thread != me]
    _at_work[:] = [me] * (len(_at_work) - len(others))
    _lost["openvino"] |= bool(others)
    _lost["tensorflow"] |= bool(others) or _tensorflow_has_started()
    for engine in list(_engines):
        engine.is_inherited = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


def _tensorflow_has_started() -> bool:
    module = sys.modules.get("tensorflow.python.eager.context")
    context = module and module.context_safe()
    if context is None:
        return False
    devices = context._physical_devices or []  # to look for a GPU is enough to lose it in the child
    return bool(context._initialized or any(device.device_type == "GPU" for device in devices))


_engines: WeakSet[Engine] = WeakSet()  # all that are in memory
_at_work: list[int] = []  # identifiers of the threads within `at_work`, once for each
_lost = {"openvino": False, "tensorflow": False}  # whether an engine would hang in this process
after_fork(_note_in_child)
