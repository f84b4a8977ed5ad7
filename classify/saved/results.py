"""A trained head and its scores as files: the model, and tables beside it."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cache.errors import log
from cache.files.atomic import write_atomically
from classify.comparison.answer_tables import answer_rows, write_rows
from classify.data.dataset import Dataset
from classify.data.split import leaks
from classify.decisions.saved_answers import SavedAnswers
from classify.labels.group_record import record_of
from classify.saved.model_files import EVALUATION, files_of
from classify.saved.persist import locked, save
from classify.saved.previous import keep_previous, replaced
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.metrics import Scores
from classify.train import Training

# In a model's record: long, in its tables or arrays, or both.
NOT_RECORDED = ("failures", "confusion_matrix", "cv", "cv_search", "curves", "groups", "decisions")


def save_training(
    model: str, training: Training, report: dict[str, Any], origin: dict[str, Any], dataset: Dataset
) -> None:
    """Save what was trained on `dataset` as `model`, with its tables and learning curves.

    `origin` is what its record says besides of where it comes from: head, data (`source_of`), views and
    `Extractor.record`. A model of other data or classes that has this name is kept, see `classify.saved.previous`.
    """
    groups = None
    if dataset.groups is not None:
        groups = record_of(report["groups"], dataset.groups[leaks(training.trained_on, dataset.digests)].tolist())
    accept = training.decisions and training.decisions["accept"]
    record = origin | {
        "head_params": training.head_params,
        "training_counts": training.training_counts,
        "left_out_classes": report["left_out_classes"],
        "groups": groups,
        "accept": accept["target"] if accept and not accept["refused"] else None,
        "metrics": {name: value for name, value in report.items() if name not in NOT_RECORDED},
    }
    with locked(model):
        other = replaced(model, origin["data"], dataset) is not None  # once more: others may have saved meanwhile
        if other:
            keep_previous(model)
        held_out = training.threshold_answers
        answers = SavedAnswers.of(held_out) if held_out else None
        save(model, training.estimator, training.trained_on, record, training.outliers, answers)
        write_training(model, training, dataset.paths)
        for path in files_of(model, EVALUATION) if other else ():  # of another model by now
            Path(path).unlink(missing_ok=True)


def write_training(model: str, training: Training, paths: Sequence[str]) -> None:
    """Write what a training has found beside the model: its tables, and of heads that have them curves and a search.

    NAME.history.csv has what was measured after each epoch, NAME.cv.* the scores of all folds together. Those that a
    model of this name had before are deleted.
    """
    write_tables(model, training.scores)
    write_tables(model, training.cv, "cv.")
    several = [training.answers, training.validation, training.cv_answers]
    _write_csv(model, "predictions", answer_rows([answers for answers in several if answers], paths))
    history = training.history or {}
    epochs = [[epoch, *values] for epoch, values in enumerate(zip(*history.values(), strict=True), start=1)]
    searches = [training.search_table, *training.cv_search] if training.search_table else []
    _write_csv(model, "history", [["epoch", *history], *epochs] if history else [])
    _write_csv(model, "search", search_rows(training.scoring, searches))


def write_tables(model: str, scores: Scores | None, infix: str = "") -> None:
    """Write the per-class table and the confusion matrix as CSV (UTF-8), the latter as counts and as shares of a row.

    NAME.classes.csv, NAME.confusion.csv and NAME.confusion_normalized.csv; without scores they are deleted.
    """
    _write_csv(model, f"{infix}classes", scores.class_rows() if scores else [])
    _write_csv(model, f"{infix}confusion", scores.confusion_rows() if scores else [])
    _write_csv(model, f"{infix}confusion_normalized", scores.confusion_rows(normalized=True) if scores else [])


def search_rows(scoring: str | None, searches: list[list[dict[str, Any]]]) -> list[list[Any]]:
    """Every score of some searches, for a CSV file: a header, one row a candidate, its score in each inner fold.

    The column `scoring` names the scorer, `chosen` marks the candidate that was taken; a score that is not defined in a
    fold is empty. The first search is the one that has tuned the model (search "model"), the others are those of each
    fold of a cross-validation ("fold 1" and so on).
    """
    rows: list[list[Any]] = []
    for number, candidates in enumerate(searches):
        for row in candidates:
            rows = rows or [
                ["search", "chosen", *row["params"], "scoring", "score", "std", "accuracy"]
                + [f"split {split}" for split in range(1, len(row["scores"]) + 1)]
            ]
            measured = [scoring, row["score"], row["std"], row["accuracy"], *row["scores"]]
            named = [f"fold {number}" if number else "model", "yes" if row["chosen"] else ""]
            rows.append([*named, *row["params"].values(), *measured])
    return rows


def _write_csv(model: str, kind: str, rows: Iterable[list[Any]]) -> None:
    """Write NAME.kind.csv; for an empty list delete it."""
    path = f"{os.path.splitext(model)[0]}.{kind}.csv"
    if rows:
        write_rows(path, rows)
    else:
        Path(path).unlink(missing_ok=True)


def write_evaluation(
    model: str, scores: Scores, answers: HeldOutAnswers, paths: Sequence[str], report: dict[str, Any]
) -> None:
    """Write the tables and the whole report of an evaluation beside the model: NAME.evaluation.json and so on.

    Where that folder cannot be written (a model may be everybody's to read), the scores are still the caller's.
    """
    try:
        write_tables(model, scores, "evaluation.")
        _write_csv(model, "evaluation.predictions", answer_rows([answers], paths))
        write_atomically(os.path.splitext(model)[0] + ".evaluation.json", json.dumps(report, indent=2).encode())
    except OSError as error:
        log.warning("the evaluation is not saved beside the model: %s: %s", error.filename, error.strerror)
