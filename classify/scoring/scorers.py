"""The score that a search maximises: any scorer of scikit-learn that gives right answers more than wrong ones."""

import difflib
import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import average_precision_score, get_scorer, get_scorer_names

from cache.errors import UserError, log
from classify.heads.numerics import Floats
from classify.labels.label_options import DEFAULT_SCORING


@dataclass(frozen=True)
class Scoring:
    """A scorer of scikit-learn for the class `positive` of two, such as "f1"."""

    name: str
    positive: str

    @classmethod
    def of(cls, name: str, positive: str | None) -> "str | Scoring":
        """The scorer alone where no class is positive."""
        return name if positive is None else cls(name, positive)

    def __str__(self) -> str:
        return self.name


def check_scoring(name: str, labels: Sequence[str], used: bool = True, positive: str | None = None) -> None:
    """Raise UserError unless `name` is a scorer of scikit-learn that can be used with these labels, one a picture.

    It is tried on answers that are all right, and on answers that are all wrong: those have to score less, which rules
    out scorers of regressions and of clusters, and scorers of two classes where there are more. Announces one that is
    given and not `used`. positive: the class of two that scores of one class, such as f1, are of.
    """
    if name not in (names := get_scorer_names()):
        close = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
        meant = "".join(f", did you mean {other}?" for other in close)
        raise UserError(f"unknown scoring {name!r}{meant}: give a scorer of scikit-learn, such as {DEFAULT_SCORING}")
    if name != DEFAULT_SCORING and not used:
        log.warning("scoring %r is what a search goes by, and none is asked for: give --search", name)
    classes = np.unique(labels)
    if len(classes) < 2:  # which training refuses in its own words
        return
    # A name that is no number: scorers of regressions would take numbers that stand for classes.
    named = np.array([f"class {number:04}" for number in range(len(classes))])
    truth = np.repeat(np.arange(len(classes)), 4)
    right = np.full((len(truth), len(classes)), 0.1 / (len(classes) - 1))
    right[np.arange(len(truth)), truth] = 0.9
    scoring = Scoring.of(name, positive and str(named[list(classes).index(positive)]))
    about = f"scoring {name!r} cannot be used with labels of {len(classes)} classes"
    try:
        scores = [score_by(scoring, named, named[truth], found) for found in (right, np.roll(right, 1, axis=1))]
    except (ValueError, TypeError) as error:
        if positive is None and len(classes) == 2 and "pos_label" in str(error):
            raise UserError(f"{about}: it is of one of them, name it with --positive") from None
        raise UserError(f"{about}: {' '.join(str(error).split())}; {DEFAULT_SCORING} and accuracy always can") from None
    if not scores[0] > scores[1]:
        raise UserError(f"{about}: it does not tell right answers from wrong ones; {DEFAULT_SCORING} and accuracy do")


def announce_unused(positive: str | None, name: str) -> None:
    """Say so where a positive class is given, and the scorer `name` gives the same for either class of two."""
    if positive is not None and not _of_one_class(name):
        log.warning("positive class %r changes nothing: scoring %r is the same for both classes", positive, name)


def _of_one_class(name: str) -> bool:
    """Whether what it gives depends on which class of two is the positive one."""
    scorer = get_scorer(name)
    takes = inspect.signature(scorer._score_func).parameters
    binary = "pos_label" in takes and scorer._kwargs.get("average", "binary") == "binary"
    return name == "average_precision" or (binary and scorer._response_method == "predict")


def score_by(scoring: str | Scoring, classes: NDArray[Any], truth: NDArray[Any], probabilities: Floats) -> float:
    """The score of probabilities (n, k) about pictures with labels `truth` (n,), the higher the better.

    classes: (k,), sorted; some of them may have no picture. Without a positive class average precision is that of each
    class against the others, the mean of them. NaN where the score is not defined then. Raises what the
    scorer raises.
    """
    name, positive = (scoring.name, scoring.positive) if isinstance(scoring, Scoring) else (scoring, None)
    if name == "average_precision" and positive is None:  # scikit-learn wants a positive class of two
        each = truth[:, None] == classes
        return float(average_precision_score(each, probabilities)) if each.any(axis=0).all() else float("nan")
    scorer: Any = get_scorer(name)
    takes = inspect.signature(scorer._score_func).parameters
    of_answers = scorer._response_method == "predict"
    if "labels" in takes and not of_answers:  # else it takes those that occur for all
        scorer._kwargs = scorer._kwargs | {"labels": classes}
    if len(classes) == 2 and "pos_label" in takes and scorer._kwargs.get("average", "binary") == "binary":
        if positive is not None:
            scorer._kwargs = scorer._kwargs | {"pos_label": positive}
        elif not of_answers and takes["pos_label"].default is None:  # either class gives the same
            scorer._kwargs = scorer._kwargs | {"pos_label": classes[1]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that do not occur
        try:
            return float(scorer(_Answers(classes), probabilities, truth))
        except ValueError:
            if len(np.unique(truth)) == len(classes):
                raise
            return float("nan")


class _Answers(ClassifierMixin, BaseEstimator):
    """A fitted classifier, for scorers, whose X are the probabilities that it gives."""

    def __init__(self, classes: NDArray[Any]) -> None:
        self.classes_ = classes

    def predict_proba(self, X: Floats) -> Floats:
        return X

    def predict(self, X: Floats) -> NDArray[Any]:
        return self.classes_[X.argmax(axis=1)]
