"""Scores of predictions: how good, how sure, and against which baseline."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.errors import UserError, listed

PER_CLASS = ("precision", "recall", "f1", "support")


@dataclass(frozen=True)
class Scores:
    """Scores of n pictures over k classes; every array is in the order of `classes`."""

    n: int
    classes: list[str]
    accuracy: float
    accuracy_interval: tuple[float, float]
    baseline_accuracy: float
    log_loss: float
    confusion_matrix: NDArray[np.intp]  # (k, k): rows truth, columns predicted
    precision: NDArray[np.float64]  # (k,)
    recall: NDArray[np.float64]  # (k,)
    f1: NDArray[np.float64]  # (k,)
    support: NDArray[np.intp]  # (k,): pictures of the class among the scored ones

    def to_json(self) -> dict[str, Any]:
        """Everything as plain Python numbers, strings, lists and dicts."""
        header, *rows = self.class_rows()
        return {
            "n": self.n,
            "classes": self.classes,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "baseline_accuracy": self.baseline_accuracy,
            "log_loss": self.log_loss,
            "confusion_matrix": self.confusion_matrix.tolist(),
            "per_class": [dict(zip(header, row, strict=True)) for row in rows],
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Scores":
        """The inverse of `to_json`; other keys of `fields` are passed over."""
        columns = {name: np.array([row[name] for row in fields["per_class"]]) for name in PER_CLASS}
        return cls(
            n=fields["n"],
            classes=fields["classes"],
            accuracy=fields["accuracy"],
            accuracy_interval=tuple(fields["accuracy_interval"]),
            baseline_accuracy=fields["baseline_accuracy"],
            log_loss=fields["log_loss"],
            confusion_matrix=np.array(fields["confusion_matrix"]),
            **columns,
        )

    def class_rows(self) -> list[list[Any]]:
        """Header and one row a class, for a CSV file."""
        columns = [self.precision.tolist(), self.recall.tolist(), self.f1.tolist(), self.support.tolist()]
        rows = [list(row) for row in zip(self.classes, *columns, strict=True)]
        return [["class", *PER_CLASS], *rows]

    def confusion_rows(self) -> list[list[Any]]:
        """The confusion matrix with its class names, for a CSV file: rows truth, columns predicted."""
        rows = zip(self.classes, self.confusion_matrix.tolist(), strict=True)
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


def score(
    truth: ArrayLike,
    predicted: ArrayLike,
    probabilities: ArrayLike,
    classes: ArrayLike,
    *,
    training_counts: ArrayLike,
) -> Scores:
    """Score predictions against the true labels.

    truth, predicted: (n,) labels. probabilities: (n, k), rows summing to 1, columns in the order of `classes`
    (k,). training_counts: (k,) number of training pictures of each class.

    The interval is Wilson's score interval at 95% (see `wilson_interval`). The baseline is what the same
    pictures give to someone who knows nothing but the training labels and always answers their most frequent
    class; where several classes are equally frequent there, the one that scores best counts, so that a tie
    never flatters the model. The log loss is the mean of -ln(probability of the true class); probabilities
    are clipped to [eps, 1 - eps] with eps = 2.2e-16 (float64), so that one certain error costs 36 and not
    infinity. Precision of a class that is never predicted, recall of a class that does not occur, and F1 of a
    class with neither are 0.

    Raises UserError where there is no picture, or one whose true label the model does not know; ValueError
    for arrays that do not fit together.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support  # slow to import

    names = [str(name) for name in np.asarray(classes).tolist()]
    counts = np.asarray(training_counts)
    given = np.asarray(probabilities, dtype=np.float64)
    true_codes, predicted_codes = codes_of(truth, names), codes_of(predicted, names)
    n, k = len(true_codes), len(names)
    if len(predicted_codes) != n or given.shape != (n, k) or counts.shape != (k,):
        raise ValueError(
            f"{n} true labels, {len(predicted_codes)} predicted ones, probabilities {given.shape} and "
            f"training counts {counts.shape} do not fit together for {k} classes"
        )
    if not np.isfinite(given).all():
        raise ValueError("a probability is not finite")
    if n == 0:
        raise UserError("there is no picture to score")
    hits = int((true_codes == predicted_codes).sum())
    precision, recall, f1, support = precision_recall_fscore_support(
        true_codes, predicted_codes, labels=range(k), zero_division=0
    )
    eps = float(np.finfo(np.float64).eps)
    true_probabilities = np.clip(given[np.arange(n), true_codes], eps, 1 - eps)
    return Scores(
        n=n,
        classes=names,
        accuracy=hits / n,
        accuracy_interval=wilson_interval(hits, n),
        baseline_accuracy=float(support[counts == counts.max()].max() / n),
        log_loss=float(-np.log(true_probabilities).mean()),
        confusion_matrix=confusion_matrix(true_codes, predicted_codes, labels=range(k)),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
    )


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95% confidence interval of a share, successes of n > 0 trials.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927) 209-212. It stays inside [0, 1] and is not empty at 0 or n
    successes.
    """
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def codes_of(labels: ArrayLike, names: list[str]) -> NDArray[np.intp]:
    """Position (n,) of every label in `names`. Raises UserError for labels that are not there."""
    number = {name: code for code, name in enumerate(names)}
    given = [str(label) for label in np.asarray(labels).tolist()]
    if unknown := sorted({*given} - {*names}):
        known = listed(map(repr, names), 10)
        raise UserError(f"labels unknown to the model: {len(unknown)}, the first is {unknown[0]!r}; it knows {known}")
    return np.array([number[label] for label in given], dtype=np.intp)
