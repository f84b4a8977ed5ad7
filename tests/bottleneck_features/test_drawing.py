"""Files are drawn whatever MPLBACKEND names, which Jupyter sets for the commands that a cell starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

DRAWN = """
import sys
from pathlib import Path

from bottleneck_features.commands.leaderboard_plot import draw_leaderboard
import bottleneck_features.report.page.plots
import examples.pictures

line = {"features": "a", "head": "svm", "accuracy": 0.9, "accuracy_interval": [0.8, 0.95], "difference": 0.0,
        "difference_interval": [0.0, 0.0], "train_seconds": 1.0}
for name in ("heads.svg", "heads.png"):
    draw_leaderboard({"lines": [line], "folds": 5, "pictures": 36}, name)
examples.pictures._save(examples.pictures._sheet(1, 1, 2, 2)[0], "sheet.png")
import matplotlib
assert "matplotlib.pyplot" not in sys.modules
print(matplotlib.get_backend() if sys.argv[1] == "agg" else None)
"""


@pytest.mark.parametrize(("backend", "kept"), [("module-that-is-gone", None), ("agg", "agg")])
def test_pictures_are_drawn_with_any_backend(tmp_path: Path, backend: str, kept: str | None) -> None:
    environment = os.environ | {"MPLBACKEND": backend, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", DRAWN, backend]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(kept)
    assert (tmp_path / "heads.svg").read_text().startswith("<?xml") and (tmp_path / "heads.png").stat().st_size > 1000


def test_nothing_else_imports_matplotlib() -> None:
    folders = ("bottleneck_features", "cache", "classify", "featurize", "examples", "benchmarks")
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")] + [REPOSITORY / "pipeline.py"]
    importing = [path.name for path in files if re.search(r"^\s*(from|import) matplotlib", path.read_text(), re.M)]
    assert importing == ["drawing.py"]
