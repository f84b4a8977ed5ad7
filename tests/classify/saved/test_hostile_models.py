"""Records and model files of somebody hostile, every digest right: one line, bounded time and memory."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import real_features
from helpers.models.model_records import RECORD, edit, refusal, saved_model, texture_head
from helpers.storage.cached_rows import keys

import pipeline
from cache.errors import UserError
from cache.row_key import FeatureSpec
from classify.heads.head_table import make_head
from classify.saved.model_files import record_path
from classify.saved.persist import load, save
from classify.saved.record import LARGEST

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return saved_model(tmp_path / "m.joblib", texture_head(), 240)


# ---- records


def write_record(model: str, text: bytes) -> None:
    Path(record_path(model)).write_bytes(text)


RECORDS: dict[str, Callable[[str], str]] = {
    "nested": lambda text: text.replace('"head_params": {}', '"head_params": ' + "[" * 200_000 + "]" * 200_000),
    "deep objects": lambda text: text.replace(
        '"head_params": {}', '"head_params": ' + '{"a":' * 5000 + "1" + "}" * 5000
    ),
    "infinite": lambda text: text.replace("0.5", "1e999"),
    "minus infinite": lambda text: text.replace("0.5", "-Infinity"),
    "not a number": lambda text: text.replace("0.5", "NaN"),
    "a long number": lambda text: text.replace("0.5", "9" * 5000),
    "a key twice": lambda text: text.replace('"head": "logreg"', '"head": "logreg", "head": "logreg"'),
    "too large": lambda text: text + " " * LARGEST,
    "UTF-16": lambda text: text.replace('"logreg"', '"\ud83d"'),
    "a key with control characters": lambda text: text.replace('"classes"', '"\\u001b[2Jclasses"'),
}


@pytest.mark.parametrize("record", RECORDS)
def test_records_that_are_no_record_are_refused(model: str, record: str) -> None:
    text = RECORDS[record](Path(record_path(model)).read_text())
    write_record(model, text.encode(errors="surrogatepass"))
    refusal(model)


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_dir": "/tmp/\0"},
        {"weights": {"kind": "file", "path": "a\0b"}},
        {"weights": {"kind": ["file"], "path": "/some.h5"}},
        {"weights": {"kind": "download", "path": "/some.h5"}},
        {"weights": {"kind": "file", "path": 0}},
        {"classes": ["a", "b", "c", 4]},
        {"training_counts": [1, 2, 3, "4"]},
        {"training_counts": [1, 2, 3, -4]},
        {"training_counts": [1, 2, 3, True]},
        {"training_counts": [1, 2, 3]},
        {"payload": {"sha256": "ab", "bytes": 3}},
        {"payload": {"sha256": 7, "bytes": 3}},
        {"arrays": {"sha256": "AB" * 32, "bytes": 3}},
        {"arrays": {"sha256": "ab" * 32}},
        {"fingerprint": "\x1b[2Jred\n"},
        {"arrays": None, "versions": {"scikit-learn": "\x1b[2J\nerror: all is well"}},
        {"arrays": None, "versions": {"scikit-learn": {"a": ["b"] * 1000}}},
        {"classes": ["\x1b[2J", "\n", "\r", "\0"]},
        {"format": "\x1b[2J"},
        {"head": "\x1b]0;title\x07"},
    ],
)  # fmt: skip
def test_fields_that_would_do_harm_are_refused_in_one_printable_line(model: str, fields: dict[str, Any]) -> None:
    edit(model, **fields)
    refusal(model)
    edit(model, by_hand=True, **fields)
    refusal(model)


def test_labels_with_control_characters_are_labels(tmp_path: Path) -> None:
    """As the folders of a training may have them."""
    X, y = real_features.textures()
    names = {"brick": "a\nb", "coins": "\x1b[2J", "grass": "d\0x", "gravel": "\udcff"}
    path = str(tmp_path / "m.joblib")
    save(path, make_head("logreg").fit(X, np.array([names[one] for one in y])), keys(240), RECORD)
    found = load(path)
    assert sorted(found.record["classes"]) == sorted(names.values()) and set(found.predictor.predict(X)) <= set(
        names.values()
    )


# ---- what is no regular file


@pytest.mark.parametrize("which", ["m.joblib", "m.json", "m.npz", "m.json.next", "m.npz.next"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "loop", "endless"])
def test_no_part_of_a_model_is_waited_for(model: str, which: str, kind: str) -> None:
    path = Path(model).parent / which
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/tty", "loop": which, "endless": "/dev/zero"}[kind])
    assert which in refusal(model)


def test_a_file_larger_than_the_memory_is_not_read(model: str) -> None:
    for which in ("m.joblib", "m.npz", "m.json"):
        path = Path(model).parent / which
        whole = path.read_bytes()
        os.truncate(path, 2**43)
        assert "more than" in refusal(model)
        path.write_bytes(whole)
    load(model)


@pytest.mark.parametrize(
    "name", ["a\0b.joblib", "/dev/zero", "/dev/null.joblib", "x" * 5000 + ".joblib", "/.joblib/x.joblib"]
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UserError):
        load(name)


@pytest.mark.parametrize("kind", ["fifo", "endless", "folder"])
def test_weights_that_the_record_points_at_are_not_waited_for(
    surfaces: Path, warm_cache: Path, tmp_path: Path, kind: str
) -> None:
    """Nor is anything else than a regular file read for its digest."""
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=str(warm_cache), backbone="nano")
    record = json.loads(Path(record_path(model)).read_text())
    places = {"fifo": tmp_path / "fifo.h5", "endless": Path("/dev/zero"), "folder": tmp_path}
    os.mkfifo(places["fifo"])
    spec = record["spec"] | {
        "backbone": "mobilenet_v2",
        "size": [96, 96],
        "preprocess": "mobilenet_v2",
        "layer": "out_relu",
    }
    weights = {"kind": "file", "path": str(places[kind])}
    save(
        model,
        load(model).estimator,
        keys(3),
        record | {"spec": spec, "fingerprint": FeatureSpec.from_json(spec).fingerprint, "weights": weights},
    )
    with pytest.raises(UserError, match="regular file"):
        pipeline.load(model, cache_dir=str(tmp_path / "cache"))


def test_a_cache_that_a_record_names_is_used_only_if_it_is_one(
    surfaces: Path, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=str(warm_cache), backbone="nano")
    assert pipeline.load(model).extractor.cache_dir == str(warm_cache)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    record = json.loads(Path(record_path(model)).read_text())
    save(model, load(model).estimator, keys(3), record | {"cache_dir": str(elsewhere)})
    classifier = pipeline.load(model)
    classifier.predict(str(surfaces / "brick" / "brick.0.png"), use_cache=True)
    assert os.listdir(elsewhere) == [] and os.listdir() == [".features"]
    for kept in (str(elsewhere), "/proc", "/"):
        assert pipeline.load(model, cache_dir=kept).extractor.cache_dir == kept  # asked for


def test_a_head_for_other_rows_than_its_spec_gives_is_one_line(
    surfaces: Path, warm_cache: Path, tmp_path: Path
) -> None:
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=str(warm_cache), backbone="nano")
    record = json.loads(Path(record_path(model)).read_text())
    X, y = real_features.textures()
    save(model, make_head("logreg").fit(X[:, :5], y), keys(3), record | {"training_counts": [1] * 4})
    for call in (pipeline.predict, pipeline.evaluate):
        with pytest.raises(UserError, match="rows of 5 features, those of its spec have 1280"):
            call(str(surfaces), model)
