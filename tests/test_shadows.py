"""Folders where a command is run, named as our packages and modules are, hide none of them."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def test_folders_named_like_our_modules_hide_none_of_them(tmp_path: Path) -> None:
    packages = [file.parent for file in REPOSITORY.glob("*/__init__.py") if file.parent.name != "tests"]
    assert len(packages) >= 4
    for package in packages:
        for module in package.glob("*.py"):
            (tmp_path / package.name / module.stem).mkdir(parents=True)
    words = [sys.executable, "-m", "pipeline", "cache", "ls", "--cache-dir", "cache"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0 and "0 rows" in done.stdout, done.stderr
