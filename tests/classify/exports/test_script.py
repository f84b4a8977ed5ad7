"""The script beside an export: the pixels of our decoder, and our answers, from numpy, Pillow and the runtime alone."""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.clean_environments import as_here, environment, run_alone
from helpers.kinds_of_photographs import write_all
from helpers.models.exported import Trained

import pipeline
from classify.exports.about import About, Accept, Reject, side_files, write_about
from classify.exports.inputs import Input
from classify.exports.script import write_script
from featurize.decoding.decode import decode
from featurize.pictures.sources import expand, read

Exported = Callable[[str], str]

ACCEPT, REJECT = 0.8, 0.9
WAYS = ["nearest", "bilinear", "bicubic-short128-floor", "bilinear-short128-round", "lanczos-squash"]
WAYS += ["bicubic-squash120x130-round"]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_all(tmp_path_factory.mktemp("kinds") / "photographs")


@pytest.fixture(scope="session")
def model(trained: Trained) -> str:
    return trained()


@pytest.fixture(scope="session")
def exported(model: str, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Export the model to a format, once a session: suffix -> path of the export."""
    folder = tmp_path_factory.mktemp("exported")

    def export(suffix: str) -> str:
        output = str(folder / f"surfaces{suffix}")
        if not os.path.exists(output):
            pipeline.export_model(model, output, accept=ACCEPT, reject=REJECT)
        return output

    return export


@pytest.mark.parametrize(("resize", "side"), [("antialias", 96), ("antialias", 40), *((way, 96) for way in WAYS)])
def test_its_pixels_are_those_of_our_decoder(
    model: str, exported: Exported, photographs: list[str], tmp_path: Path, resize: str, side: int
) -> None:
    plain = About.of(pipeline.load(model), "onnx", "float32", None, None)
    about = replace(plain, inputs=(Input("pixels", (side, side), resize),))
    output = str(shutil.copy(exported(".onnx"), tmp_path / "surfaces.onnx"))
    write_about(output, about, {})
    write_script(output, about)
    pixels_of = runpy.run_path(side_files(output)[1])["pixels_of"]
    allowed = {"antialias": 1, "bilinear": 0.01}.get(resize, 0)  # steps of 255
    for path in photographs[::4]:  # all kinds
        ours, theirs = decode(read(path), (side, side), resize), pixels_of(path)
        assert theirs.shape == (1, *ours.shape) and theirs.dtype == np.float32
        assert np.abs(theirs[0] - ours).max() <= allowed, path


def test_its_decisions_are_those_of_the_thresholds(
    model: str, exported: Exported, surfaces: Path, tmp_path: Path
) -> None:
    paths = sorted(map(str, surfaces.glob("*/*.png")))
    classifier = pipeline.load(model)
    answers = classifier.answers(expand(paths), reject=REJECT)
    probabilities, distances = answers.probabilities.max(axis=1), answers.distances
    labels = answers.probabilities.argmax(axis=1)
    assert distances is not None
    middle = [float(np.median(probabilities[labels == code])) for code in range(3)]
    limit = float(np.quantile(distances, 0.7))
    accept, reject = Accept(ACCEPT, (middle[0], None, middle[2])), Reject(REJECT, limit)
    about = replace(About.of(classifier, "onnx", "float32", None, None), accept=accept, reject=reject)
    output = str(shutil.copy(exported(".onnx"), tmp_path / "surfaces.onnx"))
    write_script(output, about)
    for of_accept, of_reject in ((accept, reject), (accept, None), (None, reject), (None, None)):
        write_about(output, replace(about, accept=of_accept, reject=of_reject), {})
        classify = runpy.run_path(side_files(output)[1])["classify"]
        found = []
        for path, probability, distance, code in zip(paths, probabilities, distances, labels, strict=True):
            threshold = accept.thresholds[code]
            if min(abs(probability - (threshold or 2)), abs(distance - limit)) < 1e-3:
                continue  # rounding may decide
            expected = ""
            if of_reject and distance > limit:
                expected = "unknown"
            elif of_accept:
                expected = "accept" if threshold is not None and probability >= threshold else "review"
            label, _, decision = classify(path)
            assert (label, decision) == (classifier.classes_[code], expected)
            found.append(decision)
        every = {"unknown"} if of_reject else set()
        assert {*found} == every | ({"accept", "review"} if of_accept else {""})


def test_it_ends_quietly_where_nobody_reads_on(exported: Exported, surfaces: Path) -> None:
    paths = sorted(map(str, surfaces.glob("*/*.png")))
    command = [sys.executable, side_files(exported(".onnx"))[1], *paths]
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


def check_answers(model: str, paths: list[str], words: Sequence[object], folder: Path) -> None:
    """What a python says that is run with the words and the paths is what the model says, in one view."""
    done = run_alone(Path(str(words[0])), [*words[1:], *paths], folder)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    classifier = pipeline.load(model, predict_views=1)
    table = classifier.top_k(paths, 1, accept=ACCEPT, reject=REJECT)
    unknown = table["label"].isna()
    labels = table["label"].where(~unknown, table["would_be_label"]).tolist()
    probabilities = table["probability"].where(~unknown, table["would_be_probability"]).to_numpy()
    assert [line[0] for line in lines] == paths
    assert [line[1] for line in lines] == labels
    assert np.abs(np.array([float(line[2]) for line in lines]) - probabilities).max() < 0.01
    about = About.of(classifier, "onnx", "float32", ACCEPT, REJECT)
    assert about.accept and about.reject
    thresholds = np.array([about.accept.thresholds[about.labels.index(label)] for label in labels], float)
    clear = (np.abs(probabilities - thresholds) > 0.01) & (np.abs(table["distance"] - about.reject.limit) > 0.01)
    decisions = table["decision"].to_numpy()
    assert clear.mean() > 0.5 and "unknown" in decisions[clear]
    assert [line[3] for line, sure in zip(lines, clear, strict=True) if sure] == decisions[clear].tolist()


def test_it_answers_as_the_model_where_nothing_else_is_installed(
    model: str, exported: Exported, photographs: list[str], surfaces: Path, tmp_path: Path
) -> None:
    python = environment(tmp_path / "alone", as_here("numpy", "pillow", "onnxruntime"))
    paths = [*photographs, *map(str, sorted(surfaces.glob("*/*.png")))]
    check_answers(model, paths, [python, side_files(exported(".onnx"))[1]], tmp_path)


@pytest.mark.parametrize("suffix", [".tflite", ".keras", ".xml"])
def test_in_every_runtime_it_answers_as_the_model(
    model: str, exported: Exported, photographs: list[str], surfaces: Path, tmp_path: Path, suffix: str
) -> None:
    paths = [*photographs[::8], *map(str, sorted(surfaces.glob("*/*.png")))]
    check_answers(model, paths, [sys.executable, side_files(exported(suffix))[1]], tmp_path)


def test_real_photographs_get_the_labels_of_the_model(
    model: str, exported: Exported, shared: Path, tmp_path: Path
) -> None:
    found = [path for path in sorted((shared / "images").glob("*/*/**/*.jp*g")) if path.is_file()]
    script = side_files(exported(".onnx"))[1]
    check_answers(model, [str(path) for path in found[:: len(found) // 200][:200]], [sys.executable, script], tmp_path)


def test_a_picture_that_cannot_be_read_is_said_and_the_others_are_answered(
    exported: Exported, photographs: list[str], tmp_path: Path
) -> None:
    broken, deep = tmp_path / "broken.jpg", tmp_path / "deep.png"
    broken.write_bytes(Path(photographs[0]).read_bytes()[:300])
    from PIL import Image

    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(deep)
    script = side_files(exported(".onnx"))[1]
    done = run_alone(Path(sys.executable), [script, broken, deep, tmp_path / "none.jpg", photographs[0]], tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [photographs[0]]
    said = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in said] == [str(broken), str(deep), str(tmp_path / "none.jpg")]
    assert "more than 8 bits" in said[1]


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_the_files_of_an_export_are_renamed_together(
    exported: Exported, photographs: list[str], tmp_path: Path, suffix: str
) -> None:
    name = "it's {new}. "
    for path in Path(exported(suffix)).parent.glob("surfaces.*"):
        shutil.copy(path, tmp_path / path.name.replace("surfaces", name))
    words = [side_files(str(tmp_path / f"{name}{suffix}"))[1], photographs[0]]
    done = run_alone(Path(sys.executable), words, tmp_path)
    expected = run_alone(Path(sys.executable), [side_files(exported(suffix))[1], photographs[0]], tmp_path)
    assert (done.returncode, done.stdout) == (0, expected.stdout), done.stderr


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".keras", ".xml"])
@pytest.mark.parametrize("missing", ["{}.json", "{}"])
def test_what_lies_not_beside_it_is_said_in_one_line(
    exported: Exported, photographs: list[str], tmp_path: Path, suffix: str, missing: str
) -> None:
    for path in Path(exported(suffix)).parent.glob("surfaces.*"):
        shutil.copy(path, tmp_path)
    gone = tmp_path / missing.format(f"surfaces{suffix}")
    gone.unlink()
    done = run_alone(Path(sys.executable), [tmp_path / f"surfaces{suffix}.py", photographs[0]], tmp_path)
    said = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (1, "") and "Traceback" not in done.stderr
    assert str(gone) in said and "It takes that file and its description (.json), named as this one is" in said


def test_a_runtime_that_is_not_installed_is_said_in_one_line(exported: Exported, tmp_path: Path) -> None:
    script = side_files(exported(".onnx"))[1]
    code = f"import sys, runpy; sys.modules['onnxruntime'] = None; runpy.run_path({script!r}, run_name='__main__')"
    done = run_alone(Path(sys.executable), ["-c", code], tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "onnxruntime" in done.stderr and done.stderr.endswith("pip install numpy pillow onnxruntime\n")
