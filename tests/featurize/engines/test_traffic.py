"""What leaves the machine: nothing but a request for weights that somebody asks for. Counted in child processes too."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import BUNDLED, REPOSITORY, SPEC

pytest.importorskip("openvino")

# Python imports it first in every process: each notes what it does in one file.
SITECUSTOMIZE = """
import os, sys
WATCHED = {"os.fork", "os.forkpty", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
home = os.path.join(os.environ["HOME"], "")
notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(home) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            os.write(notes, f"write {path[len(home):]}\\n".encode())
    elif event in WATCHED:
        os.write(notes, f"{event} {arguments}\\n".encode())
sys.addaudithook(hook)
"""
# Where one of the first three is set, `openvino_telemetry` is silent, and would be without this project's doing.
UNSET = {"CI", "TF_BUILD", "JENKINS_URL", "KERAS_HOME"}
OUR_OWN = (".keras", ".cache", ".config")  # settings and fonts of Keras and Matplotlib: files, no traffic

CONVERT = "pipeline.features({surfaces!r}, cache_dir={cache!r}, **{spec!r})"
COMPUTE = "pipeline.open_extractor({cache!r}, **{spec!r}).without_cache([{picture!r}])"
# What a user does, in one process, with heads of scikit-learn, Keras and TensorFlow.
USE = """
for head, params in (("logreg", {{}}), ("dense", {{"epochs": 1}}), ("finetune", {{"epochs": 1}})):
    spec = {spec!r} | ({{"cut": "down8", "views": 1}} if head == "finetune" else {{}})
    pipeline.train({surfaces!r}, head, model={model!r}, cache_dir={cache!r}, head_params=params, **spec)
    pipeline.predict([{picture!r}], {model!r})
pipeline.report({surfaces!r}, {model!r}, {page!r})
"""
SPAWN = "import multiprocessing; multiprocessing.set_start_method('spawn')"


class Machine:
    """A home, a cache and a model; `run` gives what a new process did with the network and in its home."""

    def __init__(self, folder: Path, surfaces: Path):
        self.folder = folder
        (folder / "home").mkdir()
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(SITECUSTOMIZE)
        self.names = {
            "surfaces": str(surfaces), "cache": str(folder / "cache"), "model": str(folder / "m.joblib"),
            "page": str(folder / "page.html"), "picture": str(BUNDLED / "coffee.png"), "spec": SPEC,
        }  # fmt: skip

    def run(self, *lines: str) -> Counter[str]:
        notes = self.folder / "notes"
        notes.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in UNSET}
        environment |= {"HOME": str(self.folder / "home"), "NOTES": str(notes)}
        environment["PYTHONPATH"] = os.pathsep.join([str(self.folder / "hook"), str(REPOSITORY)])
        code = "\n".join(["import pipeline", *lines]).format(**self.names)
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        noted = notes.read_text().splitlines() if notes.exists() else []
        return Counter(line for line in noted if not line.startswith(tuple(f"write {name}/" for name in OUR_OWN)))


@pytest.fixture
def machine(surfaces: Path, tmp_path: Path) -> Machine:
    return Machine(tmp_path, surfaces)


def test_neither_the_conversion_nor_a_later_run_asks_for_anything(machine: Machine) -> None:
    assert not machine.run(CONVERT, SPAWN)
    assert not machine.run(COMPUTE, SPAWN)
    assert not (machine.folder / "home" / "intel").exists()


def test_neither_training_nor_prediction_nor_report_asks_for_anything(machine: Machine) -> None:
    assert not machine.run(USE, SPAWN)
    assert not (machine.folder / "home" / "intel").exists()


def test_where_the_program_imported_openvino_nothing_is_added(machine: Machine) -> None:
    machine.run("import openvino")  # the first time it also writes who it is
    of_the_program = machine.run("import openvino")  # which ends when all is sent
    assert any("google-analytics" in line for line in of_the_program), "so that this test can fail"
    assert [machine.run("import openvino", line) for line in (CONVERT, COMPUTE)] == [of_the_program] * 2


def test_the_program_finds_its_telemetry_as_it_was(machine: Machine) -> None:
    imported = "import sys, openvino; before = openvino.tools.ovc.convert_impl.tm"
    left = "assert openvino.tools.ovc.convert_impl.tm is before is sys.modules['openvino_telemetry']"
    machine.run(imported, CONVERT, left)
    machine.run(COMPUTE, "import sys, openvino_telemetry; assert openvino_telemetry.Telemetry")
