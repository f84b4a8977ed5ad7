"""What the tests of kills share: processes that are killed, or given an error, at any system call, and what they leave.

`Workshop` is a process that has imported everything; each piece of work (`reliability.harness.work`) is a fork of it,
stopped until strace watches it. The main thread of that fork does all that writes, so that its calls can be counted.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from conftest import REPOSITORY, TESTS
from helpers.storage.cached_rows import SPEC
from reliability.harness.work import KEYS, ROWS

from cache.shard_file import open_shard
from cache.store import FeatureStore
from cache.upkeep.inventory import verify

Item = TypeVar("Item")

# All that can change a file system, and what goes with it. strace's `when=` counts the calls of one name in one thread.
CALLS = (
    "write", "pwrite64", "writev", "pwritev", "rename", "renameat", "renameat2", "fsync", "fdatasync", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "truncate", "ftruncate", "link", "linkat", "openat", "close", "flock",
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """The `number`-th call (from 1) of one name in the main thread, and its arguments as strace shows them."""

    name: str
    number: int
    text: str


@dataclass(frozen=True)
class End:
    """How a piece of work ended: exit status (negative: the signal), the lines that it had reported, its errors."""

    status: int
    lines: list[str]
    errors: str

    def said(self, what: str) -> set[int]:
        """Numbers of the rows that were reported as "computed" or "committed"."""
        return {row for line in self.lines if line.startswith(what) for row in json.loads(line.split()[1])}


class Workshop:
    """Forks that work, watched by strace where they are to be disturbed."""

    def __init__(self, folder: Path, *options: str):
        self.folder = folder
        command = [sys.executable, "-m", "reliability.harness.work", *options]
        environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{TESTS}"}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
        )

    def run(self, work: str, *arguments: Any, strace: Sequence[str] = (), kill_after: float | None = None) -> End:
        """Do `work(*arguments)`, a function of `reliability.harness.work`, in a fork.

        With these options of strace, or killed after so many seconds.
        """
        log, errors = self.folder / "log", self.folder / "errors"
        request = json.dumps([work, [str(argument) for argument in arguments], str(log), str(errors)])
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        worker = int(self._process.stdout.readline())  # stopped by now
        handle = os.pidfd_open(worker)
        tracer = None
        if strace:
            tracer = subprocess.Popen(["strace", "-f", *strace, "-p", str(worker)], stderr=subprocess.PIPE, text=True)
            assert tracer.stderr and "attached" in (said := tracer.stderr.readline()), said
        os.kill(worker, signal.SIGCONT)
        if kill_after is not None:
            select.select([handle], [], [], kill_after)  # or until it has ended
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)  # its number may be another's by now
        os.close(handle)
        status = os.waitstatus_to_exitcode(int(self._process.stdout.readline()))
        if tracer:
            tracer.communicate()
        return End(status, log.read_text().splitlines(), errors.read_text())

    def calls(self, work: str, *arguments: Any) -> list[Call]:
        """The calls on files in this folder that the work makes in its main thread when nobody disturbs it."""
        trace = self.folder.parent / f"{self.folder.name}.trace"
        end = self.run(work, *arguments, strace=["-o", str(trace), "-s", "0", "-y", "-e", f"trace={','.join(CALLS)}"])
        assert end.status == 0, end
        return [call for call in calls_in(trace) if str(self.folder) in call.text]

    def close(self) -> None:
        """End the process that everything is forked from."""
        self._process.communicate()


def calls_in(trace: Path) -> list[Call]:
    """The calls of the first thread in what `strace -f -o` wrote."""
    counted: Counter[str] = Counter()
    found = []
    first = None
    for line in trace.read_text(errors="surrogateescape").splitlines():
        if match := re.match(r"(\d+) +(\w+)\((.*)", line):
            thread, name, text = match.groups()
            first = first or thread
            if thread == first and name in CALLS:
                counted[name] += 1
                found.append(Call(name, counted[name], text))
    return found


def killing(call: Call) -> list[str]:
    """Options of strace that kill a process as it makes that call."""
    return ["-o", os.devnull, "-e", f"trace={call.name}", "-e", f"inject={call.name}:signal=KILL:when={call.number}"]


def failing(call: Call, error: str) -> list[str]:
    """Options of strace that let that call fail."""
    return ["-o", os.devnull, "-e", f"trace={call.name}", "-e", f"inject={call.name}:error={error}:when={call.number}"]


def needs_strace() -> None:
    """Skip where processes cannot be traced."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")


@contextmanager
def workshop(folder: Path, *options: str) -> Iterator[Workshop]:
    """A `Workshop` whose forks can be traced."""
    needs_strace()
    shop = Workshop(folder, *options)
    try:
        yield shop
    finally:
        shop.close()


def rows_in(cache: Path, total: int = len(KEYS)) -> set[int]:
    """Numbers of the rows that a cache holds, each shard opened and every row checked; nothing is repaired."""
    before = snapshot(cache)
    found: set[int] = set()
    number = {key.tobytes(): row for row, key in enumerate(KEYS[:total])}
    for path in Path(FeatureStore(str(cache), SPEC).folder).glob("*.h5"):
        shard = open_shard(str(path), SPEC)
        shard.verify()
        numbers = [number[digest.tobytes()] for digest in shard.digests]
        assert np.array_equal(shard.read(np.arange(len(shard))), ROWS[numbers]), f"wrong numbers in {path}"
        found.update(numbers)
    assert snapshot(cache) == before
    return found


def snapshot(folder: Path) -> list[tuple[str, int]]:
    """Paths and sizes of all files."""
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*") if path.is_file())


def require_nothing_lost(shop: Workshop, cache: Path, end: End) -> None:
    """What was said to be committed is there and right, and the next run computes exactly the rest."""
    present = rows_in(cache)
    assert end.said("committed") <= present, "rows that had been committed are lost"
    again = shop.run("extract", cache)
    assert again.status == 0, again
    everything = set(range(len(KEYS)))
    assert again.said("computed") == everything - present and rows_in(cache) == everything
    found = verify(str(cache))
    assert (found.rows, found.damaged) == (len(KEYS), [])
    assert not list(cache.rglob("*.damaged"))


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items, evenly spread from the first to the last, or all where there are no more."""
    if count >= len(items):
        return list(items)
    if count == 1:
        return [items[-1]]
    return [items[number * (len(items) - 1) // (count - 1)] for number in range(count)]
