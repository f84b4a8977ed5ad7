"""Values that are made at first need, each once, whichever threads ask; and what becomes of them after a fork."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

Key = TypeVar("Key")
Value = TypeVar("Value")


class Once(Generic[Key, Value]):
    """`once(key, make)` is the value of `key`, made by the first call. Others who ask for it wait, nobody else does.

    Where `make` fails, the next caller tries again. At most `most` values are kept, those asked for last.

    A forked process starts without values. Those of its parent may hold threads, which end with a fork: to delete such
    a value would wait for them for ever, so they stay in memory there.
    """

    def __init__(self, most: int | None = None):
        self._most = most
        self._start()
        _all.add(self)

    def __call__(self, key: Key, make: Callable[[], Value]) -> Value:
        with self._lock:
            place = self._places.pop(key, None) or _Place()
            self._places[key] = place  # the last one now
            if self._most is not None and len(self._places) > self._most:
                del self._places[next(iter(self._places))]
        with place.lock:
            if not place.made:
                place.value, place.made = make(), True
        return place.value

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[Key, _Place] = {}

    def start_in_child(self) -> None:
        """Forget the parent's values without deleting them, and locks that nobody is left to release."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._places))
        self._start()


class _Place:
    """Of one value. The lock is held by who makes it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made = False
        self.value: Any = None


_all: WeakSet[Once[Any, Any]] = WeakSet()


def _start_in_child() -> None:
    for once in list(_all):
        once.start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
