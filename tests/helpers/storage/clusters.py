"""A scheduler of Dask with workers, each a process of its own in a folder and an environment of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from conftest import BUNDLED, REPOSITORY
from PIL import Image

ENVIRONMENTS = ({"LC_ALL": "C", "TZ": "Asia/Tokyo"}, {"PYTHONHASHSEED": "7", "HOME": "/nonexistent"})

# A process in which this is `sitecustomize` dies when it opens a file of that name: a picture that no decoder survives.
DEADLY = "deadly.png"
DIES = f"""
import os, signal, sys
def audit(event, given):
    if event == "open" and isinstance(given[0], str) and os.path.basename(given[0]) == {DEADLY!r}:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
"""


def crops(folder: Path, count: int) -> list[str]:
    """The paths of so many different photographs of 64 x 64 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in ("brick", "grass", "gravel"):
        with Image.open(BUNDLED / f"{name}.png") as photograph:
            for number in range(-(-count // 3)):
                left, top = number % 16 * 28, number // 16 * 28
                path = folder / f"{name}.{number:03}.png"
                photograph.crop((left, top, left + 64, top + 64)).save(path)
                paths.append(str(path))
    return sorted(paths)[:count]


@contextlib.contextmanager
def dask_cluster(folder: Path, workers: int = 2, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a scheduler that has so many workers of one thread each, with these variables besides."""
    with contextlib.ExitStack() as stack:
        address_file = folder / "scheduler.json"
        words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address_file)]
        stack.enter_context(_process(folder / "scheduler", {}, "scheduler", *words))
        for number in range(workers):
            words = ["--scheduler-file", str(address_file), "--nthreads", "1", "--no-dashboard"]
            own = ENVIRONMENTS[number % len(ENVIRONMENTS)] | dict(environment or {})
            stack.enter_context(_process(folder / f"worker{number}", own, "worker", *words))
        from distributed import Client

        with Client(scheduler_file=str(address_file), timeout=300, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=600)
            address = str(client.scheduler.address)
        yield address


@contextlib.contextmanager
def _process(folder: Path, environment: dict[str, str], *words: str) -> Iterator[None]:
    folder.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    with (folder / "log.txt").open("wb") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]],
            cwd=folder,
            env=own | {"PYTHONPATH": str(REPOSITORY)} | environment,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            started.terminate()
            try:
                started.wait(60)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()
