"""Point 9: any file name works, in one stable order, through every command."""

import csv
import io
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from conftest import REPOSITORY
from reliability.conftest import Count, Figure
from reliability.harness.real_run import Run, converted, run

import pipeline
from classify.labels.label_names import label_of as label_spelled
from featurize.pictures.find_images import find_images

SPEC = ("--backbone", "nano", "--cache-dir", "cache")
NAMES = [
    b"new\nline",
    b"carriage\rreturn",
    b"'single'",
    b'"double"',
    b'"',
    b"-dash",
    b"--model",
    b" spaces ",
    b"com,ma;semicolon",
    b"\xff\xfe",
    b"caf\xe9",
    "caf\u00e9".encode(),
    "cafe\u0301".encode(),
    "\U0001f600 \u202e\u753b".encode(),
    b"tab\t\x01\x1b[31m\x7f",
    b"%s %d {x} $HOME ~ #",
    b"*[a]?",
    b"back\\slash\\n",
    b"a=b&c<d>|`e`",
    b"=1+1",
    b"a..",
]
LONG = 255  # bytes that a name may have
CLASSES = [
    b"new\nline",
    b'quo"te, com,ma',
    b"-dash",
    b"\xff\xfe",
    "\U0001f600".encode(),
    b" x ",
    b"x..",
    b"\ry",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, warm_cache: Path, photographs: Callable[[int], Path]) -> Path:
    """A working folder: photos/CLASS/NAME.jpg with every name, in classes with every name, and a cache."""
    tmp_path = tmp_path_factory.mktemp("names")
    converted(warm_cache, tmp_path / "cache")
    pictures = itertools.cycle(find_images(str(photographs(len(NAMES) + 2 + 6 * len(CLASSES)))).images)
    below = tmp_path / "photos"
    for number, name in enumerate([*NAMES, b"x" * (LONG - 4)]):
        put(next(pictures), below, CLASSES[number % len(CLASSES)], name)
    for number, name in enumerate(CLASSES * 6):
        put(next(pictures), below, name, b"%d" % number)
    put(next(pictures), below, CLASSES[0], b".")  # "..jpg": hidden
    return tmp_path


def put(picture: str, below: Path, folder: bytes, name: bytes) -> None:
    target = os.path.join(os.fsencode(below), folder, name + b".jpg")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy(os.fsencode(picture), target)


def listed(folder: Path) -> list[bytes]:
    """Every path of a picture, as bytes, below the working folder, in the order of bytes."""
    found = []
    for path, _, names in os.walk(os.fsencode(folder / "photos")):
        found += [os.path.relpath(os.path.join(path, name), os.fsencode(folder)) for name in names]
    return sorted(path for path in found if not os.path.basename(path).startswith(b"."))


def table(run: Run) -> list[dict[bytes, bytes]]:
    """The CSV on stdout, as bytes."""
    text = io.StringIO(run.out.decode("utf-8", "surrogateescape"), newline="")
    return [{os.fsencode(k): os.fsencode(v) for k, v in row.items()} for row in csv.DictReader(text)]


def label_of(folder: bytes) -> bytes:
    """The label that a folder's name spells: text, without white space at its ends."""
    return label_spelled(os.fsdecode(folder)).encode()


def ok(run: Run) -> Run:
    assert run.status == 0, run.err
    return run


@pytest.fixture(scope="module")
def trained(folder: Path) -> Run:
    """The command that has left the model m.joblib in the folder."""
    return ok(run(folder, "train", "--data", "photos", "--model", "m.joblib", "--refit", *SPEC))


def test_any_name_goes_through_every_command(folder: Path, trained: Run, count: Count, figure: Figure) -> None:
    paths, classes = listed(folder), sorted(map(label_of, CLASSES))
    labels = {path: label_of(path.split(b"/")[1]) for path in paths}
    bad = folder / "photos" / os.fsdecode(CLASSES[3]) / 'bad\n\udcff,".jpg'
    bad.write_bytes(b"")
    features = ok(run(folder, "features", "--data", "photos", *SPEC))
    assert [features.report[name] for name in ("images", "failed", "computed")] == [len(paths) + 1, 1, 0]
    assert os.fsencode(features.report["failures"][0]["path"]) == os.fsencode(bad.relative_to(folder))
    assert b"\x1b" not in features.out and b"\x1b" not in features.err
    bad.unlink()

    assert [os.fsencode(name) for name in trained.report["classes"]] == classes
    model = pipeline.load(str(folder / "m.joblib"), cache_dir=str(folder / "cache"))
    assert [os.fsencode(name) for name in model.classes_] == classes
    for file in ("m.classes.csv", "m.confusion.csv"):
        text = (folder / file).read_bytes()
        assert all(name in text or name.replace(b'"', b'""') in text for name in classes), file

    predicted = table(ok(run(folder, "predict", "--images", "photos", "--model", "m.joblib", report=False)))
    assert [row[b"path"] for row in predicted] == paths
    assert {row[b"label"] for row in predicted} <= set(classes)
    top = table(ok(run(folder, "predict", "--top-k", "3", "--model", "m.joblib", "--", *paths, report=False)))
    assert [row[b"path"] for row in top] == [path for path in paths for _ in range(3)]
    best = model.top_k([os.fsdecode(os.path.join(os.fsencode(folder), path)) for path in paths], 3)
    assert [os.fsencode(label) for label in best["label"]] == [row[b"label"] for row in top]

    scored = run(folder, "evaluate", "--data", "photos", "--model", "m.joblib")
    assert scored.status == 2  # every picture was trained on
    others = folder / "others"
    shutil.copytree(folder / "photos", others)
    for path in others.glob("*/*"):
        with path.open("ab") as file:
            file.write(b"\0")  # other bytes, the same picture
    scored = ok(run(folder, "evaluate", "--data", "others", "--model", "m.joblib"))
    assert [os.fsencode(name) for name in scored.report["classes"]] == classes

    assert pipeline.export(
        str(folder / "photos"), str(folder / "all.h5"), backbone="nano", cache_dir=str(folder / "cache")
    )
    with h5py.File(folder / "all.h5") as file:
        exported = {os.path.relpath(p, os.fsencode(folder)): label for p, label in zip(*texts(file), strict=True)}
    assert exported == labels
    for path in paths[: count(len(paths), 3)]:
        explained = run(folder, "cache", "explain", *SPEC, "--", path, report=False)
        assert explained.status == 0, (path, explained.err, explained.out)
    figure(
        9,
        f"{len(paths)} files of {len(NAMES) + 1} strange names in {len(classes)} strange folders: features, train, "
        "predict, evaluate, export, explain give the same bytes",
    )


def texts(file: h5py.File) -> tuple[list[bytes], list[bytes]]:
    return list(file["paths"][()]), list(file["labels"][()])


@pytest.mark.usefixtures("trained")
def test_names_on_the_command_line_from_within_their_folder(folder: Path, count: Count) -> None:
    here = folder / "here"
    here.mkdir()
    names = [*(name + b".jpg" for name in NAMES), b"x" * (LONG - 4) + b".jpg", b"..jpg"]
    for name, path in zip(names, listed(folder), strict=False):
        shutil.copy(os.path.join(os.fsencode(folder), path), os.path.join(os.fsencode(here), name))
    rows = table(ok(run(here, "predict", "--model", "../m.joblib", "--", *names, report=False)))
    assert [row[b"path"] for row in rows] == names
    for name in names[: count(len(names), 3)]:  # one at a time, as make and scripts pass them
        rows = table(ok(run(here, "predict", "--model", "../m.joblib", b"--images=" + name, report=False)))
        assert [row[b"path"] for row in rows] == [name]


def test_names_in_a_table_of_labels(folder: Path) -> None:
    paths = [path for path in listed(folder) if path.decode(errors="ignore").encode() == path]  # a table is UTF-8
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)  # spaces after a comma are none of the path without
        writer.writerow(["path", "label"])
        writer.writerows(
            [os.fsdecode(path).removeprefix("photos/"), f"{number % 2}"] for number, path in enumerate(paths)
        )
    trained = ok(run(folder, "train", "--data", "photos", "--labels", "labels.csv", "--model", "t.joblib", *SPEC))
    assert (trained.report["images"], trained.report["failed"]) == (len(paths), 0)
    assert trained.report["classes"] == ["0", "1"]


@pytest.mark.usefixtures("trained")
def test_names_through_make(folder: Path, count: Count) -> None:
    names = [path for path in listed(folder) if b"\r" not in path]
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make")
    shim = folder / ".venv"
    (shim / "bin").mkdir(parents=True)
    (shim / ".installed").touch()
    (shim / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (shim / "bin" / "python").chmod(0o755)
    for name in names[:: count(1, len(names) - 1)]:
        made = subprocess.run(
            [make, "-s", "-f", str(REPOSITORY / "Makefile"), "-o", ".venv/.installed", "predict"],
            cwd=folder,
            env=os.environb | {b"PYTHONPATH": os.fsencode(REPOSITORY), b"IMAGES": name, b"MODEL": b"m.joblib"},
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, (name, made.stderr)
        rows = csv.DictReader(io.StringIO(made.stdout.decode("utf-8", "surrogateescape"), newline=""))
        assert [os.fsencode(row["path"]) for row in rows] == [name]


def test_100_000_files_list_twice_alike(tmp_path: Path, count: Count, figure: Figure) -> None:
    number = count(100_000, 5_000)
    for part in range(10):
        (tmp_path / f"{part}").mkdir()
        for name in range(number // 10):
            os.close(os.open(tmp_path / f"{part}" / f"{name}.jpg", os.O_CREAT | os.O_WRONLY))
    start = time.perf_counter()
    first = find_images(str(tmp_path))
    seconds = time.perf_counter() - start
    assert first == find_images(str(tmp_path))
    assert len(first.images) == number
    assert first.images == sorted(first.images, key=os.fsencode)
    figure(9, f"{number:,} files listed in {seconds:.1f} s, twice alike")
