"""The layout of the packages: files of a user hide none of ours whatever their names, and folders stay small."""

import configparser
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGES = ("bottleneck_features", "cache", "classify", "featurize")
MODULES = [REPOSITORY / "pipeline.py", *(file for name in PACKAGES for file in (REPOSITORY / name).rglob("*.py"))]


def run_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=folder)


def test_folders_named_like_our_modules_hide_none_of_them(tmp_path: Path) -> None:
    for module in MODULES[1:]:
        (tmp_path / module.relative_to(REPOSITORY).with_suffix("")).mkdir(parents=True, exist_ok=True)
    done = run_in(tmp_path, "-m", "pipeline", "cache", "ls", "--cache-dir", "cache")
    assert done.returncode == 0 and "0 rows" in done.stdout, done.stderr


def test_files_of_a_user_are_not_taken_for_ours(surfaces: Path, warm_cache: Path, tmp_path: Path) -> None:
    """Files that were named like packages of ours at some time, beside the data of the user."""
    for name in ("commands", "demo", "distil", "predict", "report", "terminal", "train"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")
    given = f"{str(surfaces)!r}, model='knn.joblib', cache_dir={str(warm_cache)!r}"
    code = f"import pipeline; pipeline.train({given}, head='knn', backbone='nano')"
    code += f"; pipeline.report({given}, heatmaps=False)"
    written = run_in(tmp_path, "-c", code)
    assert written.returncode == 0 and (tmp_path / "report.html").is_file(), written.stderr
    for command in ("demo", "distil"):
        assert run_in(tmp_path, "-m", "bottleneck_features", command, "--help").returncode == 0


@pytest.mark.parametrize("name", ["cache", "classify", "featurize"])
def test_a_file_of_a_user_with_the_name_of_a_package_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("answer = 42\n")
    (tmp_path / "mine.py").write_text("import pipeline\n")
    where = f"{tmp_path / name}.py: rename that file, or move it"
    for words in (["-m", "pipeline", "cache", "ls"], ["-m", "bottleneck_features", "cache", "ls"]):
        done = run_in(tmp_path, *words)
        assert done.returncode and done.stderr.startswith(f"error: {name!r} is not") and done.stderr.count("\n") == 1
        assert where in done.stderr
    for words in (["mine.py"], ["-c", f"import {name}, pipeline"]):
        done = run_in(tmp_path, *words)
        assert done.returncode and done.stderr.splitlines()[-1].startswith(f"ImportError: {name!r} is not")
        assert where in done.stderr


def test_a_pipeline_of_the_users_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("def train(): ...\n")
    done = run_in(tmp_path, "-m", "bottleneck_features", "cache", "ls")
    assert done.returncode and done.stderr.startswith("error: 'pipeline' is not"), done.stderr


def test_five_names_are_installed_at_top_level() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    packages = {name.partition(".")[0] for name in setup["options.packages.find"]["include"].split()}
    assert packages == set(PACKAGES) and setup["options"]["py_modules"].split() == ["pipeline"]


def test_modules_have_names_of_their_own_and_folders_and_files_are_small() -> None:
    assert len(MODULES) > 100
    names = Counter(module.name for module in MODULES if module.name not in ("__init__.py", "__main__.py"))
    assert [name for name, count in names.items() if count > 1] == []
    folders = Counter(module.parent for module in MODULES)
    assert {str(folder): count for folder, count in folders.items() if count > 14} == {}
    assert [str(module) for module in MODULES if len(module.read_text().splitlines()) > 400] == []
