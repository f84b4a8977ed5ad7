"""Ctrl-C, SIGTERM, SIGHUP: what is computed is stored, one line says so, the status is 128 and the number."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

from cache.upkeep.inventory import listing, verify

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def words(surfaces: Path, warm_cache: Path, tmp_path: Path) -> list[str]:
    """A command line that computes for some seconds, in small shards."""
    shutil.copytree(warm_cache / "graphs", tmp_path / "c" / "graphs")
    many = tmp_path / "many"
    many.mkdir()
    for number, path in enumerate(sorted(surfaces.glob("*/*.png")) * 20):
        (many / f"{number}.png").write_bytes(path.read_bytes() + number.to_bytes(4, "big"))
    cache = ["--cache-dir", str(tmp_path / "c"), "--shard-rows", "64", "--backbone", "nano"]
    return [sys.executable, "-m", "pipeline", "features", "--data", str(many), *cache]


@pytest.fixture
def started(words: list[str], tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """started(): that command, once it has stored its first shard."""
    jobs: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        job = subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        jobs.append(job)
        while not list(tmp_path.glob("c/*/*.h5")) and job.poll() is None:
            time.sleep(0.01)
        return job

    yield start
    for job in jobs:
        if job.poll() is None:
            job.kill()
        job.communicate()


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_stores_what_is_computed_and_says_so_in_one_line(
    started: Callable[[], subprocess.Popen[str]], words: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    job = started()
    job.send_signal(number)
    _, errors = job.communicate(timeout=600)
    kept = listing(str(tmp_path / "c"))["rows"]
    assert job.returncode == 128 + number and 0 < kept < 720
    (said,) = [line for line in errors.splitlines() if "interrupted" in line]
    assert said == f"warning: interrupted by {number.name}: {kept} new rows are kept, the next run goes on from there"
    assert errors.splitlines()[-1] == said and "Traceback" not in errors
    assert verify(str(tmp_path / "c")).rows == kept and not list(tmp_path.rglob("*.tmp"))
    subprocess.run([*words, "--json", str(tmp_path / "r.json")], cwd=REPOSITORY, capture_output=True, check=True)
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["cached"], report["computed"], report["forward_passes"]) == (kept, 720 - kept, 720 - kept)


@pytest.mark.parametrize("times", [2, 3, 8])
def test_more_of_them_make_no_mess(started: Callable[[], subprocess.Popen[str]], tmp_path: Path, times: int) -> None:
    job = started()
    for _ in range(times):
        job.send_signal(signal.SIGINT)
        time.sleep(0.002)
    _, errors = job.communicate(timeout=600)
    assert job.returncode == 130 and "Traceback" not in errors
    assert errors.count("interrupted by SIGINT") == 1
    found = verify(str(tmp_path / "c"))
    assert found.rows > 0 and not found.damaged


def test_a_terminal_that_goes_away_is_one_of_them(words: list[str], tmp_path: Path) -> None:
    """SIGHUP, and stdout and stderr that nothing can be written to any more."""
    parent, child = pty.openpty()
    on_terminal = "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
    words[:0] = [sys.executable, "-c", on_terminal, str(child)]
    job = subprocess.Popen(words, cwd=REPOSITORY, pass_fds=[child])
    os.close(child)
    while not list(tmp_path.glob("c/*/*.h5")) and job.poll() is None:
        os.read(parent, 4096)  # the progress bar
    os.close(parent)
    assert job.wait(timeout=600) == 129
    assert verify(str(tmp_path / "c")).rows > 0 and not list(tmp_path.rglob("*.tmp"))


def test_with_nohup_the_run_goes_on(started: Callable[[], subprocess.Popen[str]], words: list[str]) -> None:
    words[:0] = ["nohup"]
    job = started()
    job.send_signal(signal.SIGHUP)
    output, errors = job.communicate(timeout=600)
    assert job.returncode == 0 and "failed 0" in output and "interrupted" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "module",
    [
        "bottleneck_features.commands",
        "inspect",
        "click",
        "bottleneck_features.commands.command_options",
        "cache.shard_file",
        "numpy",
    ],
)
def test_while_python_imports_there_is_no_traceback(
    words: list[str], tmp_path: Path, module: str, number: signal.Signals
) -> None:
    words[1:1] = ["-X", "importtime"]  # a line for each module, on stderr
    job = subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert job.stderr
    for line in iter(job.stderr.readline, ""):
        if line.rpartition("|")[2].strip() == module:
            job.send_signal(number)
            break
    rest = job.stderr.read()
    job.communicate()
    assert job.returncode == 128 + number and "Traceback" not in rest
    assert not (tmp_path / "c").exists() or not list(tmp_path.rglob("*.tmp"))
