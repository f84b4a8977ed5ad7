"""Every command and every snippet of the README, run in order in a folder with real photographs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from classify.heads.head_table import HEADS
from featurize.backbones.backbone_table import BACKBONES, find_backbone

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
EXPORTED = " ".join(re.findall(r"^export (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)).split()
WITHOUT_NETWORK = README.partition("## Your own photographs")[0].count("```sh")  # the first so many blocks


@pytest.fixture(scope="module")
def place(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with `photos` and `new_photos`, and pretrained weights in `keras/models`.

    The weights are random numbers in a file of the right name: the default backbone, without its download.
    """
    from featurize.engines.keras_import import import_keras

    folder = tmp_path_factory.mktemp("readme")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    for name in files.decode().split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
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


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_readme_runs(place: Path, number: int) -> None:
    language, code = BLOCKS[number]
    inherited = {name: value for name, value in os.environ.items() if name not in [*EXPORTED, "ARGS"]}  # of `make test`
    environment = inherited | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "KERAS_HOME": str(place / "keras"),
        "MAKEFLAGS": "",
        "HEADS": "logreg knn",  # not all, with TensorFlow
    }
    if "HEAD=finetune" in code:
        environment |= {"HEAD_PARAMS": "epochs=1", "VIEWS": "2"}  # instead of minutes
    if number < WITHOUT_NETWORK:
        nowhere = "http://127.0.0.1:9"
        environment |= {"KERAS_HOME": str(place / "nothing"), "http_proxy": nowhere, "https_proxy": nowhere}
    if language == "sh":
        earlier = "".join(code for _, code in BLOCKS[:number])
        lines = [line for line in code.splitlines() if not re.search(rf"^{re.escape(line)} *(#|$)", earlier, re.M)]
        code = "\n".join(lines).replace("make test", "make --dry-run test")  # these are the tests
        code = re.sub(r"^make ", "make -o .venv/.installed -o .venv/.installed-test ", code, flags=re.MULTILINE)
        command = ["bash", "-euxc", code]
    else:
        command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_readme_lists_every_backbone_head_and_variable() -> None:
    for name, row in BACKBONES.items():
        assert f"| `{name}` | {row.size} | {row.dimension} |" in README, name
    for name in HEADS:
        assert f"| `{name}` |" in README, name
    assert EXPORTED
    for variable in EXPORTED:
        assert f"| `{variable}` |" in README, variable


def test_the_map_of_the_house_names_every_room_and_no_file_that_is_not_there() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?|\w+\.py)`", text) + re.findall(r"^ {6}(\w+/\S+)", text, re.MULTILINE)
    assert len(named) > 40 and [name for name in named if not (REPOSITORY / name).exists()] == []
    rooms = [file.parent for name in ("bottleneck_features", "cache", "classify", "featurize")
             for file in (REPOSITORY / name).rglob("__init__.py")]  # fmt: skip
    assert {f"{room.relative_to(REPOSITORY)}/" for room in rooms} <= set(named)
