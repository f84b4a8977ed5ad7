"""What cannot be exported is refused in one line, and leaves nothing behind."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers.files.onnx_files import conv_net, saved
from helpers.models.exported import Trained

import pipeline
from cache.errors import UserError
from classify.exports.runtimes import run_exported
from classify.heads.head_arrays import ArrayHead
from classify.saved.classifier import Classifier


def refused(model: Any, output: Path, **options: Any) -> str:
    """Why an export is refused; its folder is as it was then."""
    before = contents(output.parent)
    with pytest.raises(UserError) as caught:
        pipeline.export_model(model, str(output), **options)
    assert contents(output.parent) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["animals", "animals.pb", "animals.onnx.json"])
def test_a_suffix_that_says_no_format(name: str, trained: Trained, tmp_path: Path) -> None:
    said = refused(trained(), tmp_path / name)
    assert "its suffix says no format: give one of .onnx, .tflite, .keras, .xml, or .zip" in said


@pytest.mark.parametrize(("suffix", "precision"), [("keras", "float16"), ("xml", "int8"), ("onnx", "float64")])
def test_weights_that_a_format_does_not_have(suffix: str, precision: str, trained: Trained, tmp_path: Path) -> None:
    assert f"precision '{precision}': .{suffix} has float32" in refused(
        trained(), tmp_path / f"a.{suffix}", precision=precision
    )


def test_an_output_that_would_overwrite_the_model(trained: Trained, tmp_path: Path) -> None:
    source = Path(trained())
    for suffix in (".joblib", ".json", ".npz"):
        (tmp_path / f"m.onnx{suffix}").write_bytes(source.with_suffix(suffix).read_bytes())
    said = refused(str(tmp_path / "m.onnx.joblib"), tmp_path / "m.onnx")
    assert f"{tmp_path / 'm.onnx.json'} would overwrite --model" in said


@pytest.mark.parametrize("name", ["mine.onnx", "mine.onnx.json", "mine.onnx.py"])
def test_a_file_of_somebody_else_stays(name: str, trained: Trained, tmp_path: Path) -> None:
    (tmp_path / name).write_text("three weeks of work")
    assert "is there and is no export of a model" in refused(trained(), tmp_path / "mine.onnx")


@pytest.mark.parametrize("option", [{"precision": "int8"}, {"accept": 0.9}, {"reject": 0.9}])
def test_what_a_bundle_does_not_take(option: Any, trained: Trained, tmp_path: Path) -> None:
    (name,) = option
    assert refused(trained(), tmp_path / "m.zip", **option).startswith(f"{name}: a bundle is the model as it is")
    (tmp_path / "m.zip").write_text("three weeks of work")
    assert "is there and is no bundle of a model" in refused(trained(), tmp_path / "m.zip")


def test_a_place_in_the_cache(trained: Trained) -> None:
    cache = Path(pipeline.load(trained()).extractor.cache_dir)
    assert "is a place of the cache" in refused(trained(), cache / "graphs" / "a.onnx")


@pytest.mark.parametrize("suffix", ["onnx", "tflite", "keras"])
def test_a_model_file_as_backbone_in_another_format(suffix: str, trained: Trained, tmp_path: Path) -> None:
    backbone = saved(conv_net(), tmp_path / "conv.onnx")
    model = trained(backbone=backbone, preprocess="scale=1/255 mean=0 std=1 crop=none")
    said = refused(model, tmp_path / f"a.{suffix}")
    assert "conv.onnx is a model file, which only --output FILE.xml can hold" in said


def test_an_export_that_is_not_the_model(trained: Trained, tmp_path: Path) -> None:
    classifier = pipeline.load(trained())
    head = classifier.saved.predictor
    assert isinstance(head, ArrayHead)
    ((kernel, bias),) = head.layers
    alike = np.repeat(kernel[:, :1], 3, axis=1) * [1, 1 + 1e-9, 1 + 2e-9]  # in float32 the classes are the same
    unfit = Classifier(
        replace(classifier.saved, predictor=replace(head, layers=[(alike, bias * 0)], temperature=1e-8)),
        classifier.extractor,
    )
    assert "is not the model: on" in refused(unfit, tmp_path / "new" / "deep" / "a.xml")
    assert not [*tmp_path.iterdir()]  # the folders that were made for it are gone


def test_a_package_that_is_not_installed_is_named(trained: Trained, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['tf2onnx'] = None\n"  # Python's way to say that it cannot be imported
        "from bottleneck_features.commands.main import main\n"
        f"main(['export', '--model', {trained()!r}, '--output', {str(tmp_path / 'a.onnx')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "tf2onnx is not installed: pip install tf2onnx, or all with '.[export]'"
    )
    assert not [*tmp_path.iterdir()]


def test_a_refusal_makes_no_folder(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^reject 0\.9999999: this share takes"):
        pipeline.export_model(trained(), str(tmp_path / "new" / "a.onnx"), reject=0.9999999)
    assert not [*tmp_path.iterdir()]


def test_a_folder_of_pictures_that_is_not_there(trained: Trained, tmp_path: Path) -> None:
    assert "nowhere" in refused(trained(), tmp_path / "a.xml", data=str(tmp_path / "nowhere"))


def test_a_file_that_its_runtime_does_not_load(tmp_path: Path) -> None:
    for suffix in ("onnx", "xml", "tflite"):
        path = tmp_path / f"damaged.{suffix}"
        path.write_bytes(b"no network")
        with pytest.raises(UserError, match="cannot be loaded by"):
            run_exported(str(path), np.zeros((1, 96, 96, 3), np.float32))
