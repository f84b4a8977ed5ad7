"""A machine with what requirements-serve.txt names and the project: it loads, predicts and serves from a bundle."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers.clean_environments import LOCK, copied_project, run_alone
from helpers.models.bundled_models import Bundles
from packaging.requirements import Requirement

MOST_BYTES = 600 * 10**6
NOT_THERE = ("tensorflow", "keras", "sklearn", "pandas", "joblib", "matplotlib", "skimage", "openvino_telemetry")

PREDICT = """
import json, sys, pipeline
model, *pictures = sys.argv[1:]
classifier = pipeline.load(model)
print(json.dumps({
    "probabilities": classifier.predict_proba(pictures).tolist(),
    "exact": [heat.exact for heat in classifier.heatmaps(pictures[:2])],
    "imported": [name for name in %r if name in sys.modules],
}))
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, bundles: Bundles) -> Path:
    """A folder with two pictures and a bundle."""
    folder = tmp_path_factory.mktemp("machine")
    made = bundles.of("logreg")
    for number, picture in enumerate(made.pictures[::12]):
        shutil.copyfile(picture, folder / f"{number}.png")
    shutil.copyfile(made.bundle, folder / "model.zip")
    return folder


@pytest.mark.parametrize("kind", ["logreg", "joined", "knn", "finetune"])
def test_it_predicts_and_draws_heat_maps(serving_python: Path, bundles: Bundles, kind: str, tmp_path: Path) -> None:
    made = bundles.of(kind)
    pictures = made.pictures[::12]
    done = run_alone(serving_python, ["-c", PREDICT % (NOT_THERE,), made.bundle, *pictures], tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = made.load().predict_proba(pictures, use_cache=False)
    assert np.abs(np.array(found["probabilities"]) - expected).max() < 1e-6
    assert found["exact"] == [kind != "knn"] * 2 and found["imported"] == []
    assert os.listdir(tmp_path) == []


def test_it_has_few_packages_and_they_are_small(serving_python: Path) -> None:
    packages = next((serving_python.parent.parent / "lib").glob("python*/site-packages"))
    there = {path.name for path in packages.iterdir()}
    assert not there & set(NOT_THERE) and {"openvino", "numpy", "fastapi", "pipeline.py"} <= there
    files = [path for path in packages.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_the_command_line_predicts_on_a_file_system_that_is_only_read(serving_python: Path, machine: Path) -> None:
    folder = machine / "read only"
    folder.mkdir()
    folder.chmod(0o555)
    words = ["-m", "pipeline", "predict", "--model", machine / "model.zip", machine / "0.png", machine / "2.png"]
    done = run_alone(serving_python, [*words, "--reject", "0.8", "--accept", "0.7"], folder)
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[1] for line in done.stdout.splitlines()] == ["label", "brick", "gravel"]
    drawn = run_alone(serving_python, [*words, "--heatmap", machine / "maps"], machine)
    assert drawn.returncode == 0 and len(os.listdir(machine / "maps")) == 2
    assert not (machine / ".features").exists() and os.listdir(folder) == []


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["features", "--data", "photos", "--backbone", "nano"], "tensorflow"),
        (["features", "--data", "photos", "--backbone", "efficientnet_lite0"], "tensorflow"),
        (["serve", "--model", "model.zip", "--engine", "tensorflow"], "tensorflow"),
        (["export", "--model", "model.zip", "--output", "model.onnx"], "tensorflow"),
        (["review", "--data", "photos", "--no-browser"], "scikit-learn"),
        (["evaluate", "--data", "photos", "--model", "model.zip"], "scikit-learn"),
        (["predict", "--model", "knn.joblib", "0.png"], "scikit-learn"),
    ],
)
def test_one_line_names_what_is_missing(
    serving_python: Path, machine: Path, bundles: Bundles, words: list[str], package: str, surfaces: Path
) -> None:
    if not (machine / "photos").exists():
        shutil.copytree(surfaces, machine / "photos")
        for suffix in (".joblib", ".json"):
            shutil.copyfile(Path(bundles.of("knn").model).with_suffix(suffix), machine / f"knn{suffix}")
    done = run_alone(serving_python, ["-m", "pipeline", *words], machine)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: this takes {package}, which is not installed here: ")


def test_python_is_told_as_well(serving_python: Path, machine: Path) -> None:
    code = "import pipeline\ntry: pipeline.top_k('0.png', 'model.zip')\nexcept ValueError as error: print(error)"
    done = run_alone(serving_python, ["-c", code], machine)
    assert done.stdout.startswith("this takes pandas, which is not installed here: "), done.stderr


def test_it_serves(serving_python: Path, machine: Path) -> None:
    command = [serving_python, "-m", "pipeline", "serve", "--model", "model.zip", "--port", "0"]
    with subprocess.Popen(command, cwd=machine, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = _address(server)
            assert json.load(urllib.request.urlopen(f"{address}/v1/model", timeout=60))["labels"][0] == "brick"
            request = urllib.request.Request(f"{address}/v1/predict", (machine / "0.png").read_bytes())
            request.add_header("Content-Type", "image/png")
            answer = json.load(urllib.request.urlopen(request, timeout=60))
            assert "brick" in json.dumps(answer)
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(urllib.request.Request(f"{address}/v1/predict", b"no picture"), timeout=60)
        finally:
            server.terminate()
            server.wait(60)


def _address(server: "subprocess.Popen[str]") -> str:
    """Where a service says that it listens."""
    assert server.stderr is not None
    for line in server.stderr:
        if "http://" in line:
            return "http://" + line.partition("http://")[2].split()[0].rstrip("/,;")
    raise AssertionError("the service ended")


@pytest.mark.skipif(sys.platform == "win32", reason="a script for sh")
def test_the_steps_of_the_container_work_as_a_script(tmp_path: Path, machine: Path) -> None:
    project = copied_project(tmp_path / "project")
    (project / "deploy").mkdir()
    for name in ("requirements-serve.txt", "deploy/install.sh"):
        shutil.copyfile(REPOSITORY / name, project / name)
    command = ["sh", project / "deploy" / "install.sh", tmp_path / "serve"]
    variables = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode and "NewConnectionError" in done.stderr:
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0 and done.stdout.startswith("python -m pipeline"), done.stderr
    words = ["-m", "pipeline", "predict", "--model", machine / "model.zip", machine / "1.png"]
    assert ",grass," in run_alone(tmp_path / "serve" / "bin" / "python", words, tmp_path).stdout
    assert not [*(tmp_path / "serve").glob("lib/python*/site-packages/pip")]


def test_the_container_is_slim_safe_and_made_by_the_script() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("FROM")] == ["python:3.13-slim"] * 2
    assert "RUN sh deploy/install.sh /opt/serve" in lines and "USER 10001:10001" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    copied = {line.split()[1].rstrip("/") for line in lines if line.startswith("COPY ") and "--from" not in line}
    assert {"bottleneck_features", "cache", "classify", "featurize", "deploy/install.sh"} <= copied
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied - {"setup.cfg"}} <= {*ignored}


def test_the_lock_has_hashes_and_versions_that_setup_cfg_allows() -> None:
    blocks = LOCK.read_text().replace("\\\n", " ").splitlines()
    locked = [block for block in blocks if block and not block.lstrip().startswith("#")]
    assert all(block.count("--hash=sha256:") >= 1 for block in locked)
    assert "://" not in LOCK.read_text()
    pinned = [Requirement(block.partition("--hash")[0].strip()) for block in locked]
    assert all(str(one.specifier).startswith("==") for one in pinned)
    names = {one.name.lower().replace("_", "-").replace(".", "-") for one in pinned}
    assert not names & {"tensorflow", "keras", "scikit-learn", "pandas", "openvino-telemetry"}
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    allowed = _specifiers(setup["options"]["install_requires"]) | _specifiers(setup["options.extras_require"]["web"])
    for one in pinned:
        name = one.name.lower().replace("_", "-").replace(".", "-")
        version = str(one.specifier).removeprefix("==")
        assert name not in allowed or allowed[name].contains(version), name
    assert {"numpy", "openvino", "pillow", "fastapi", "uvicorn", "python-multipart"} <= names


def _specifiers(text: str) -> dict[str, Any]:
    requirements = [Requirement(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {one.name.lower().replace("_", "-").replace(".", "-"): one.specifier for one in requirements}
