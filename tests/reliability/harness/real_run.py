"""The real command: what it prints, how it ends, and the memory that it and its children take."""

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from conftest import REPOSITORY

EVERY = 0.01  # seconds between two looks at memory
LONGEST = 600  # seconds


@dataclass(frozen=True)
class Run:
    """One finished command. `peak` is in bytes: of the process itself exactly, of all together as it was looked at."""

    status: int
    out: bytes
    err: bytes
    peak: int
    peak_of_all: int
    report: dict[str, Any]

    @property
    def lines(self) -> list[str]:
        """What is on stderr."""
        return os.fsdecode(self.err).splitlines()


def run(folder: Path, *arguments: str | bytes, report: bool = True, **environment: str) -> Run:
    """`python -m pipeline` with `arguments` in `folder`; its --json report too, where it has one."""
    to_json = ["--json", "report.json"] if report else []
    (folder / "report.json").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments[:1], *to_json, *arguments[1:]],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    memory = _Memory(process.pid)
    try:
        out, err = process.communicate(timeout=LONGEST)
    finally:
        process.kill()
        memory.stop()
    file = folder / "report.json"
    return Run(
        process.returncode,
        out,
        err,
        memory.peak,
        memory.peak_of_all,
        json.loads(file.read_bytes()) if file.exists() else {},
    )


def converted(warm_cache: Path, folder: Path) -> None:
    """Make `folder` a cache without rows, but with nano as OpenVINO computes it, which starts without TensorFlow."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if (warm_cache / "graphs").exists():
        shutil.copytree(warm_cache / "graphs", folder / "graphs")


class _Memory(threading.Thread):
    """Looks at the memory of a process, and of that with all of its children, until it is stopped."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.peak = self.peak_of_all = 0
        self._pid = pid
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(EVERY):
            with suppress(psutil.NoSuchProcess, OSError, StopIteration):
                lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
                most = next(line for line in lines if line.startswith("VmHWM"))  # since the process began
                self.peak = max(self.peak, 1024 * int(most.split()[1]))
                process = psutil.Process(self._pid)
                self.peak_of_all = max(self.peak_of_all, _resident(process) + sum(map(_resident, process.children())))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
