"""Virtual environments that have nothing but the packages that are named: what runs in them needs no others."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import REPOSITORY

LOCK = REPOSITORY / "requirements-serve.txt"
UNREACHABLE = ("Temporary failure in name resolution", "NewConnectionError", "ConnectTimeoutError", "ProxyError")


def environment(folder: Path, packages: Sequence[object]) -> Path:
    """A new virtual environment in `folder`; returns its python.

    packages: words for `pip install`, such as "numpy==2.4.6" or "--no-deps", "-r", a path. The test is skipped where
    pip reaches no index.
    """
    venv.create(folder, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install(python, packages)
    return python


def install(python: Path, packages: Sequence[object]) -> None:
    """`pip install` these into the environment of that python, which need not have pip itself."""
    command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*command, *packages], capture_output=True, text=True, timeout=900, check=False)
    if done.returncode and any(sign in done.stderr for sign in UNREACHABLE):
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr[-3000:]


def as_here(*names: str) -> list[str]:
    """The packages in the versions that are installed here, such as "numpy==2.4.6"."""
    return [f"{name}=={version(name)}" for name in names]


def serving_environment(folder: Path) -> Path:
    """One as on a serving machine: what requirements-serve.txt locks, and the project."""
    python = environment(folder / "serving", ["--no-deps", "--require-hashes", "-r", LOCK])
    install(python, ["--no-deps", copied_project(folder / "project")])
    return python


def copied_project(folder: Path) -> Path:
    """The files that the project is installed from, in a folder of their own: building changes it."""
    setup = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "pipeline.py")
    folder.mkdir()
    for name in setup:
        shutil.copyfile(REPOSITORY / name, folder / name)
    for package in ("bottleneck_features", "cache", "classify", "featurize"):
        shutil.copytree(REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run_alone(
    python: Path, words: Sequence[object], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run that python with these words in `folder`; nothing of this repository or process is on its path."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | variables
    command = [str(word) for word in (python, *words)]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=600, check=False)
