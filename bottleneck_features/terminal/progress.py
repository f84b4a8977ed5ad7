"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from featurize.extract.hashing import Progress

log = logging.getLogger("bottleneck")

FITS = ("search", "compare")  # stages that count these
QUIET_SECONDS = 10.0  # between two plain lines; a stage that is shorter prints none


@contextmanager
def progress_reporter() -> Iterator[Progress]:
    """A function (stage, done, total) that shows images, or fits, per second and the time left."""
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
            elif done < bar.tasks[tasks[stage][0]].completed:  # the stage starts anew, as the search of the next fold
                bar.reset(tasks[stage][0])
                tasks[stage] = (tasks[stage][0], time.perf_counter())
            task, start = tasks[stage]
            rate = f"{_rounded(done / max(time.perf_counter() - start, 1e-9))} {_unit(stage)}/s"
            bar.update(task, completed=done, total=total, rate=rate)

        yield show


def _unit(stage: str) -> str:
    return "fits" if stage.startswith(FITS) else "images"


def _rounded(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


class _PlainLines:
    """Stages may take turns: a comparison goes on when one of its searches has ended."""

    def __init__(self) -> None:
        self._stages: dict[str, _Stage] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        seen = self._stages.get(stage)
        if seen is None or done < seen.done:
            seen = self._stages[stage] = _Stage(now, now, done)
        seen.done = done
        if done and now - seen.last >= QUIET_SECONDS:
            seen.last = now
            rate, unit = done / max(now - seen.start, 1e-9), _unit(stage)
            left = (total - done) / rate
            log.info("%s: %d of %d %s, %s %s/s, %.0f s left", stage, done, total, unit, _rounded(rate), unit, left)


@dataclass
class _Stage:
    start: float
    last: float  # line of it
    done: int
