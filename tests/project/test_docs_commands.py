"""Every command and every snippet of the README and of docs/, run in order in a folder with real photographs.

Blocks that are marked `sh` and `python` run. What takes long, and what is shown with its output, is marked `console`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from featurize.backbones.backbone_table import find_backbone

ORDER = ["README.md", "docs/tutorial.md"]  # as people read; the other pages need what these have made
OTHERS = sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md"))
PAGES = list(dict.fromkeys(ORDER + OTHERS))
BLOCKS = [
    (page, language, code)
    for page in PAGES
    for language, code in re.findall(
        r"^```(sh|python)\n(.*?)^```", (REPOSITORY / page).read_text(), re.MULTILINE | re.DOTALL
    )
]
EXPORTED = " ".join(re.findall(r"^export (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)).split()
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def place(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with `photos` and `new_photos`, and weights of MobileNetV2 in `keras/models`.

    The weights are random numbers in a file of the right name: a backbone that is downloaded, without its download.
    """
    from featurize.engines.keras_import import import_keras

    folder = tmp_path_factory.mktemp("docs")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    for name in files.decode().split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    crops = folder / "classify" / "data" / "surfaces.py"
    many, few = 'COUNTS = {"train": 60, "test": 30}', 'COUNTS = {"train": 10, "test": 4}'  # of a class, in the demo
    code = crops.read_text()
    assert many in code
    crops.write_text(code.replace(many, few))
    (folder / ".venv").symlink_to(sys.prefix)
    for path in sorted(surfaces.glob("*/*.[0-9].png")):  # enough for five folds
        (folder / "photos" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "photos" / path.parent.name)
    (folder / "new_photos").mkdir()
    for name, path in (("a", "brick/brick.0.png"), ("b", "grass/grass.0.png")):
        shutil.move(folder / "photos" / path, folder / "new_photos" / f"{name}.jpg")
    shutil.copy(folder / "photos" / "brick" / "brick.1.png", folder / "photos" / "brick" / "a.jpg")
    row = find_backbone("mobilenet_v2")
    models = folder / "keras" / "models"
    models.mkdir(parents=True)
    network = import_keras().applications.MobileNetV2(include_top=False, weights=None, input_shape=(224, 224, 3))
    for layer in network.layers:
        if len(weights := layer.get_weights()) == 1:  # kernels: random ones give less than float16 can hold, in the end
            layer.set_weights([2.2 * weights[0]])
    network.save(models / row.weights_name(224))
    return folder


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=[f"{page}-{n}" for n, (page, *_) in enumerate(BLOCKS)])
def test_the_commands_run(place: Path, number: int) -> None:
    page, language, code = BLOCKS[number]
    inherited = {name: value for name, value in os.environ.items() if name not in [*EXPORTED, "ARGS"]}  # of `make test`
    installed = page == "README.md"  # its pages need no weights from Keras
    environment = inherited | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "KERAS_HOME": str(place / ("nothing" if installed else "keras")),
        "http_proxy": NOWHERE,
        "https_proxy": NOWHERE,
        "MAKEFLAGS": "",
        "HEADS": "logreg knn",  # not all, with TensorFlow
    }
    if "HEAD=finetune" in code:
        environment |= {"HEAD_PARAMS": "epochs=1", "VIEWS": "2", "BACKBONE": "nano", "CUT": "head"}  # not minutes
    if language == "sh":
        earlier = "".join(code for _, _, code in BLOCKS[:number])
        lines = [line for line in code.splitlines() if not re.search(rf"^{re.escape(line)} *(#|$)", earlier, re.M)]
        code = re.sub(r"^make ", "make -o .venv/.installed -o .venv/.installed-test ", "\n".join(lines), flags=re.M)
        command = ["bash", "-euxc", code]
    else:
        command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
