"""Command lines as a cat on the keyboard types them: a status, at most one line that says `error:`, no traceback.

Each runs in this process, in a fresh copy of a folder of pictures with a warm cache and a model. The network is closed.
Not run are those that would leave that folder, or take minutes: `distil`, `demo`, the photographs of surfaces, networks
with random weights.
"""

import io
import logging
import os
import shutil
import tempfile
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random

import skimage
from fuzz.mutations import changed, pack, unpack
from PIL import Image

from bottleneck_features.commands.cache_commands import cache
from bottleneck_features.commands.main import main
from bottleneck_features.commands.model_commands import evaluate, predict
from bottleneck_features.commands.train_commands import features, train

TEMPLATE, WORK = "template", "work"
ON_PHOTOS = ["--data", "photos", "--backbone", "nano"]
LINES = [
    ["features", *ON_PHOTOS],
    ["features", *ON_PHOTOS, "--pooling", "max", "--size", "64", "--json", "report.json"],
    ["features", "--labels", "labels.csv", "--backbone", "nano", "--max-failed", "0"],
    ["train", *ON_PHOTOS, "--test-size", "0.5", "--seed", "3"],
    ["train", *ON_PHOTOS, "--head", "svm", "--head-params", "C=1.0", "--cv", "2", "--model", "models/svm.joblib"],
    ["train", "--data", "photos", "--backbone", "nano", "--label-pattern", r"(?P<label>\d)", "--search", "--refit"],
    ["train", "--labels", "labels.csv", "--path-column", "path", "--label-column", "label", "--backbone", "nano"],
    ["evaluate", "--data", "photos", "--head", "logreg", "--json", "report.json"],
    ["evaluate", "--data", "new", "--model", "models/logreg.joblib", "--allow-other-versions"],
    ["predict", "--images", "new", "--top-k", "2"],
    ["train", *ON_PHOTOS, "--views", "3", "--recipe", "rotation_range=40 zoom_range=0.2", "--predict-views", "2"],
    ["predict", "--no-cache", "photos/brick/0.png", "new/*.png"],
    ["cache", "ls", "--json"],
    ["cache", "verify", *ON_PHOTOS, "--sample", "2"],
    ["cache", "explain", "--backbone", "nano", "photos/brick/0.png"],
    ["cache", "gc", "--data", "new", "--shard-rows", "3", "--yes"],
    ["cache", "export", *ON_PHOTOS, "--output", "out.h5"],
    ["cache", "export", *ON_PHOTOS, "--output", "out.parquet"],
    ["cache", "push", "nas", "--backbone", "nano", "--check", "--merge"],
    ["cache", "pull", ".features", "--cache-dir", "fresh", "--most", "20KB", "--dry-run"],
    ["distil", "--help"],
    ["--version"],
    [],
]  # fmt: skip
VALUES = [
    "", "-", "--", "0", "1", "-1", "2", "7", "1e308", "nan", "inf", "0.5", "9" * 30, "96", "64x32", "1x1",
    "99999x99999", "photos", "new", "new/a.png", "new/broken.png", "labels.csv", "labels.parquet", ".features",
    "models", "models/logreg.joblib", "nothing", "nothing/at/all.h5", "nano", "mobilenet_v2", "my.keras", "avg", "max",
    "flatten", "head", "features", "input", "bf16", "openvino", "tensorflow", "svm", "knn", "centroid", "ridge",
    "C=nan", "C=0", "C='x'", "C=1 C=2", "path", "normalize=standard", "class_weight={'brick': 0}", "n_neighbors=99",
    "bilinear", "nearest", "(?P<label>.)", "(", "photos/*/*.png", "[", "é", "\udcff", "\x1b[2J", "\n", "a b", "'", "=",
]  # fmt: skip
LIKELY = {
    "--pooling": ["avg", "max", "flatten", "none"], "--stored": ["float32", "float16"],
    "--size": ["32", "64x48", "96"], "--resize": ["nearest", "bilinear"],
    "--engine": ["openvino", "auto"], "--precision": ["float32", "bf16"], "--cv": ["2", "3", "99"],
    "--head": ["svm", "knn", "ridge", "centroid", "sgd"],
    "--head-params": ["C=2", "n_neighbors=3", "alpha=0.1", "normalize=none", "normalize=standard C=7"],
    "--test-size": ["0.1", "0.9", "0", "1"], "--seed": ["7"], "--sample": ["1", "99"], "--shard-rows": ["1", "5"],
    "--max-failed": ["0", "0.01", "1"], "--cache-dir": [".features", "fresh", "labels.csv"],
    "--json": ["r.json", "models", "nothing/r.json"], "--model": ["m.joblib", "models/logreg.joblib", "m.h5"],
    "--labels": ["labels.csv"], "--label-pattern": [r"(?P<label>\d)", "(?P<label>[0-2])|."],
    "--data": ["photos", "new"], "--output": ["out.h5", "photos", "labels.csv/x.h5"], "--top-k": ["1", "2", "9"],
    "--images": ["new", "new/*5.png"], "--views": ["2", "3", "64"], "--predict-views": ["1", "2"],
    "--recipe": ["flip", "crops", "tutorial-breeds", "zoom_range=(0.5, 2)", "horizontal_flip=True fill_mode=constant"],
}  # fmt: skip
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "KERAS_HOME": "keras"}


def seeds() -> list[bytes]:
    """Lines of every command."""
    return [_packed(line) for line in LINES]


def _packed(words: list[str]) -> bytes:
    return pack([os.fsencode(word) for word in words])


def _words(data: bytes) -> list[str]:
    return [os.fsdecode(part.replace(b"\0", b"")) for part in unpack(data)]  # the system passes no NUL


def prepare(folder: str = TEMPLATE) -> None:
    """Two classes of small pictures, some new ones, a table of labels, a warm cache, a model."""
    for name in ("photos/brick", "photos/grass", "new"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    lines = ["path,label"]
    for name in ("brick", "grass"):
        with Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png") as photograph:
            for number in range(6):
                path = f"photos/{name}/{number}.png"
                crop = photograph.crop((number * 64, 0, number * 64 + 64, 64))
                crop.save(os.path.join(folder, path))
                crop.transpose(Image.Transpose.ROTATE_180).save(os.path.join(folder, f"new/{name}{number}.png"))
                lines.append(f"{path},{name}")
    Path(folder, "labels.csv").write_text("\n".join(lines))
    Path(folder, "new/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    here = os.getcwd()
    os.chdir(folder)
    status, _, err = _run(["train", *ON_PHOTOS])
    os.chdir(here)
    assert status == 0, err


def check(data: bytes) -> bool:
    """Whether the line was understood (status 0 or 1). Raises for any end but those that are promised."""
    words = _words(data)
    if _is_out_of_bounds(words):
        return False
    if not os.path.isdir(TEMPLATE):
        prepare()
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(TEMPLATE, WORK)
    here = os.getcwd()
    os.chdir(WORK)
    try:
        status, out, err = _run(words)
    finally:
        os.chdir(here)
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert status in (0, 1, 2, 130), status
    assert "Traceback" not in out + err, err
    assert len(errors) <= 1 and (status == 0 or errors or status == 1 or "Usage:" in err), (status, err)
    return status < 2


def _run(words: list[str]) -> tuple[int, str, str]:
    """(status, stdout, stderr) of a command line."""
    files = (tempfile.TemporaryFile(), tempfile.TemporaryFile())  # noqa: SIM115 - closed by `_text`
    out, err = (io.TextIOWrapper(file, "utf-8", write_through=True) for file in files)
    log = logging.getLogger("bottleneck")
    before = os.environ | {}
    os.environ |= OFFLINE
    urllib.request.install_opener(None)  # who has downloaded before has kept the proxies of that time
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(words)
    except SystemExit as ended:
        status = ended.code
    finally:
        log.handlers.clear()
        log.propagate = True
        os.environ.clear()
        os.environ |= before
        urllib.request.install_opener(None)
    return int(status or 0), *map(_text, (out, err))


def _text(stream: io.TextIOWrapper) -> str:
    with stream.buffer as file:
        file.seek(0)
        return file.read().decode(errors="replace")


def _is_out_of_bounds(words: list[str]) -> bool:
    outside = any(
        word.startswith(("/", "~")) or "=/" in word or "=~" in word or ".." in word or "random" in word
        for word in words
    )
    help_only = {"--help", "-h"} & set(words)
    slow = {"distil", "demo"} & set(words) and not help_only
    named = {"--data", "--labels", "--images"} & set(words) or any(word.startswith("new") for word in words)
    on_surfaces = {"features", "train", "evaluate", "predict", "export"} & set(words) and not named and not help_only
    return bool(outside or slow or on_surfaces)


def mutate(data: bytes, random: Random) -> bytes:
    """Another input, from one that was interesting."""
    words = _words(data) if random.random() < 0.5 else list(random.choice(LINES))
    for _ in range(random.choice([1, 1, 2, 3])):
        at = random.randrange(len(words) + 1)
        match random.choice([0, 0, 0, 0, 1, 2, 3, 4, 5, 6]):
            case 0:
                option = random.choice(_options(words))
                words += [option, random.choice(LIKELY.get(option, VALUES) if random.random() < 0.8 else VALUES)]
            case 1:
                words[at : at + 1] = [random.choice(VALUES)]
            case 2:
                words[at : at + 1] = [random.choice(_options(words))]
            case 3:
                del words[at : at + 1]
            case 4:
                words[at:at] = random.choice(LINES)[:2]
            case 5:
                words[at : at + 1] = [word[:1] + random.choice(VALUES) for word in words[at : at + 1]]
            case _:
                changes = [os.fsencode(word) for word in VALUES]
                words[at : at + 1] = _words(
                    pack([changed(os.fsencode(w), random, changes) for w in words[at : at + 1]])
                )
    return _packed(words)


def _options(words: list[str]) -> list[str]:
    """The options of the command that a line names."""
    command = {**COMMANDS, **cache.commands}.get(next((word for word in words if word != "cache"), ""), train)
    return [option for parameter in command.params for option in parameter.opts]


COMMANDS = {command.name: command for command in (features, train, evaluate, predict)}
SEEDS = seeds()
