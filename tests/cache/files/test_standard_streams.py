"""Commands without stdin, stdout or stderr do their work, and nothing that is printed gets into a file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]
OPENED = """
import os, sys
from cache.files.standard_streams import open_standard_streams
open_standard_streams()
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2
    os.write(1, b"from C"), os.write(2, b"from C"), print("out"), print("err", file=sys.stderr)
    assert not sys.stdin.isatty()
    file.write("mine")
"""


def shell(closed: str, *words: object) -> int:
    """The exit status of a command in this Python with some streams closed."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, stdin=subprocess.DEVNULL, check=False
    ).returncode


@pytest.mark.parametrize("closed", CLOSED)
def test_a_command_does_its_work(closed: str, surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ["-m", "pipeline", "features", "--backbone", "nano", "--cache-dir", warm_cache]
    assert shell(closed, *words, "--data", surfaces, "--json", report) == 0
    assert json.loads(report.read_text())["cached"] == 36
    assert shell(closed, *words, "--data", tmp_path / "nothing") == 2


@pytest.mark.parametrize("closed", CLOSED)
def test_no_file_takes_their_numbers(closed: str, tmp_path: Path) -> None:
    assert shell(closed, "-c", OPENED, tmp_path / "mine") == 0
    assert (tmp_path / "mine").read_text() == "mine"
