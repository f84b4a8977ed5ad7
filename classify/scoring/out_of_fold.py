"""Cross-validate one head on one dataset: its answers about the pictures of each fold, and what they cost."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from classify.data.dataset import Dataset
from classify.data.grouping import Grouping
from classify.data.split import Indices, Split
from classify.decisions.saved_answers import SavedAnswers
from classify.fit import fit_on, outlier_detector
from classify.heads.head_table import HEADS
from classify.labels.label_options import DEFAULT_SCORING
from classify.saved.persist import save
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.metrics import MEANS, Scores, codes_of, score
from classify.scoring.parallel_folds import in_parallel, in_threads, jobs_for
from classify.scoring.scorers import Scoring
from featurize.extract.outcome import Progress, stage_progress

SHOWN = (*MEANS, "log_loss", "per_class")  # of a line's scores


@dataclass(frozen=True)
class Folds:
    """What is the same for all heads: what stays together, the folds, whether each is searched, and by what.

    groups: of all pictures of a dataset; splits: indices of these. n_jobs: how many folds run at once, by default one a
    core.
    """

    groups: Grouping
    splits: list[Split]
    search: bool
    seed: int
    scoring: str | Scoring = DEFAULT_SCORING
    n_jobs: int | None = None


class FittedFold(NamedTuple):
    """One fold: answers about the pictures held out, its line in `CrossValidation.folds`, the last one's estimator."""

    answers: HeldOutAnswers
    about: dict[str, Any]
    estimator: Any


@dataclass(frozen=True)
class CrossValidation:
    """What the folds gave. answers: one of each picture that is held out in a fold, in the order of the folds.

    Each of `folds` has: accuracy, of the pictures held out; train_seconds, of the fit, a search included;
    predict_seconds, of one picture, its row being there, all of the fold predicted at once and the head warm, both
    beside other folds and with one thread of linear algebra; params,
    what the search has chosen among the other folds' pictures; search, its table as
    `classify.hyperparameter_search.search_head` has it. estimator: the last one.
    """

    answers: HeldOutAnswers
    folds: list[dict[str, Any]]
    estimator: Any

    @classmethod
    def of(cls, found: list[FittedFold]) -> "CrossValidation":
        """Of all folds, in their order."""
        return cls(
            HeldOutAnswers.joined([one.answers for one in found]), [one.about for one in found], found[-1].estimator
        )


def cross_validate(
    data: Dataset,
    head: str,
    params: dict[str, Any],
    plan: Folds,
    progress: Progress | None = None,
    fold_done: Callable[[int], None] = lambda _: None,
) -> CrossValidation:
    """Fit `head` with `params` on each fold and let it answer about the rest.

    `fold_done` is called with the number of folds that are done, `progress` with the fits of a search. Folds run side
    by side, see `classify.scoring.parallel_folds`. Raises what the head raises.
    """
    found = []
    one = partial(fit_fold, data, head, params, plan, progress if in_threads() else None)
    for fold in in_parallel(
        one, range(len(plan.splits)), jobs_for(head, params, data.features, data.labels, plan.n_jobs)
    ):
        found.append(fold)
        fold_done(len(found))
    return CrossValidation.of(found)


def fit_fold(
    data: Dataset, head: str, params: dict[str, Any], plan: Folds, progress: Progress | None, number: int
) -> FittedFold:
    """Fit `head` on a fold, whose number counts from 0, and let it answer about the rest."""
    train, test = plan.splits[number]
    tell = stage_progress(progress, f"search in fold {number + 1} of {len(plan.splits)}")
    start = time.perf_counter()
    estimator, best, table = fit_on(data, train, plan.groups, head, params, plan.seed, plan.search, tell, plan.scoring)
    train_seconds = time.perf_counter() - start
    rows, classes = data.scored(test), np.unique(data.labels)
    estimator.predict_proba(rows[:1])
    start = time.perf_counter()
    answers = answers_about(estimator, data, test, plan.groups, f"fold {number + 1}", classes)
    predict_seconds = (time.perf_counter() - start) / len(test)
    fold = {"accuracy": float(answers.right.mean()), "train_seconds": train_seconds, "predict_seconds": predict_seconds}
    last = number == len(plan.splits) - 1
    return FittedFold(answers, fold | {"params": best, "search": table}, estimator if last else None)


def answers_about(
    estimator: Any, data: Dataset, rows: Indices, groups: Grouping, part: str, classes: ArrayLike | None = None
) -> HeldOutAnswers:
    """What a fitted head says of the pictures `rows` (m,) that it was not fitted on.

    classes: sorted, by default those of the head; one that it does not know has probability 0. Raises UserError for a
    picture of another class.
    """
    names = np.asarray(estimator.classes_ if classes is None else classes)
    probabilities = np.zeros((len(rows), len(names)))
    probabilities[:, np.searchsorted(names, estimator.classes_)] = estimator.predict_proba(data.scored(rows))
    of_classes = [str(name) for name in names]
    return HeldOutAnswers(
        classes=of_classes,
        rows=np.asarray(rows),
        parts=np.full(len(rows), part),
        truth=codes_of(data.labels[rows], of_classes),
        probabilities=probabilities,
        groups=groups.numbers[rows],
        names=None if data.groups is None else data.groups[rows],
    )


@dataclass(frozen=True)
class HeldOut:
    """Scores of a head over all pictures, each decided by the fit without its fold. bytes: of the model and arrays.

    answers, folds: as `CrossValidation` has them.
    """

    scores: Scores
    answers: HeldOutAnswers
    folds: list[dict[str, Any]]
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """As JSON types; seconds are medians over the folds, which are beside them."""
        scores = self.scores.to_json()
        return {
            **{name: scores[name] for name in ("n", *SHOWN, *(f"{mean}_interval" for mean in MEANS))},
            **{
                name: float(np.median([fold[name] for fold in self.folds]))
                for name in ("train_seconds", "predict_seconds")
            },
            "bytes": self.bytes,
            "folds": self.folds,
        }


def held_out(
    found: CrossValidation,
    data: Dataset,
    head: str,
    plan: Folds,
    record: dict[str, Any],
) -> HeldOut:
    """Scores of all answers of a cross-validation of `head` with its defaults.

    record: what a model's record says of its features, for its size.
    """
    train, _ = plan.splits[-1]
    _, counts = np.unique(data.labels, return_counts=True)
    counted = [int((data.labels[train] == name).sum()) for name in found.estimator.classes_]
    about = {
        "head": head,
        "head_params": found.folds[-1]["params"],
        "training_counts": counted,
        "metrics": {},
        **record,
    }
    return HeldOut(
        scores=scores_of(found.answers, counts),
        answers=found.answers,
        folds=found.folds,
        bytes=_saved_bytes(found, data, head, plan, about),
    )


def scores_of(answers: HeldOutAnswers, training_counts: Any) -> Scores:
    """Scores of all `answers`, with intervals over the named groups, where there are some.

    training_counts: (k,), which give the baseline, see `classify.scoring.metrics.score`.
    """
    classes = np.array(answers.classes)
    groups = None if answers.names is None else answers.groups
    truth, predicted = classes[answers.truth], classes[answers.predicted]
    return score(truth, predicted, answers.probabilities, classes, training_counts=training_counts, groups=groups)


def _saved_bytes(found: CrossValidation, data: Dataset, head: str, plan: Folds, record: dict[str, Any]) -> int:
    """Bytes of what a model of the last fold is on disk: the model file and its arrays."""
    train, _ = plan.splits[-1]
    outliers = outlier_detector(data, train, plan.groups)
    answers = SavedAnswers.of(found.answers.of(np.isin(found.answers.rows, train))) if HEADS[head].quick else None
    with tempfile.TemporaryDirectory() as folder:
        save(os.path.join(folder, "model.joblib"), found.estimator, data.digests[train], record, outliers, answers)
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name in ("model.joblib", "model.npz"))
