"""Fit a head on cached features and score it honestly: split, search, fit, score, cross-validate, refit."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np

from cache.errors import UserError, log
from cache.stored_rows import StoredRows
from classify.data.dataset import Dataset
from classify.data.grouping import Grouping
from classify.data.split import Indices
from classify.decisions.summary import decisions_of_training
from classify.fit import fit_on, outlier_detector
from classify.heads.head_table import HEADS
from classify.labels.read_labels import LabelledImages
from classify.plan_options import Plan, PlanOptions
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.metrics import Leaked, Scores
from classify.scoring.out_of_fold import Folds, answers_about, cross_validate, scores_of
from classify.scoring.outliers import OutlierDetector
from classify.scoring.scorers import Scoring, check_scoring
from classify.scoring.two_classes import check_positive, positive_report
from classify.scoring.validation_part import Validated, validation_for, with_others
from classify.training_parts import TrainingParts, check_parts
from featurize.extract.outcome import Progress, stage_progress

OUT_OF_FOLD = 5  # folds of the training pictures


@dataclass
class Training:
    """A fitted head and how it did on pictures that it was not fitted on."""

    estimator: Any
    scores: Scores
    head_params: dict[str, Any]
    training_counts: list[int]  # pictures of each class that it was scored after
    trained_on: np.ndarray  # digests (n, 32) of the pictures that the estimator was fitted on
    answers: HeldOutAnswers  # about the scored pictures
    leaked: Leaked  # scored pictures that are in the training part too, or near-duplicates of some there
    outliers: OutlierDetector | None = None  # None of maps
    validation: HeldOutAnswers | None = None  # about the own validation part, where there is a test part besides
    validated: Validated | None = None  # what of that part the fit has used
    cv_answers: HeldOutAnswers | None = None  # of all folds
    out_of_fold: HeldOutAnswers | None = None  # about the pictures that the estimator was fitted on
    cv: Scores | None = None  # of these together; intervals as if one model had answered
    cv_scores: list[float] = field(default_factory=list)
    positive: dict[str, Any] = field(default_factory=dict)  # see `classify.scoring.two_classes.PositiveScores`
    scoring: str | None = None  # what a search went by
    search_table: list[dict[str, Any]] = field(default_factory=list)
    cv_search: list[list[dict[str, Any]]] = field(default_factory=list)  # the table of the search in each fold
    history: dict[str, list[float]] | None = None  # of heads that learn by epochs: values after each
    decisions: dict[str, Any] | None = None  # with `accept` or `coverage`, see `classify.decisions.summary`
    seconds: dict[str, float] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Scores and circumstances as JSON types.

        Those of `Scores.to_json` and `Leaked.to_json`; head_params, validation_accuracy; cv_accuracy, cv_std: mean and
        standard deviation over the folds, cv: scores of all their answers together; positive and curves, of a positive
        class; scoring, search, cv_search, history, stage_seconds.
        """
        return {
            **self.scores.to_json(),
            **self.leaked.to_json(),
            **self.positive,
            "head_params": self.head_params,
            "validation_accuracy": None if self.validation is None else float(self.validation.right.mean()),
            "validation_used_for": self.validated and self.validated.purpose,
            "cv_accuracy": float(np.mean(self.cv_scores)) if self.cv_scores else None,
            "cv_std": float(np.std(self.cv_scores)) if self.cv_scores else None,
            "cv_scores": self.cv_scores,
            "cv": self.cv and self.cv.to_json(),
            "scoring": self.scoring,
            "search": self.search_table,
            "cv_search": self.cv_search,
            "history": self.history,
            "decisions": self.decisions,
            "stage_seconds": self.seconds,
        }

    @property
    def threshold_answers(self) -> HeldOutAnswers | None:
        """What thresholds are found on: answers out of fold, and, unless the head was refitted, those of validation."""
        if self.out_of_fold is None or self.validation is None or self.validated is None:
            return self.out_of_fold
        unseen = self.validation.of(np.isin(self.validation.rows, self.validated.rows))
        return with_others(self.out_of_fold, unseen)


def check_plan(found: LabelledImages, plan: Plan) -> None:
    """Raise UserError, before features are computed, where the pictures cannot be split and scored as requested."""
    check_positive(found.labels, plan.positive, plan.prevalence)
    check_scoring(plan.scoring, found.labels, plan.search, plan.positive)
    check_parts(found, plan)


def train_head(
    data: Dataset,
    head: str,
    params: dict[str, Any],
    *,
    progress: Progress | None = None,
    **options: Unpack[PlanOptions],
) -> Training:
    """Fit `head` on the training part of `data` and score it on the rest.

    The training part is the data's own `train`, else a stratified 1 - `test_size` of the pictures. Named groups are
    kept together, and near-duplicates (see `classify.data.duplicates`), these but in classes that would then be too
    small to be split. What the head itself holds out is held out with its group, too.

    options: see `classify.plan_options.Plan`. `cv` > 0 cross-validates as well, over all pictures or, under an own
    split, over `train` alone. `search` tunes the head by cross-validation inside whatever it is fitted on, so that no
    candidate sees a picture that is scored. `refit` fits the returned estimator once more, on all pictures, after it
    was scored. Where the data have a validation and a test part, the head stops early by the pictures of `validation`,
    or fits its temperature on them, instead of holding out some of `train`; folds and searches have nothing of it.
    `progress` is called with the fits of each search. Heads that are quick always give out-of-fold answers,
    others where `accept` or `coverage` takes them.

    Raises UserError for parameters, shares and folds that cannot be used with these pictures.
    """
    plan = Plan(**options)
    seed, search, scoring = plan.seed, plan.search, Scoring.of(plan.scoring, plan.positive)
    seconds: dict[str, float] = {}
    with _timed(seconds, "near-duplicates"):
        parts = TrainingParts.of(data, plan)
    train, groups = parts.train, parts.groups
    with _timed(seconds, "train"):
        validated = validation_for(data, head, params, parts) if parts.own == "test" else None
        watched = validated.used if validated else None
        tell = stage_progress(progress, "search")
        chosen = seed, search, tell, scoring, watched, plan.n_jobs
        estimator, best, table = fit_on(data, train, groups, head, params, *chosen)
        outliers = outlier_detector(data, train, groups)
    with _timed(seconds, "score"):
        counts = [int((data.labels[train] == name).sum()) for name in estimator.classes_]
        answers = answers_about(estimator, data, parts.test, groups, parts.scored)
        scores, leaked = score_part(answers, counts, parts.leaking, data.paths)
    training = Training(
        estimator=estimator,
        scores=scores,
        answers=answers,
        head_params=params | best,
        training_counts=counts,
        trained_on=data.digests[train],
        leaked=leaked,
        validated=validated,
        outliers=outliers,
        positive=positive_report(answers, plan.positive, plan.prevalence),
        scoring=plan.scoring if search else None,
        search_table=table,
        history=getattr(estimator, "history_", None),
        seconds=seconds,
    )
    if parts.own == "test" and len(validation := data.part("validation")):
        training.validation = answers_about(estimator, data, validation, groups, "validation")
    if parts.folds:
        with _timed(seconds, "cross-validation"):
            in_folds = Folds(groups, parts.folds, search, seed, scoring, plan.n_jobs)
            found = cross_validate(data, head, params, in_folds, progress)
            training.cv_answers, training.cv = found.answers, scores_of(found.answers, counts)
            training.cv_scores = [fold["accuracy"] for fold in found.folds]
            training.cv_search = [fold["search"] for fold in found.folds] if search else []
    if plan.refit:
        with _timed(seconds, "refit"):
            train, groups = np.arange(len(data.labels)), parts.linked if parts.own else groups
            training.estimator, _, _ = fit_on(data, train, groups, head, training.head_params, seed, search=False)
            training.outliers = outlier_detector(data, train, groups)
        training.trained_on = data.digests
    asked = plan.accept is not None or plan.coverage is not None
    if asked or (HEADS[head].quick and not isinstance(data.features, StoredRows)):
        with _timed(seconds, "out-of-fold"):
            training.out_of_fold = _out_of_fold(data, head, training.head_params, train, groups, plan)
    training.decisions = decisions_of_training(
        training.threshold_answers, answers, plan.accept, plan.coverage, plan.refit
    )
    return training


def _out_of_fold(
    data: Dataset, head: str, params: dict[str, Any], rows: Indices, groups: Grouping, plan: Plan
) -> HeldOutAnswers | None:
    """Answers about the pictures `rows` (m,) that a head is fitted on, each by a fit without its fold.

    None, which is announced, where there are too few.
    """
    splits = groups.of(rows).inner_folds(data.labels[rows], OUT_OF_FOLD, plan.seed)
    try:
        if not splits:
            what = "groups" if groups.named else "different pictures"
            raise UserError(f"too few {what} to hold some of the training pictures out: add {what}")
        of_rows = [(rows[fitted], rows[held]) for fitted, held in splits]
        return cross_validate(data, head, params, Folds(groups, of_rows, False, plan.seed, n_jobs=plan.n_jobs)).answers
    except UserError as error:
        asked = plan.accept is not None or plan.coverage is not None
        told = log.warning if asked else log.info
        told("the model is saved without out-of-fold answers, so it cannot decide what to accept: %s", error)
        return None


def score_part(
    answers: HeldOutAnswers, training_counts: list[int], leaking: np.ndarray, paths: Sequence[str]
) -> tuple[Scores, Leaked]:
    """Scores of all answers, and beside them what they give without those about the leaking pictures.

    training_counts: (k,) pictures of each class, for the baseline. leaking: (m,) bool, whether one is trained on as it
    is or has a near-duplicate that is; announced. paths: (n,), of the dataset.
    """
    scores = scores_of(answers, training_counts)
    if not leaking.any():
        return scores, Leaked()
    names = [paths[row] for row in answers.rows[leaking]]
    log.warning(
        "scored pictures that are near-duplicates of training pictures: %d, the first is %s", len(names), names[0]
    )
    return scores, Leaked(names, None if leaking.all() else scores_of(answers.of(~leaking), training_counts))


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
