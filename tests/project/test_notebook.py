"""The notebook in examples/, from top to bottom, and commands in cells: each in a folder of its own."""

import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY
from nbclient import NotebookClient

NOTEBOOK = REPOSITORY / "examples" / "first_steps.ipynb"


def test_the_notebook_runs_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "nothing"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    assert "1170 forward passes" in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_commands_of_cells_go_from_files_to_predictions(
    photos: Path, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`!` commands inherit what Jupyter exports, such as MPLBACKEND; the last two of a Python without that backend."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    shutil.copytree(warm_cache, tmp_path / ".features")
    command = f"!{sys.executable} -m pipeline"
    cells = [
        "import os; print(os.environ['MPLBACKEND'])",
        f"{command} train --data {photos.name} --backbone nano --head centroid",
        f"{command} predict --head centroid {photos.name}/brick",
        "%env MPLBACKEND=that-is-not-here",
        f"{command} compare --data {photos.name} --heads centroid --output heads.svg",
        f"{command} report --data {photos.name} --head centroid",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    printed = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]
    assert "matplotlib_inline" in printed[0] and "Traceback" not in "".join(printed)
    assert "accuracy" in printed[1] and "computed 0, cached 36" in printed[1]
    lines = [line.split(",") for line in printed[2].splitlines()]
    assert lines[0] == ["path", "label", "probability", "margin"] and len(lines) == 13
    assert (tmp_path / "heads.svg").exists() and (tmp_path / "report.html").exists()


def test_the_notebook_is_stored_without_what_a_run_adds() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
