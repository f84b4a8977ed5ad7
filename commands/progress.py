"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from featurize.hashing import Progress

log = logging.getLogger("bottleneck")

QUIET_SECONDS = 10.0  # between two plain lines; a stage that is shorter prints none


@contextmanager
def progress_reporter() -> Iterator[Progress]:
    """A function (stage, done, total) that shows images per second and the time left."""
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, tuple] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = (bar.add_task(stage, total=total, rate=""), time.perf_counter())
            task, start = tasks[stage]
            rate = f"{done / max(time.perf_counter() - start, 1e-9):.0f} images/s"
            bar.update(task, completed=done, total=total, rate=rate)

        yield show


class _PlainLines:
    def __init__(self) -> None:
        self._stage = ""
        self._start = self._last = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if stage != self._stage:
            self._stage, self._start, self._last = stage, now, now
        if now - self._last >= QUIET_SECONDS:
            self._last = now
            rate = done / (now - self._start)
            left = (total - done) / rate
            log.info("%s: %d of %d images, %.0f images/s, %.0f s left", stage, done, total, rate, left)
