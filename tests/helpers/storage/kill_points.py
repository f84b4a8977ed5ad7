"""Processes that are killed at one of the system calls by which files change."""

import os
import signal
from collections.abc import Callable
from typing import Any

CALLS = ("write", "fsync", "replace", "unlink")


def killed_at(number: int, torn: bool, work: Callable[[], Any]) -> bool:
    """Do `work` in a fork that SIGKILL ends at call `number` (from 0) of these, or not at all: whether it was killed.

    A `torn` write is one of which the half is on the disk.
    """
    child = os.fork()
    if child == 0:
        left = [number]
        for name in CALLS:
            setattr(os, name, _deadly(name, getattr(os, name), left, torn))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def _deadly(name: str, call: Callable[..., Any], left: list[int], torn: bool) -> Callable[..., Any]:
    def instead(*arguments: Any) -> Any:
        if left[0] == 0:
            if name == "write" and torn:
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return call(*arguments)

    return instead
