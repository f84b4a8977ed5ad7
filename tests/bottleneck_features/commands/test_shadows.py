"""Folders where a command is run, named as our packages and modules are, hide none of them."""

import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY


def test_folders_named_like_our_modules_hide_none_of_them(tmp_path: Path) -> None:
    modules = [file for package in ("cache", "classify", "featurize") for file in (REPOSITORY / package).rglob("*.py")]
    assert len(modules) > 100
    for module in modules:
        (tmp_path / module.relative_to(REPOSITORY).with_suffix("")).mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "pipeline", "cache", "ls", "--cache-dir", "cache"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0 and "0 rows" in done.stdout, done.stderr
