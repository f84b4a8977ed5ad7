"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cache.errors import log
from featurize.extract.outcome import Progress

FITS = ("search", "compare")  # stages that count fits, not images
OBJECTS = ("push", "pull", "check")  # stages that count objects of storage
SECONDS_BETWEEN_LINES = 10.0  # a stage that is shorter prints none


@contextmanager
def progress_reporter() -> Iterator[Progress]:
    """A function (stage, done, total) that shows images, fits or objects per second and the time left."""
    if not sys.stderr.isatty():
        yield _plain_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, rate="")
            task = bar.tasks[tasks[stage]]
            if done < task.completed:  # the stage starts again, as the search of the next fold does
                bar.reset(task.id)
            rate = f"{_rounded(done / max(task.elapsed or 0, 1e-9))} {_unit(stage)}/s"
            bar.update(task.id, completed=done, total=total, rate=rate)

        yield show


def _plain_lines() -> Progress:
    """Stages may take turns: a comparison goes on when one of its searches has ended."""
    stages: dict[str, tuple[float, float, int]] = {}  # start, time of the last line, done

    def show(stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        start, last_line, before = stages.get(stage, (now, now, 0))
        if done < before:
            start = last_line = now
        if done and now - last_line >= SECONDS_BETWEEN_LINES:
            last_line, unit, rate = now, _unit(stage), done / max(now - start, 1e-9)
            left = (total - done) / rate
            log.info("%s: %d of %d %s, %s %s/s, %.0f s left", stage, done, total, unit, _rounded(rate), unit, left)
        stages[stage] = (start, last_line, done)

    return show


def _unit(stage: str) -> str:
    return "objects" if stage in OBJECTS else "fits" if stage.startswith(FITS) else "images"


def _rounded(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
