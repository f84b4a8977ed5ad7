"""Scores of predictions: how good, how sure, and against which baseline."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.errors import UserError, listed
from classify.data.split import Indices
from classify.heads.numerics import Floats
from classify.scoring.intervals import FEW_GROUPS, Interval

SHARES = ("precision", "recall", "f1")  # of each class
PER_CLASS = (*SHARES, "support", *(f"{share}_{end}" for share in SHARES for end in ("low", "high")))
MEANS = ("accuracy", "balanced_accuracy", "macro_f1")  # each with an interval
WITHOUT_INTERVAL = ("baseline_accuracy", "baseline_balanced_accuracy", "log_loss", "weighted_f1", "roc_auc",
                    "average_precision", "matthews", "interval_method", "interval_groups")  # fmt: skip
UNEVEN = 1.5  # times as many pictures in the largest class as in the smallest


@dataclass(frozen=True)
class Scores:
    """Scores of n pictures over k classes; every array is in the order of `classes`.

    Intervals are 95%, see `classify.scoring.class_scores`; interval_method says of what: "pictures", "bootstrap over
    groups", "t over groups" or "Wilson of one group", and interval_groups how many groups the pictures have, None where
    nobody named any.
    roc_auc and average_precision: one class against the others, the mean of the classes, None where a class has no
    picture or there is only one; they and log_loss go by the probabilities, all others by the answers.
    """

    n: int
    classes: list[str]
    accuracy: float
    accuracy_interval: Interval
    baseline_accuracy: float
    balanced_accuracy: float  # the mean recall of the classes that have pictures
    balanced_accuracy_interval: Interval
    baseline_balanced_accuracy: float | None  # None in what older versions wrote
    macro_f1: float  # the mean F1 of the classes that occur, as label or as answer
    macro_f1_interval: Interval
    weighted_f1: float
    matthews: float
    log_loss: float
    roc_auc: float | None
    average_precision: float | None
    confusion_matrix: NDArray[np.intp]  # (k, k): rows truth, columns predicted
    precision: Floats  # (k,)
    precision_interval: Floats  # (k, 2)
    recall: Floats  # (k,)
    recall_interval: Floats  # (k, 2)
    f1: Floats  # (k,)
    f1_interval: Floats  # (k, 2)
    support: NDArray[np.intp]  # (k,): pictures of the class among the scored ones
    interval_method: str
    interval_groups: int | None

    @property
    def uneven(self) -> bool:
        """Whether the scored pictures are, see `uneven`."""
        return uneven(self.support)

    @property
    def drawn(self) -> str:
        """What the intervals are over, in words: "by pictures" or "over 40 groups"."""
        if self.interval_groups is None:
            return "by pictures"
        return f"over {self.interval_groups} group{'' if self.interval_groups == 1 else 's'}"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain Python numbers, strings, lists and dicts."""
        header, *rows = self.class_rows()
        means = {name: getattr(self, name) for name in MEANS}
        return {
            "n": self.n,
            "classes": self.classes,
            **means,
            **{f"{name}_interval": list(getattr(self, f"{name}_interval")) for name in MEANS},
            **{name: getattr(self, name) for name in WITHOUT_INTERVAL},
            "confusion_matrix": self.confusion_matrix.tolist(),
            "per_class": [dict(zip(header, row, strict=True)) for row in rows],
        }

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> "Scores":
        """The inverse of `to_json`; other keys of `given` are passed over.

        What older versions did not write follows from the confusion matrix, or is None.
        """
        matrix = np.array(given["confusion_matrix"])
        truth, predicted = (np.repeat(codes.ravel(), matrix.ravel()) for codes in np.indices(matrix.shape))
        found = _of_answers(truth, predicted, len(matrix), None) if "interval_method" not in given else {}
        found |= {"baseline_balanced_accuracy": None, "roc_auc": None, "average_precision": None}
        found |= {field.name: given[field.name] for field in fields(cls) if field.name in given}
        found |= {f"{name}_interval": tuple(found[f"{name}_interval"]) for name in MEANS}
        for name in (*SHARES, "support"):
            found[name] = np.array([row[name] for row in given["per_class"]])
        for name in SHARES:
            if f"{name}_interval" not in found:
                ends = [[row[f"{name}_low"], row[f"{name}_high"]] for row in given["per_class"]]
                found[f"{name}_interval"] = np.array(ends)
        return cls(**found | {"confusion_matrix": matrix})

    def class_rows(self) -> list[list[Any]]:
        """Header and one row a class, for a CSV file."""
        columns = [getattr(self, name).tolist() for name in (*SHARES, "support")]
        columns += [ends for name in SHARES for ends in getattr(self, f"{name}_interval").T.tolist()]
        rows = [list(row) for row in zip(self.classes, *columns, strict=True)]
        return [["class", *PER_CLASS], *rows]

    def confusion_rows(self, normalized: bool = False) -> list[list[Any]]:
        """The confusion matrix with its class names, for a CSV file: rows truth, columns predicted.

        normalized: as shares of each row, which sum to 1; 0 in the row of a class without pictures.
        """
        matrix = self.confusion_matrix
        if normalized:
            matrix = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        rows = zip(self.classes, matrix.tolist(), strict=True)
        return [["truth / predicted", *self.classes], *([name, *counts] for name, counts in rows)]


@dataclass(frozen=True)
class Leaked:
    """Scored pictures that are near-duplicates of training pictures; the scores without them, None where all are."""

    paths: list[str] = field(default_factory=list)
    without: Scores | None = None

    def to_json(self) -> dict[str, Any]:
        """leaked (how many), leaked_files, without_leaked (n, accuracy, accuracy_interval, log_loss) or None."""
        names = ("n", "accuracy", "accuracy_interval", "log_loss")
        scores = self.without.to_json() if self.without else None
        return {
            "leaked": len(self.paths),
            "leaked_files": self.paths,
            "without_leaked": scores and {name: scores[name] for name in names},
        }


def uneven(pictures: NDArray[np.intp]) -> bool:
    """Whether the largest class has 1.5 times the pictures of the smallest, or more: then accuracy misleads.

    pictures: (k,), of each class.
    """
    return bool(pictures.max() >= UNEVEN * pictures.min())


def score(
    truth: ArrayLike,
    predicted: ArrayLike,
    probabilities: ArrayLike,
    classes: ArrayLike,
    *,
    training_counts: ArrayLike,
    groups: Indices | None = None,
) -> Scores:
    """Score predictions against the true labels.

    truth, predicted: (n,) labels. probabilities: (n, k), rows summing to 1, columns in the order of `classes`
    (k,). training_counts: (k,) number of training pictures of each class. groups: (n,), equal numbers for pictures of a
    group that people named, None where nobody named any; these are what the intervals are over.

    The baseline is what the same pictures give to someone who knows nothing but the training labels and always answers
    their most frequent class; where several classes are equally frequent there, the one that scores best counts, so
    that a tie never flatters the model. Its balanced accuracy is 1 / (number of classes that have pictures), or 0 where
    that class has none. The log loss is the mean of -ln(probability of the true class); probabilities are clipped to
    [eps, 1 - eps] with eps = 2.2e-16 (float64), so that one certain error costs 36 and not infinity. Precision of a
    class that is never predicted, recall of a class that does not occur, and F1 of a class with neither are 0.

    Raises UserError where there is no picture, or one whose true label the model does not know; ValueError
    for arrays that do not fit together.
    """
    names = [str(name) for name in np.asarray(classes).tolist()]
    counts = np.asarray(training_counts)
    given = np.asarray(probabilities, dtype=np.float64)
    true_codes, predicted_codes = codes_of(truth, names), codes_of(predicted, names)
    n, k = len(true_codes), len(names)
    fitting = len(predicted_codes) == n and given.shape == (n, k) and counts.shape == (k,)
    if not fitting or (groups is not None and len(groups) != n):
        raise ValueError(
            f"{n} true labels, {len(predicted_codes)} predicted ones, probabilities {given.shape}, training counts "
            f"{counts.shape} and {None if groups is None else len(groups)} groups do not fit together for {k} classes"
        )
    if not np.isfinite(given).all():
        raise ValueError("a probability is not finite")
    if n == 0:
        raise UserError("there is no picture to score")
    eps = float(np.finfo(np.float64).eps)
    true_probabilities = np.clip(given[np.arange(n), true_codes], eps, 1 - eps)
    found = _of_answers(true_codes, predicted_codes, k, groups)
    baseline = found["support"][counts == counts.max()].max()
    return Scores(
        classes=names,
        baseline_accuracy=float(baseline / n),
        baseline_balanced_accuracy=float((baseline > 0) / np.count_nonzero(found["support"])),
        log_loss=float(-np.log(true_probabilities).mean()),
        **_of_ranks(true_codes, given),
        **found,
    )


def _of_answers(truth: Indices, predicted: Indices, k: int, groups: Indices | None) -> dict[str, Any]:
    """The fields of `Scores` that follow from the answers (n,) alone, classes being 0 to k - 1."""
    from sklearn.metrics import f1_score, matthews_corrcoef  # slow to import

    from classify.scoring.class_scores import class_scores

    scores = class_scores(truth, predicted, k, groups)
    found: dict[str, Any] = {}
    for name in MEANS:
        found[name], *ends = getattr(scores, name).tolist()
        found[f"{name}_interval"] = tuple(ends)
    for name in SHARES:
        found[name], *ends = getattr(scores, name)
        found[f"{name}_interval"] = np.stack(ends, axis=1)
    count = None if groups is None else len(np.unique(groups))
    over_groups = "bootstrap over groups" if (count or 0) >= FEW_GROUPS else "t over groups"
    if count == 1:
        over_groups = "Wilson of one group"
    return found | {
        "n": len(truth),
        "weighted_f1": float(f1_score(truth, predicted, average="weighted", zero_division=0)),
        "matthews": float(matthews_corrcoef(truth, predicted)) if len({*truth, *predicted}) > 1 else 0.0,
        "confusion_matrix": np.bincount(k * truth + predicted, minlength=k * k).reshape(k, k),
        "support": np.bincount(truth, minlength=k),
        "interval_method": "pictures" if count is None else over_groups,
        "interval_groups": count,
    }


def _of_ranks(truth: Indices, probabilities: Floats) -> dict[str, Any]:
    """ROC AUC and average precision, one class against the others, the means of the classes."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # slow to import

    of_class = truth[:, None] == np.arange(probabilities.shape[1])
    if not of_class.any(axis=0).all() or probabilities.shape[1] < 2:
        return {"roc_auc": None, "average_precision": None}
    return {
        "roc_auc": float(roc_auc_score(of_class, probabilities, average="macro")),
        "average_precision": float(average_precision_score(of_class, probabilities, average="macro")),
    }


def codes_of(labels: ArrayLike, names: list[str]) -> NDArray[np.intp]:
    """Position (n,) of every label in `names`. Raises UserError for labels that are not there."""
    number = {name: code for code, name in enumerate(names)}
    given = [str(label) for label in np.asarray(labels).tolist()]
    if unknown := sorted({*given} - {*names}):
        known = listed(map(repr, names), 10)
        raise UserError(f"labels unknown to the model: {len(unknown)}, the first is {unknown[0]!r}; it knows {known}")
    return np.array([number[label] for label in given], dtype=np.intp)
