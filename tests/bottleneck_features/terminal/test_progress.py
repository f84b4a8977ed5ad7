"""Progress where there is no terminal, and on one: what is counted, and stages that take turns or start anew."""

import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

import bottleneck_features.terminal.progress
from bottleneck_features.terminal.progress import progress_reporter


def test_plain_lines_say_what_is_counted_and_stages_take_turns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    monkeypatch.setattr(bottleneck_features.terminal.progress, "SECONDS_BETWEEN_LINES", 0.0)
    with progress_reporter() as progress:
        for stage, done in (("features", 3), ("search", 0), ("search", 25), ("compare", 1), ("search", 5)):
            progress(stage, done, 50)
    said = [message.partition(", ")[0] for message in caplog.messages]
    assert said == [
        "features: 3 of 50 images",
        "search: 25 of 50 fits",
        "compare: 1 of 50 fits",
        "search: 5 of 50 fits",
    ]


def test_a_short_stage_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    with progress_reporter() as progress:
        for done in range(51):
            progress("search", done, 50)
    assert not caplog.messages


def test_a_terminal_shows_a_bar_for_the_search_and_a_file_gets_none(
    surfaces: Path, warm_cache: Path, tmp_path: Path
) -> None:
    words = ["train", "--data", surfaces, "--cache-dir", warm_cache, "--backbone", "nano", "--head", "knn", "--search"]
    command = [sys.executable, "-m", "pipeline", *map(str, words), "--model", str(tmp_path / "m.joblib")]
    master, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while chunk := _read(master):
            shown += chunk
        out = process.stdout.read() if process.stdout else b""
    assert process.returncode == 0 and b"search" in shown and b"fits/s" in shown and b"75/75" in shown
    assert b"\x1b" not in out and b"search: 15 candidates in 5 folds" in out


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so where nobody writes any more
        return b""
