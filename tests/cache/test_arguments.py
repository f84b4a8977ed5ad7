"""What callers from Python may give: numbers of numpy, floats that are whole, and paths with `~`."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC

import pipeline
from cache.arguments import checked_arguments
from cache.errors import UserError


@checked_arguments
def given(data: Any = None, /, *, seed: int = 0, **rest: Any) -> dict[str, Any]:
    """Its arguments, as they come."""
    return {"data": data, "seed": seed, **rest}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and another folder to work in."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def trained(warm_cache: Path, tmp_path: Path) -> dict[str, Any]:
    """The options of a training that computes nothing."""
    cache = shutil.copytree(warm_cache, tmp_path / "cache")
    return {"cache_dir": str(cache), "model": str(tmp_path / "m.joblib"), "head": "centroid", **SPEC}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"seed": np.int64(3)}, 3),
        ({"seed": np.array(3)}, 3),
        ({"cv": 3.0}, 3),
        ({"views": None}, None),
        ({"size": np.int64(96)}, 96),
        ({"size": (np.int64(96), 96.0)}, (96, 96)),
        ({"test_size": np.float64(0.25)}, 0.25),
        ({"head_params": {"hidden": np.int64(16), "class_weight": {np.str_("a"): np.float64(2)}}},
         {"hidden": 16, "class_weight": {"a": 2.0}}),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_of_numpy_and_whole_floats_become_pythons(value: dict[str, Any], plain: Any) -> None:
    found = given(**value)[min(value)]
    assert found == plain and type(found) is type(plain)
    json.dumps(found)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"seed": 2**32}, "seed=4294967296 is not valid: give a whole number of at least 0 and at most 4294967295"),
        ({"seed": -1}, "seed=-1 is"),
        ({"seed": 0.5}, "seed=0.5 is"),
        ({"seed": "0"}, "seed='0' is"),
        ({"seed": None}, "seed=None is"),
        ({"cv": "x"}, "cv='x' is not valid: give a whole number of at least 0"),
        ({"cv": True}, "cv=True is"),
        ({"folds": 1}, "folds=1 is not valid: give a whole number of at least 2"),
        ({"folds": float("nan")}, "folds=nan is"),
        ({"shard_rows": "8"}, "shard_rows='8' is not valid: give a whole number of at least 1, or None"),
        ({"predict_views": 0}, "predict_views=0 is"),
        ({"test_size": "0.2"}, "test_size='0.2' is not valid: give a number above 0 and below 1"),
        ({"test_size": 1}, "test_size=1 is"),
        ({"output": None}, "output=None is not valid: give the path of a file to write"),
        ({"max_failed": 1.5}, "max_failed=1.5 is not valid: give a number of at least 0 and at most 1"),
    ],
    ids=str,
)
def test_other_values_are_answered_in_one_line(value: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        given(**value)
    assert str(caught.value).startswith(words)


def test_a_training_takes_them_and_its_record_and_report_are_json(surfaces: Path, trained: dict[str, Any]) -> None:
    options = {"seed": np.int64(1), "cv": 3.0, "test_size": np.float32(0.25), "shard_rows": np.int64(8)}
    report = pipeline.train(
        str(surfaces), head_params={"temperature": np.float32(0.5)}, size=np.int64(96), **trained, **options
    )
    json.dumps(report)
    record = json.loads(Path(trained["model"]).with_suffix(".json").read_text())
    assert record["head_params"]["temperature"] == 0.5 and report["computed"] == 0
    compared = pipeline.compare(str(surfaces), heads=["centroid"], folds=np.int64(3), seed=np.int64(1),
                                cache_dir=trained["cache_dir"])  # fmt: skip
    json.dumps(compared)
    assert compared["folds"] == 3


def test_a_seed_that_numpy_does_not_take_is_refused_on_the_command_line(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    for words in (("train", "--head", "logreg"), ("compare",)):
        status, _, err = run(*words, "--seed", 2**32)
        assert status == 2 and "'--seed': 4294967296 is not in the range" in err and len(err.splitlines()) == 1


def test_the_home_of_the_user_is_meant_by_a_tilde(home: Path, surfaces: Path, trained: dict[str, Any]) -> None:
    shutil.copytree(surfaces, home / "photos")
    shutil.move(trained.pop("cache_dir"), home / "c")
    options = trained | {"cache_dir": "~/c", "model": Path("~/m/centroid.joblib")}
    report = pipeline.train("~/photos", **options)
    assert report["computed"] == 0 and report["model"] == str(home / "m" / "centroid.joblib")
    assert pipeline.evaluate("~/photos", "~/m/centroid.joblib", cache_dir="~/c")["forward_passes"] == 0
    for images in ("~/photos/brick", ["~/photos/brick/brick.0.png"], np.array(["~/photos/brick/brick.0.png"])):
        assert set(pipeline.predict(images, "~/m/centroid.joblib")) <= {"brick", "grass", "gravel"}
    assert pipeline.Featurizer(**SPEC, cache_dir="~/c").transform(["~/photos/brick/brick.0.png"]).shape == (1, 1280)
    assert os.listdir() == [] and {"c", "m", "photos"} <= {*os.listdir(home)}


def test_a_file_of_that_very_name_is_meant_first(home: Path, surfaces: Path, trained: dict[str, Any]) -> None:
    shutil.copytree(surfaces, "~/photos")
    assert pipeline.train("~/photos", **trained)["images"] == 36 and not home.exists()


def test_a_tilde_that_the_shell_has_left_is_the_home_too(
    home: Path, surfaces: Path, warm_cache: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    shutil.copytree(warm_cache, home / "c")
    status, _, _ = run("features", f"--data={surfaces}", "--cache-dir=~/c", "--json=~/r.json", "--backbone=nano")
    assert status == 0 and json.loads((home / "r.json").read_text())["computed"] == 0 and os.listdir() == []
