"""Ctrl-C, SIGTERM (a container or a batch system stops the job) and SIGHUP (the terminal is gone): one way to end.

What is computed is stored first, one line says so, and the exit status is 128 and the signal's number.
"""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn, Self

from cache.errors import log

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # a terminal of Windows has no SIGHUP, but Ctrl-Break
ENDING = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
MOST_SIGNALS = 3  # the third ends the process without storing


class Stopped(KeyboardInterrupt):
    """A signal has asked this process to end."""


class Stop:
    """A context in which the first of these signals raises `Stopped`; `number` is that signal's, 0 until it comes."""

    def __init__(self) -> None:
        self.number = 0
        self._count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in ENDING:
            if (before := signal.getsignal(number)) != signal.SIG_IGN:  # by nohup, or for a job in the background
                self._before[number] = before
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        self.number = self.number or number
        if 1 < self._count < MOST_SIGNALS:
            log.info("what is computed is being stored; once more gives that up")
        else:
            raise Stopped

    def exit(self, error: BaseException) -> NoReturn:
        """Say what is kept, and end at once, without waiting for threads that still compute."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        said = getattr(error, "__notes__", []) if isinstance(error, KeyboardInterrupt) else [repr(error)]
        log.warning("%s", ": ".join([f"interrupted by {signal.Signals(self.number).name}", *said]))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # the terminal is gone
                stream.flush()
        os._exit(128 + self.number)
