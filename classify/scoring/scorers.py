"""The score that a search maximises: any scorer of scikit-learn that gives right answers more than wrong ones."""

import difflib
import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer, get_scorer_names

from cache.errors import UserError, log
from classify.heads.numerics import Floats
from classify.labels.label_options import DEFAULT_SCORING


def check_scoring(name: str, labels: Sequence[str], used: bool = True) -> None:
    """Raise UserError unless `name` is a scorer of scikit-learn that can be used with these labels, one a picture.

    It is tried on answers that are all right, and on answers that are all wrong: those have to score less, which rules
    out scorers of regressions and of clusters, and scorers of two classes where there are more. Announces one that is
    given and not `used`.
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
    about = f"scoring {name!r} cannot be used with labels of {len(classes)} classes"
    try:
        scores = [score_by(name, named, named[truth], found) for found in (right, np.roll(right, 1, axis=1))]
    except (ValueError, TypeError) as error:
        raise UserError(f"{about}: {' '.join(str(error).split())}; {DEFAULT_SCORING} and accuracy always can") from None
    if not scores[0] > scores[1]:
        raise UserError(f"{about}: it does not tell right answers from wrong ones; {DEFAULT_SCORING} and accuracy do")


def score_by(name: str, classes: NDArray[Any], truth: NDArray[Any], probabilities: Floats) -> float:
    """The score of probabilities (n, k) about pictures with labels `truth` (n,), the higher the better.

    classes: (k,), sorted; some of them may have no picture. NaN where the score is not defined then. Raises what the
    scorer raises.
    """
    scorer: Any = get_scorer(name)
    if scorer._response_method != "predict":
        takes = inspect.signature(scorer._score_func).parameters
        if "labels" in takes:  # else it takes those that occur for all
            scorer._kwargs = scorer._kwargs | {"labels": classes}
        if len(classes) == 2 and "pos_label" in takes and takes["pos_label"].default is None:  # either gives the same
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
