"""What a run costs, counted where it is spent: runs that share a network at the same time do not count each other's."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Meter:
    """forward_passes: views of pictures that went through a network. startup_seconds: building and compiling it."""

    def __init__(self) -> None:
        self.forward_passes = 0
        self.startup_seconds = 0.0
        self._lock = threading.Lock()

    def add(self, forward_passes: int = 0, startup_seconds: float = 0.0) -> None:
        """Several threads may do so at once."""
        with self._lock:
            self.forward_passes += forward_passes
            self.startup_seconds += startup_seconds


@contextmanager
def metering(meter: Meter) -> Iterator[Meter]:
    """`meter` counts what networks do in the body, and in the threads that `parallel.in_order` starts for it.

    So do the meters of enclosing bodies.
    """
    token = _running.set((*_running.get(), meter))
    try:
        yield meter
    finally:
        _running.reset(token)


def count_passes(count: int) -> None:
    """Views of pictures that have just gone through a network."""
    for meter in set(_running.get()):
        meter.add(forward_passes=count)


@contextmanager
def starting() -> Iterator[None]:
    """The time of the body, which builds a network, or waits for one that is being built."""
    start = time.perf_counter()
    try:
        yield
    finally:
        for meter in set(_running.get()):
            meter.add(startup_seconds=time.perf_counter() - start)


_running: ContextVar[tuple[Meter, ...]] = ContextVar("meters", default=())
