"""Outputs that would destroy an input, another output or the cache are refused, in one line, before any work."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from conftest import SPEC
from PIL import Image

import pipeline
from cache.errors import UserError
from featurize.outputs import check_outputs, inputs_of, named

Run = Callable[..., tuple[int, str, str]]
OPTIONS = [word for name, value in SPEC.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def trained(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with photos, their cache .features, a table, and a trained model."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(warm_cache, folder / ".features")
    photos = Path(shutil.copytree(surfaces, folder / "photos"))
    rows = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]))
    cache = str(folder / ".features")
    pipeline.train(str(photos), model=str(folder / "models" / "m.joblib"), cache_dir=cache, **SPEC)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in, the current folder."""
    folder = shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(folder)
    return Path(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but those that only save time."""
    files = [path for path in folder.rglob("*") if path.is_file() and "digests.sqlite" not in path.name]
    return {str(path): path.read_bytes() for path in files if not path.name.endswith(".lock")}


TRAIN = ["train", "--data", "photos", "--model", "models/m.joblib"]
BY_TABLE = ["--data", "photos", "--labels", "labels.csv"]
CACHED = "mobile"  # stands for the folder of the spec in the cache

PAIRS = {
    "train: record": [*TRAIN, "--json", "models/m.json"],
    "train: model": [*TRAIN, "--json", "./models/../models/m.joblib"],
    "train: arrays": [*TRAIN, "--json", "models/m.npz"],
    "train: table of the model": [*TRAIN, "--json", "models/m.classes.csv"],
    "train: kept model": [*TRAIN, "--json", "models/m.previous.json"],
    "train: a record to be": ["train", "--data", "photos", "--model", "new.joblib", "--json", "new.json"],
    "train: folder of a model to be": ["train", "--data", "photos", "--model", "new/m.joblib", "--json", "new"],
    "train: the table": ["train", *BY_TABLE, "--model", "m.joblib", "--json", "labels.csv"],
    "train: model over the table": ["train", "--data", "photos", "--labels", "t.classes.csv", "--model", "t.joblib"],
    "train: deleted table": ["train", "--data", "photos", "--labels", "t.search.csv", "--model", "t.joblib"],
    "train: weights": [*TRAIN, "--weights", "w.h5", "--json", "w.h5"],
    "train: joined weights": [*TRAIN, "--backbone", "vgg16+nano", "--weights", "w.h5+", "--json", "w.h5"],
    "train: own model": [*TRAIN, "--backbone", "x.keras", "--json", "x.keras"],
    "train: curves": [*TRAIN, "--head", "dense", "--tensorboard", "runs", "--json", "runs"],
    "train: cache to be": [*TRAIN, "--cache-dir", "new", "--json", "new"],
    "train: a cache around": [*TRAIN, "--cache-dir", "new/cache", "--json", "new"],
    "train: a picture": [*TRAIN, "--json", "photos/brick/brick.0.png"],
    "train: a picture to be": [*TRAIN, "--json", "photos/report.PNG"],
    "features: digests": ["features", "--data", "photos", "--json", ".features/digests.sqlite"],
    "features: spec": ["features", "--data", "photos", "--json", f".features/{CACHED}/spec.json"],
    "features: shard": ["features", "--data", "photos", "--json", f".features/{CACHED}/report.h5"],
    "features: graphs": ["features", "--data", "photos", "--json", ".features/graphs/report.json"],
    "features: table": ["features", *BY_TABLE, "--json", "labels.csv"],
    "evaluate: record": ["evaluate", "--data", "photos", "--model", "models/m.joblib", "--json", "models/m.json"],
    "evaluate: its report": [
        *["evaluate", "--data", "photos", "--model", "models/m.joblib"],
        *["--json", "models/m.evaluation.json"],
    ],
    "evaluate: table": ["evaluate", *BY_TABLE, "--model", "models/m.joblib", "--json", "labels.csv"],
    "evaluate: table that it writes": [
        *["evaluate", "--data", "photos", "--model", "models/m.joblib"],
        *["--labels", "models/m.evaluation.classes.csv"],
    ],
    "report: record": ["report", "--data", "photos", "--model", "models/m.joblib", "--output", "models/m.json"],
    "report: table": ["report", *BY_TABLE, "--model", "models/m.joblib", "--output", "labels.csv"],
    "report: picture": ["report", "--data", "photos", "--model", "models/m.joblib", "--output", "photos/a.jpg"],
    "report: notes": ["report", "--data", "photos", "--model", "models/m.joblib", "--output", "notes.html"],
    "train: another model": [*TRAIN, "--json", "models/svm.joblib"],
    "train: record of another model": [*TRAIN, "--json", "models/svm.json"],
    "train: arrays of another model": [*TRAIN, "--json", "models/svm.npz"],
    "features: another table": ["features", "--data", "photos", "--json", "far.csv"],
    "features: annotations": ["features", "--data", "photos", "--json", "instances.json"],
    "evaluate: another evaluation": [
        *["evaluate", "--data", "photos", "--model", "models/m.joblib"],
        *["--json", "models/svm.evaluation.json"],
    ],
    "compare: a picture elsewhere": ["compare", "--data", "photos", "--output", "elsewhere.png"],
    "export: a model": ["cache", "export", "--data", "photos", "--output", "models/svm.npz"],
    "export: other weights": ["cache", "export", "--data", "photos", "--output", "w.h5"],
    "compare: each other": ["compare", "--data", "photos", "--output", "a.svg", "--json", "a.svg"],
    "compare: table": ["compare", *BY_TABLE, "--json", "labels.csv"],
    "compare: picture to be": ["compare", "--data", "photos", "--output", "photos/heads.png"],
    "compare: picture of a table": ["compare", "--labels", "far.csv", "--output", "photos/brick/brick.0.png"],
    "compare: picture beside a table": ["compare", "--labels", "sub/far.csv", "--output", "photos/brick/brick.0.png"],
    "export: table": ["cache", "export", *BY_TABLE, "--output", "labels.csv"],
    "export: shard": ["cache", "export", "--data", "photos", "--output", f".features/{CACHED}/all.h5"],
    "export: weights": ["cache", "export", "--data", "photos", "--weights", "w.h5", "--output", "w.h5"],
    "export: own model": ["cache", "export", "--data", "photos", "--backbone", "x.keras", "--output", "x.keras"],
    "demo: record": ["demo", "--json", "models/demo.json"],
    "demo: picture": ["demo", "--json", "surfaces-right-and-wrong.png"],
    "demo: in its data": ["demo", "--json", "surfaces/train.png"],
    "distil: teacher": ["distil", "--data", "photos", "--backbone", "x.keras", "--output", "x.keras"],
    "distil: each other": ["distil", "--data", "photos", "--output", "y.keras", "--json", "y.keras"],
    "distil: checkpoint": ["distil", "--data", "photos", "--output", "y.keras", "--json", "y/checkpoint.npz"],
    "distil: work folder": ["distil", "--data", "photos", "--output", "photos.keras"],
}


@pytest.mark.parametrize("words", PAIRS.values(), ids=PAIRS)
def test_every_pair_is_refused_and_nothing_is_touched(run: Run, folder: Path, words: list[str]) -> None:
    for name in ("t.classes.csv", "t.search.csv", "models/m.evaluation.classes.csv"):
        shutil.copy("labels.csv", name)
    for name in ("w.h5", "x.keras", "notes.html"):
        Path(name).write_text("hours of work")
    shutil.copy("photos/brick/brick.0.png", "elsewhere.png")
    for suffix in (".joblib", ".json", ".npz"):
        shutil.copy(f"models/m{suffix}", f"models/svm{suffix}")
    Path("models/svm.evaluation.json").write_text('{"failures": []}')
    Path("instances.json").write_text('{"images": [], "annotations": []}')
    os.mkdir("sub")
    for table, above in (("far.csv", ""), ("sub/far.csv", "../")):
        lines = [f"{above}photos/{name}/{name}.{i}.png,{name}" for name in ("brick", "grass") for i in range(12)]
        Path(table).write_text("\n".join(["path,label", *lines]))
    (spec,) = [path.name for path in Path(".features").iterdir() if (path / "spec.json").exists()]
    before = contents(folder)
    if "--backbone" not in words and words[0] in ("train", "features", "cache"):
        words = [*words, *OPTIONS]
    status, out, err = run(*[word.replace(CACHED, spec) for word in words])
    assert status == 2 and not out, err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "name another" in line or "write it elsewhere" in line
    assert contents(folder) == before


@pytest.mark.parametrize("link", ["folder", "file", "hard", "case"])
def test_other_spellings_are_seen_through(run: Run, folder: Path, link: str) -> None:
    if link == "folder":
        Path("elsewhere").symlink_to("models")
        path = "elsewhere/m.json"
    elif link == "case":  # such a file is not there: on some file systems it would be the other one
        path = "models/M.Previous.JSON"
    else:
        path = "report.json"
        if link == "file":
            Path(path).symlink_to("models/m.json")
        else:
            os.link("models/m.json", path)
    before = contents(folder)
    status, _, err = run(*TRAIN, "--json", path, *OPTIONS)
    assert status == 2 and "would overwrite --model models/m" in err and contents(folder) == before


@pytest.mark.usefixtures("folder")
def test_what_harms_nothing_is_written(run: Run) -> None:
    """Beside the data and in it, in the cache's folder but under names that are nobody's, and over older reports."""
    for json_file in ("photos/report.json", ".features/report.json", "runs/report.json", "report.json", "report.json"):
        status, _, err = run(*TRAIN, "--json", json_file, *OPTIONS)
        assert status == 0 and Path(json_file).read_text().startswith("{"), err
    status, _, err = run("evaluate", "--data", "photos", "--model", "models/m.joblib", "--json", "report.json")
    assert status == 0, err
    Path("report.html").touch()
    for _ in range(2):
        assert run("report", "--data", "photos", "--model", "models/m.joblib")[0] == 0
    for _ in range(2):
        assert run("compare", "--data", "photos", "--heads", "ridge", "--output", "heads.png")[0] == 0
    status, _, err = run("features", "--data", "photos", "--cache-dir", ".", "--json", "out/report.json", *OPTIONS)
    assert status == 0, err


def test_from_python_the_same_outputs_are_refused(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(UserError, match=r"--output models/m\.npz would overwrite --model"):
        pipeline.report("photos", "models/m.joblib", "models/m.npz")
    with pytest.raises(UserError, match=r"--output labels\.csv would overwrite --labels"):
        pipeline.export("photos", "labels.csv", labels="labels.csv", **SPEC)
    with pytest.raises(UserError, match="would be taken for a picture"):
        pipeline.export("photos", "photos/a.png", **SPEC)
    shutil.copy("labels.csv", "t.confusion.csv")
    with pytest.raises(UserError, match=r"t\.confusion.csv would overwrite --labels"):
        pipeline.train("photos", model="t.joblib", labels="t.confusion.csv", **SPEC)
    os.unlink("t.confusion.csv")
    assert contents(folder) == before
    pipeline.export("photos", "rows.h5", **SPEC)
    with h5py.File("rows.h5") as file:
        assert len(file["features"]) == 36


def test_an_own_model_as_weights_is_an_input_wherever_it_is_named() -> None:
    with pytest.raises(UserError, match="would overwrite --weights"):
        check_outputs(named("--json", __file__), inputs_of({"weights": f"+{__file__}"}))
    check_outputs(named("--json", __file__), inputs_of({"weights": "random", "labels": object()}))


@pytest.mark.usefixtures("folder")
def test_an_example_draws_nothing_into_its_data() -> None:
    from examples.flowers import PHOTOGRAPHS, flowers
    from examples.shared import example

    with pytest.raises(SystemExit) as ended:
        example("flowers", flowers, PHOTOGRAPHS, "nano", arguments=["--data", "photos", "--output", "photos/results"])
    assert ended.value.code == 2 and not Path("photos/results").exists()
    Image.open("photos/brick/brick.0.png").verify()
