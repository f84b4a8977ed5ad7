"""Scores as files beside the model: complete tables, and no lost evaluation where they cannot be written."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classify.saved.results import search_rows, write_evaluation, write_tables
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.metrics import Scores, score

CLASSES = ["cat", 'dog, "big"', "größe\nneu"]
ANSWERS = HeldOutAnswers(CLASSES, np.array([0]), np.array(["test"]), np.array([0]), np.eye(3)[:1], np.array([0]))


@pytest.fixture
def scores() -> Scores:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.6, 0.2, 0.2]])
    truth = ["cat", CLASSES[1], CLASSES[2], CLASSES[1]]
    predicted = np.array(CLASSES)[probabilities.argmax(axis=1)]
    return score(truth, predicted, probabilities, CLASSES, training_counts=[3, 2, 1])


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_tables_hold_every_class_whatever_its_name(scores: Scores, tmp_path: Path) -> None:
    write_tables(str(tmp_path / "m.joblib"), scores)
    per_class, confusion = rows_of(tmp_path / "m.classes.csv"), rows_of(tmp_path / "m.confusion.csv")
    assert per_class[0][:5] == ["class", "precision", "recall", "f1", "support"]
    assert [row[0] for row in per_class[1:]] == CLASSES == confusion[0][1:] == [row[0] for row in confusion[1:]]
    assert [[int(count) for count in row[1:]] for row in confusion[1:]] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    shares = rows_of(tmp_path / "m.confusion_normalized.csv")
    assert shares[0] == confusion[0] and [float(share) for share in shares[2][1:]] == [0.5, 0.5, 0]
    assert [float(value) for value in per_class[2][1:5]] == pytest.approx([1, 0.5, 2 / 3, 2])


def test_without_scores_the_tables_of_a_former_model_are_deleted(scores: Scores, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    write_tables(model, scores, "cv.")
    assert len([*tmp_path.iterdir()]) == 3
    write_tables(model, None, "cv.")
    assert [*tmp_path.iterdir()] == []


def test_every_score_of_a_search_is_in_its_table() -> None:
    def table(first: float) -> list[dict[str, Any]]:
        return [
            {"params": {"C": 0.3, "kernel": kernel}, "accuracy": 0.5, "chosen": kernel == "linear"}
            | {"score": first, "std": 0.0, "scores": [first, first / 2 if kernel == "linear" else None]}
            for kernel in ("linear", 'r,b"f')
        ]

    header, *rows = search_rows("f1_macro", [table(0.5), table(0.25), table(1 / 3)])
    assert header[:4] == ["search", "chosen", "C", "kernel"]
    assert header[4:] == ["scoring", "score", "std", "accuracy", "split 1", "split 2"]
    assert [row[1] for row in rows] == ["yes", ""] * 3 and {row[4] for row in rows} == {"f1_macro"}
    assert [row[0] for row in rows] == ["model"] * 2 + ["fold 1"] * 2 + ["fold 2"] * 2
    assert [row[3] for row in rows] == ["linear", 'r,b"f'] * 3
    assert [float(row[9]) for row in rows[::2]] == [0.25, 0.125, 1 / 6] and {row[9] for row in rows[1::2]} == {None}


def test_an_evaluation_is_saved_beside_the_model_and_its_training_scores(scores: Scores, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    write_tables(model, scores)
    report = {"accuracy": scores.accuracy, "failures": ["caf\udce9.jpg"]}
    write_evaluation(model, scores, ANSWERS, ["caf\udce9.jpg"], report)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.classes.csv",
        "m.confusion.csv",
        "m.confusion_normalized.csv",
        "m.evaluation.classes.csv",
        "m.evaluation.confusion.csv",
        "m.evaluation.confusion_normalized.csv",
        "m.evaluation.json",
        "m.evaluation.predictions.csv",
    ]
    assert json.loads((tmp_path / "m.evaluation.json").read_text())["accuracy"] == 0.75


def test_where_it_cannot_be_saved_that_is_said_and_nothing_is_lost(
    scores: Scores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING, "bottleneck"):
        write_evaluation(str(tmp_path / "file" / "m.joblib"), scores, ANSWERS, ["a.jpg"], {})
    assert len(caplog.messages) == 1 and str(tmp_path / "file") in caplog.text
