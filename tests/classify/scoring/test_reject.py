"""Predictions that leave out what is unlike the training pictures: in Python, on the command line, elsewhere."""

import csv
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from conftest import BUNDLED, SPEC
from helpers.models.fine_tuned import fitted, save_model
from helpers.models.model_records import refusal, replace_arrays

import pipeline
from cache.errors import UserError
from classify.answers import COLUMNS, OF_REJECTION
from classify.saved.model_files import arrays_path
from classify.saved.npz import read_arrays, write_arrays
from featurize.extract.outcome import Digests

FOREIGN = [str(BUNDLED / name) for name in ("astronaut.png", "rocket.jpg", "retina.jpg", "page.png", "chelsea.png")]


@pytest.fixture(scope="module")
def folder(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache, and models of three heads that were trained from it."""
    folder = tmp_path_factory.mktemp("rejecting")
    shutil.copytree(warm_cache, folder / "cache")
    for head in ("logreg", "knn", "centroid"):
        pipeline.train(
            str(surfaces), head, model=str(folder / f"{head}.joblib"), cache_dir=str(folder / "cache"), **SPEC
        )
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> str:
    return str(folder / "logreg.joblib")


@pytest.fixture
def damaged(tmp_path: Path) -> str:
    path = tmp_path / "damaged.png"
    path.write_bytes(b"no picture")
    return str(path)


def known_pictures(surfaces: Path) -> list[str]:
    return sorted(str(path) for path in surfaces.glob("*/*.png"))


@pytest.mark.parametrize("head", ["logreg", "knn", "centroid"])
def test_foreign_pictures_have_no_label_and_known_ones_keep_theirs(head: str, folder: Path, surfaces: Path) -> None:
    model, known = str(folder / f"{head}.joblib"), known_pictures(surfaces)
    plain = pipeline.predict(known + FOREIGN, model)
    labels = pipeline.predict(known + FOREIGN, model, reject=0.95)
    assert None not in plain
    assert (labels[: len(known)] == plain[: len(known)]).mean() >= 0.9
    assert list(labels[len(known) :]) == [None] * len(FOREIGN)
    assert np.isnan(pipeline.predict_proba(FOREIGN, model, reject=0.95)).all()
    assert not np.isnan(pipeline.predict_proba(FOREIGN, model)).any()


def test_more_is_rejected_the_fewer_are_to_be_kept(model: str, surfaces: Path) -> None:
    known = known_pictures(surfaces)
    kept = [
        sum(label is not None for label in pipeline.predict(known, model, reject=reject))
        for reject in (0.1, 0.5, 0.9, 0.96)
    ]
    assert kept == sorted(kept) and kept[0] < kept[-1]


def test_the_reason_tells_unknown_from_damaged(
    model: str, surfaces: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = known_pictures(surfaces)[5]
    table = pipeline.top_k([damaged, FOREIGN[0], good], model, k=2, reject=0.96)
    assert list(table.columns) == [*COLUMNS, *OF_REJECTION]
    assert list(table["path"]) == [damaged, FOREIGN[0], good, good] and list(table["rank"]) == [1, 1, 1, 2]
    bad, unknown, *answered = table["reason"]
    assert "unknown" not in bad and bad and unknown.startswith("unknown: distance 0.") and answered == ["", ""]
    assert table["label"].isna().tolist() == [True, True, False, False]
    damage, foreign = caplog.messages
    assert damaged in damage and FOREIGN[0] in foreign and "1 of 2" in foreign
    assert list(pipeline.top_k([good], model).columns) == [*COLUMNS]


def test_the_command_says_why_in_a_column(
    model: str, surfaces: Path, damaged: str, run: Callable[..., tuple[int, str, str]]
) -> None:
    good = known_pictures(surfaces)[5]
    status, out, messages = run("predict", "--model", model, "--reject", "0.96", damaged, FOREIGN[0], good)
    header, bad, unknown, answered = csv.reader(io.StringIO(out))
    assert status == 0 and header[:5] == ["path", "label", "probability", "margin", "reason"]
    assert bad[:4] == [damaged, "", "", ""] and bad[4] and not bad[4].startswith("unknown")
    assert unknown[:4] == [FOREIGN[0], "", "", ""] and unknown[4].startswith("unknown: ")
    assert answered[0] == good and answered[1] and answered[4] == ""
    assert "1 of 2 pictures are unlike those trained on" in messages
    status, out, _ = run("predict", "--model", model, FOREIGN[0])
    assert status == 0 and out.startswith("path,label,probability,margin\n") and out.count(",") == 6
    status, out, messages = run("predict", "--model", model, "--reject", "1.5", FOREIGN[0])
    assert status == 2 and "--reject" in messages and "1.5" in messages and not out


def test_what_rejecting_looks_up_does_not_grow_with_the_pictures_rejected(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = pipeline.load(model)
    looked: list[int] = []
    known = Digests.known.fget
    assert known
    monkeypatch.setattr(Digests, "known", property(lambda digests: looked.append(len(digests)) or known(digests)))
    counts = []
    for images in (FOREIGN[:1], FOREIGN * 20):
        looked.clear()
        reasons = classifier.top_k(images, 1, reject=0.95, use_cache=False)["reason"]
        assert all("unknown" in reason for reason in reasons)
        counts.append(len(looked))
    assert counts[0] == counts[1]


def test_rejecting_costs_no_forward_pass_and_needs_no_cache(model: str) -> None:
    classifier = pipeline.load(model)
    classifier.predict(FOREIGN, use_cache=True)
    passes = classifier.extractor.forward_passes
    table = classifier.top_k(FOREIGN, 1, reject=0.95)
    assert classifier.extractor.forward_passes == passes
    assert list(table["reason"]) == list(classifier.top_k(FOREIGN, 1, reject=0.95, use_cache=False)["reason"])


@pytest.mark.parametrize("head", ["logreg", "knn"])
def test_a_model_without_its_cache_rejects_the_same(head: str, folder: Path, tmp_path: Path) -> None:
    for path in folder.glob(f"{head}.*"):
        shutil.copy(path, tmp_path)
    carried = pipeline.load(str(tmp_path / f"{head}.joblib"), cache_dir=str(tmp_path / "empty"))
    here = pipeline.load(str(folder / f"{head}.joblib"))
    assert list(carried.top_k(FOREIGN, 1, reject=0.9)["reason"]) == list(here.top_k(FOREIGN, 1, reject=0.9)["reason"])
    assert carried.extractor.forward_passes == len(FOREIGN)


def test_whichever_file_is_pinned_rejects_the_same(model: str) -> None:
    import hashlib

    found = []
    for path in (model, arrays_path(model)):
        pinned = pipeline.load(model, sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest())
        found.append(list(pinned.top_k(FOREIGN, 1, reject=0.9)["reason"]))
    assert found[0] == found[1]


def test_a_model_of_views_rejects(surfaces: Path, folder: Path) -> None:
    model = str(folder / "views.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=str(folder / "cache"), views=2, **SPEC)
    labels = pipeline.predict([*known_pictures(surfaces)[:10], *FOREIGN], model, reject=0.95)
    assert sum(label is None for label in labels[:10]) <= 2 and all(label is None for label in labels[10:])


def test_a_refitted_model_knows_all_pictures(surfaces: Path, folder: Path) -> None:
    model = str(folder / "refitted.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=str(folder / "cache"), refit=True, **SPEC)
    known = pipeline.load(model).saved.outliers
    assert known and len(known.rows) == 36


def test_models_that_cannot_reject_say_so(
    model: str, surfaces: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    tuned = fitted(tmp_path / "cache", surfaces, **(SPEC | {"layer": "down8", "pooling": "none", "stored": "float16"}))
    save_model(str(tmp_path / "tuned.joblib"), tuned.head, tuned.extractor, tuned.paths)
    status, out, messages = run("predict", "--model", tmp_path / "tuned.joblib", "--reject", "0.95", FOREIGN[0])
    assert status == 2 and not out and "ends in decisions" in messages and messages.count("\n") == 1
    older = read_arrays(Path(arrays_path(model)).read_bytes())
    for name in ("known_rows", "known_distances"):
        del older[name]
    for path in Path(model).parent.glob("logreg.*"):
        shutil.copy(path, tmp_path)
    copied = str(tmp_path / "logreg.joblib")
    replace_arrays(copied, bytes(write_arrays(older)))
    classifier = pipeline.load(copied)
    assert None not in classifier.predict(FOREIGN)
    with pytest.raises(UserError, match="train it again"):
        classifier.predict(FOREIGN, reject=0.95)


@pytest.mark.parametrize(
    "change",
    [
        {"known_rows": None},
        {"known_distances": None},
        {"known_rows": np.zeros((3, 5), np.int8)},
        {"known_distances": np.array([np.inf], np.float32)},
    ],
)
def test_arrays_that_cannot_be_are_refused(change: dict[str, Any], model: str, tmp_path: Path) -> None:
    for path in Path(model).parent.glob("logreg.*"):
        shutil.copy(path, tmp_path)
    copied = str(tmp_path / "logreg.joblib")
    arrays = read_arrays(Path(arrays_path(copied)).read_bytes()) | change
    kept = {name: array for name, array in arrays.items() if array is not None}
    replace_arrays(copied, bytes(write_arrays(kept)))
    assert "holds no head" in refusal(copied) and "known_" in refusal(copied)


def test_what_is_kept_is_small(model: str) -> None:
    payload = joblib.load(model)
    known = payload["known_rows"].nbytes + payload["known_distances"].nbytes
    assert known == 29 * 1280 + 29 * 4
    assert os.path.getsize(arrays_path(model)) < known + 60_000


def test_a_share_that_so_few_pictures_cannot_promise_is_refused(
    model: str, surfaces: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    known = known_pictures(surfaces)
    with pytest.raises(UserError, match="different training pictures"):
        pipeline.predict(known, model, reject=0.999)
    status, out, messages = run("predict", "--model", model, "--reject", "0.999", *known)
    (line,) = messages.splitlines()
    assert status == 2 and not out and "takes 999 different training pictures" in line and "or less" in line
