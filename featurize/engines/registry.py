"""Values that are made at the first need, each once, whichever thread asks; a forked process makes its own."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

Key = TypeVar("Key")
Value = TypeVar("Value")


class Registry(Generic[Key, Value]):
    """`registry(key, make)` is the value of `key`, which the first call makes. A lock a key: only its callers wait.

    Where `make` fails, the next caller tries again. At most `most` values are kept: the least recently used one goes.

    A forked process starts with an empty registry. The parent's values may hold threads, which end with a fork; to
    delete such a value would wait for them for ever, so they stay in memory.
    """

    def __init__(self, most: int | None = None):
        self._most = most
        self._start()
        _registries.add(self)

    def __call__(self, key: Key, make: Callable[[], Value]) -> Value:
        with self._lock:
            entry = self._entries.pop(key, None) or _Entry()
            self._entries[key] = entry  # the last one now
            if self._most is not None and len(self._entries) > self._most:
                del self._entries[next(iter(self._entries))]
        with entry.lock:
            if not entry.made:
                entry.value, entry.made = make(), True
        return entry.value

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Key, _Entry] = {}

    def start_in_child(self) -> None:
        """Forget the parent's values without deleting them, and locks that nobody is left to release."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._entries))
        self._start()


class _Entry:
    """One value. Who makes it holds the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made = False
        self.value: Any = None


_registries: WeakSet[Registry[Any, Any]] = WeakSet()


def _start_in_child() -> None:
    for registry in list(_registries):
        registry.start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
