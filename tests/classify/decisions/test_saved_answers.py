"""Held-out answers in a model's files: a round trip, older models, damage; and what commands do with them."""

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from conftest import BUNDLED, SPEC
from helpers.models.fine_tuned import fitted
from helpers.models.held_out import answers_of
from helpers.models.model_records import RECORD, edit, few_digits, refusal, replace_arrays, two_heads
from helpers.storage.cached_rows import keys

import pipeline
from cache.errors import UserError
from classify.answers import COLUMNS
from classify.decisions.decide import SEPARATOR
from classify.decisions.saved_answers import ARRAYS, PER_ANSWER, SavedAnswers
from classify.decisions.thresholds import Acceptance
from classify.saved.model_files import arrays_path
from classify.saved.npz import read_arrays, write_arrays
from classify.saved.persist import load, save
from classify.scoring.held_out_answers import HeldOutAnswers

CLASSES = ["brick", "grass", "gravel"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache, a model that was trained from it, and its report with decisions."""
    folder = tmp_path_factory.mktemp("deciding")
    shutil.copytree(warm_cache, folder / "cache")
    asked: Any = {"accept": 0.8, "coverage": 0.8, "model": str(folder / "logreg.joblib")}
    report = pipeline.train(str(surfaces), cache_dir=str(folder / "cache"), **asked, **SPEC)
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> str:
    """A copy of the model that the test may change."""
    for path in folder.glob("logreg.*"):
        shutil.copy(path, tmp_path)
    return str(tmp_path / "logreg.joblib")


@pytest.fixture(scope="module")
def pictures(surfaces: Path) -> list[str]:
    return sorted(map(str, surfaces.glob("*/*.png")))


def with_sites() -> SavedAnswers:
    held = HeldOutAnswers(
        classes=["0", "1", "2", "3"],
        rows=np.arange(6),
        parts=np.full(6, "fold 1"),
        truth=np.array([0, 1, 2, 3, 0, 1]),
        probabilities=np.random.default_rng(0).dirichlet(np.ones(4), 6),
        groups=np.array([7, 7, 2, 2, 9, 11]),
        names=np.array(["b", "b", "", "a", "a", "\u202e,|"]),
    )
    return SavedAnswers.of(held)


def test_answers_are_the_same_after_loading_from_arrays_and_from_the_pickle(tmp_path: Path) -> None:
    model, answers = str(tmp_path / "m.joblib"), with_sites()
    assert answers.names == ["a", "b", "\u202e,|"] and answers.sites.tolist() == [1, 1, -1, 0, 0, 2]
    assert answers.groups.tolist() == [1, 1, 0, 0, 2, 3]
    save(model, two_heads()[0], keys(100), RECORD, answers=answers)
    for saved in (load(model), load(model, sha256=sha256_of(model))):
        assert saved.answers and saved.answers.names == answers.names
        for name in PER_ANSWER:
            found = getattr(saved.answers, name)
            assert np.array_equal(found, getattr(answers, name)) and found.dtype == getattr(answers, name).dtype, name
    pixels, _ = few_digits()
    assert np.allclose(load(model).predictor.predict_proba(pixels), two_heads()[0].predict_proba(pixels))


def sha256_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_without_the_record_the_groups_lose_their_names_alone(tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    save(model, two_heads()[0], keys(100), RECORD, answers=with_sites())
    (tmp_path / "m.json").unlink()
    saved = load(model, allow_other_versions=True)
    assert saved.answers and saved.answers.names[:3] == ["group 1", "group 2", "group 3"]


CODES = np.array([[0, 0, 0, -1], [1, 2, 1, -1]], np.int32)
PROBABILITIES = np.array([[0.9, 0.9], [0.6, 0.2]])


def test_the_arrays_that_are_changed_below_can_be() -> None:
    assert SavedAnswers.from_arrays(dict(zip(ARRAYS, (PROBABILITIES, CODES), strict=True)), 3, []).right.any()


@pytest.mark.parametrize(
    "change",
    [
        {"answer_probabilities": None},
        {"answer_codes": None},
        {"answer_probabilities": PROBABILITIES.astype(np.float32)},
        {"answer_probabilities": PROBABILITIES[:1]},
        {"answer_probabilities": PROBABILITIES[:, :1]},
        {"answer_probabilities": PROBABILITIES.ravel()},
        {"answer_probabilities": PROBABILITIES + 0.2},
        {"answer_probabilities": PROBABILITIES - 0.5},
        {"answer_probabilities": PROBABILITIES * np.nan},
        {"answer_probabilities": PROBABILITIES[:, ::-1]},
        {"answer_probabilities": np.array([[0.9, 0.8], [0.6, 0.2]])},
        {"answer_codes": CODES.astype(np.int64)},
        {"answer_codes": CODES[:0], "answer_probabilities": PROBABILITIES[:0]},
        {"answer_codes": CODES[:, :3]},
        {"answer_codes": np.array([[3, 3, 0, -1], [1, 2, 1, -1]], np.int32)},
        {"answer_codes": np.array([[-1, -1, 0, -1], [1, 2, 1, -1]], np.int32)},
        {"answer_codes": np.array([[0, 0, 2**31 - 1, -1], [1, 2, 1, -1]], np.int32)},
        {"answer_codes": np.array([[0, 0, 0, 0], [1, 2, 1, -1]], np.int32)},
        {"answer_codes": np.array([[0, 0, 0, -2], [1, 2, 1, -1]], np.int32)},
    ],
)
def test_arrays_that_cannot_be_are_refused(change: dict[str, Any], copied: str) -> None:
    changed = dict(zip(ARRAYS, (PROBABILITIES, CODES), strict=True)) | change
    arrays = read_arrays(Path(arrays_path(copied)).read_bytes()) | changed
    kept = {name: array for name, array in arrays.items() if array is not None}
    replace_arrays(copied, bytes(write_arrays(kept)))
    assert "holds no head" in refusal(copied)


@pytest.mark.parametrize("names", ["a", [1], {"a": 1}])
def test_group_names_that_are_none_are_refused(names: object, copied: str) -> None:
    edit(copied, group_names=names)
    assert "'group_names'" in refusal(copied)


def test_a_fine_tuned_head_keeps_its_answers(surfaces: Path, tmp_path: Path) -> None:
    tuned = fitted(tmp_path / "cache", surfaces, **(SPEC | {"layer": "down8", "pooling": "none", "stored": "float16"}))
    model, about = str(tmp_path / "tuned.joblib"), {"head": "finetune", "training_counts": [12] * 3, "metrics": {}}
    record, answers = about | tuned.extractor.record(), answers_of(np.array([0.9, 0.8]), np.ones(2, bool))
    save(model, tuned.head, tuned.extractor.run(tuned.paths).keys, record, answers=answers)
    saved = load(model)
    assert saved.answers and saved.answers.confidence.tolist() == [0.9, 0.8] and saved.outliers is None


def test_a_model_without_answers_says_that_it_is_to_be_trained_again(
    copied: str, pictures: list[str], surfaces: Path, run: Run
) -> None:
    arrays = read_arrays(Path(arrays_path(copied)).read_bytes())
    replace_arrays(copied, bytes(write_arrays({name: arrays[name] for name in arrays if name not in ARRAYS})))
    assert None not in pipeline.predict(pictures[:2], copied)
    for asked in ({"accept": 0.9}, {"coverage": 0.9}):
        with pytest.raises(UserError, match="train it again"):
            pipeline.top_k(pictures[:2], copied, **asked)
    with pytest.raises(UserError, match="train it again"):
        pipeline.evaluate(str(surfaces), copied, accept=0.9)
    status, out, messages = run("predict", "--model", copied, "--accept", "0.9", pictures[0])
    assert status == 2 and not out and messages.count("\n") == 1 and "train it again" in messages


def test_what_is_kept_is_small(folder: Path) -> None:
    payload = joblib.load(folder / "logreg.joblib")
    answers = json.loads((folder / "report.json").read_text())["decisions"]["answers"]
    assert sum(payload[name].nbytes for name in ARRAYS) == 32 * answers and 20 < answers < 36


def test_pictures_are_decided_on_in_columns(folder: Path, pictures: list[str], tmp_path: Path, run: Run) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no picture")
    model, foreign = str(folder / "logreg.joblib"), str(BUNDLED / "astronaut.png")
    asked: Any = {"accept": 0.8, "coverage": 0.8}
    table = pipeline.top_k([*pictures, str(damaged)], model, 1, **asked)
    assert list(table.columns) == [*COLUMNS, "reason", "decision", "labels"]
    assert set(table["decision"][:-1]) <= {"accept", "review"} and "accept" in set(table["decision"])
    first = [labels.split(SEPARATOR)[0] for labels in table["labels"][:-1]]
    assert first == table["label"][:-1].tolist()
    last = table.iloc[-1]
    assert last["decision"] == "" and last["labels"] == "" and last["label"] is None and "no image" in last["reason"]
    words = ["--accept", "0.8", "--coverage", "0.8", "--reject", "0.9"]
    status, out, _ = run("predict", "--model", model, *words, foreign, pictures[0], damaged)
    unknown, known, bad = csv.DictReader(io.StringIO(out))
    assert status == 0 and unknown["decision"] == "unknown" and unknown["labels"] == unknown["label"] == ""
    assert known["decision"] in ("accept", "review") and known["labels"].split(SEPARATOR)[0] == known["label"]
    assert bad["decision"] == "" and bad["reason"]
    assert list(unknown)[-2:] == ["decision", "labels"]
    plain = run("predict", "--model", model, pictures[0])[1]
    assert plain.startswith("path,label,probability,margin\n")


def test_a_target_that_the_pictures_do_not_support_is_refused_before_any_work(
    folder: Path, pictures: list[str], run: Run
) -> None:
    model = folder / "logreg.joblib"
    status, out, messages = run("predict", "--model", model, "--accept", "0.98", *pictures)
    assert status == 2 and not out and messages.count("\n") == 1
    assert "takes 149 held-out answers" in messages and "or less" in messages
    status, out, messages = run("predict", "--model", model, "--coverage", "0.99", *pictures)
    assert status == 2 and not out and messages.count("\n") == 1 and "of 99 different pictures" in messages
    status, _, messages = run("predict", "--model", model, "--accept", "98", *pictures)
    assert status == 2 and "--accept" in messages


def test_a_training_says_what_can_be_accepted(folder: Path, surfaces: Path, run: Run, tmp_path: Path) -> None:
    decisions = json.loads((folder / "report.json").read_text())["decisions"]
    accept, coverage, curve = decisions["accept"], decisions["coverage"], decisions["curve"]
    assert accept["target"] == 0.8 and accept["needed"] == 14 and accept["refused"] is None and not accept["by_class"]
    assert list(accept["thresholds"]) == CLASSES and len(set(accept["thresholds"].values())) == 1
    assert accept["share_interval"][0] <= accept["share"] <= accept["share_interval"][1]
    taken = next(row for row in curve if row["threshold"] == accept["thresholds"]["brick"])
    assert taken["lower_bound"] >= 0.8 and taken["share"] == accept["share"]
    assert curve[-1]["share"] == 1 and len(curve) <= 200
    assert [row["threshold"] for row in curve] == sorted((row["threshold"] for row in curve), reverse=True)
    assert accept["scored"]["n"] == coverage["scored"]["n"] == 7
    assert coverage["sure"] == 0.6 and coverage["scored"]["mean_size"] >= 1
    assert decisions["group_scores"] == []
    assert "decisions" not in json.loads((folder / "logreg.json").read_text())["metrics"]
    words = ["train", "--data", surfaces, "--backbone", SPEC["backbone"], "--cache-dir", folder / "cache"]
    model = tmp_path / "again.joblib"
    status, out, _ = run(*words, "--model", model, "--accept", "0.8", "--coverage", "0.8")
    said = f"{round(100 * accept['share'])}% of new pictures can be accepted at 80% (at least "
    assert status == 0 and (said in out or "100.0" in out) and "go to a person" in out and "label sets at 80%" in out
    status, out, _ = run(*words, "--model", model)
    assert status == 0 and "accepted" not in out and "label sets" not in out
    assert load(str(model)).answers is not None
    status, out, _ = run(*words, "--model", model, "--accept", "0.99")
    assert status == 0 and "accept 0.99 takes 299 held-out answers" in out


def test_an_evaluation_checks_what_was_promised(folder: Path, surfaces: Path, run: Run, tmp_path: Path) -> None:
    words = ["evaluate", "--data", surfaces, "--model", folder / "logreg.joblib", "--json", tmp_path / "e.json"]
    status, out, _ = run(*words, "--accept", "0.8", "--coverage", "0.8")
    assert status == 0 and "of 7 scored pictures" in out and "label sets at 80%" in out
    evaluated = json.loads((tmp_path / "e.json").read_text())["decisions"]
    trained = json.loads((folder / "report.json").read_text())["decisions"]
    assert evaluated["accept"] == trained["accept"] and evaluated["curve"] == trained["curve"]
    trained["coverage"].pop("out_of_fold")
    assert evaluated["coverage"] == trained["coverage"]
    assert run(*words)[0] == 0 and json.loads((tmp_path / "e.json").read_text())["decisions"] is None


def test_other_views_than_those_of_the_training_are_announced(
    folder: Path, pictures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    classifier = pipeline.load(str(folder / "logreg.joblib"), predict_views=2)
    classifier.top_k(pictures[:1], accept=0.8)
    assert "answers by 1 views of a picture; these are by 2" in caplog.text


def test_those_are_accepted_that_are_as_sure_as_the_threshold_says(folder: Path, pictures: list[str]) -> None:
    classifier = pipeline.load(str(folder / "logreg.joblib"))
    sure = np.sort(classifier.predict_proba(pictures).max(axis=1))
    middle = sure[len(sure) // 2]
    below, above = np.linspace(0.1, middle, 200, endpoint=False), np.linspace(middle, 1, 200)
    of_three = np.arange(400, dtype=np.int32) % 3
    held_out = answers_of(np.concatenate([below, above]), np.arange(400) >= 200)
    held_out = replace(held_out, predicted=of_three, truth=np.where(held_out.right, of_three, (of_three + 1) % 3))
    classifier.saved = replace(classifier.saved, answers=held_out)
    table = classifier.top_k(pictures, 1, accept=0.98)
    threshold = Acceptance.of(held_out, CLASSES, 0.98).thresholds[0]
    assert middle <= threshold < 1
    assert ((table["decision"] == "accept") == (table["probability"] >= threshold)).all()
    assert set(table["decision"]) == {"accept", "review"}
