"""Which scores a search may go by: all of classifiers, on two classes and on five, and those of one class of two."""

import numpy as np
import pytest
from sklearn import metrics

from cache.errors import UserError
from classify.scoring.scorers import Scoring, check_scoring, score_by

ANY = ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro"]
ANY += ["matthews_corrcoef", "neg_log_loss", "neg_brier_score", "roc_auc_ovr", "roc_auc_ovo", "average_precision"]
OF_ONE_CLASS = ["f1", "precision", "recall", "jaccard"]


def drawn(k: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, labels and probabilities that are right more often than not."""
    random = np.random.default_rng(0)
    classes = np.array([f"kind {code}" for code in range(k)])
    truth = np.arange(n) % k
    probabilities = random.dirichlet(np.ones(k), n) * 0.6 + np.eye(k)[truth] * 0.4
    return classes, classes[truth], probabilities


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("name", ANY)
def test_scores_over_the_classes_are_accepted_whatever_their_number(name, k):
    classes, truth, probabilities = drawn(k)
    check_scoring(name, truth)
    wrong = np.roll(probabilities, 1, axis=1)
    assert score_by(name, classes, truth, probabilities) > score_by(name, classes, truth, wrong)


@pytest.mark.parametrize("name", OF_ONE_CLASS)
def test_a_score_of_one_class_is_accepted_once_it_is_named(name):
    classes, truth, probabilities = drawn(2)
    with pytest.raises(UserError, match=f"'{name}' .* 2 classes: it is of one of them, name it with --positive"):
        check_scoring(name, truth)
    check_scoring(name, truth, positive="kind 0")
    predicted = classes[probabilities.argmax(axis=1)]
    for positive in classes:
        expected = getattr(metrics, f"{name}_score")(truth, predicted, pos_label=positive)
        assert score_by(Scoring(name, str(positive)), classes, truth, probabilities) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_scores_of_ranks_are_those_of_the_positive_class(name):
    classes, truth, probabilities = drawn(2)
    for code, positive in enumerate(classes):
        check_scoring(name, truth, positive=str(positive))
        expected = getattr(metrics, f"{name}_score")(truth == positive, probabilities[:, code])
        assert score_by(Scoring(name, str(positive)), classes, truth, probabilities) == pytest.approx(expected)


def test_average_precision_without_a_class_is_the_mean_of_the_classes():
    classes, truth, probabilities = drawn(5)
    each = [metrics.average_precision_score(truth == name, probabilities[:, code]) for code, name in enumerate(classes)]
    assert score_by("average_precision", classes, truth, probabilities) == pytest.approx(np.mean(each))
    some = truth != "kind 3"
    assert np.isnan(score_by("average_precision", classes, truth[some], probabilities[some]))


@pytest.mark.parametrize("name", [*OF_ONE_CLASS, "roc_auc", "r2", "adjusted_rand_score"])
def test_what_is_not_of_five_classes_is_refused(name):
    with pytest.raises(UserError, match=f"'{name}' cannot be used with labels of 5 classes"):
        check_scoring(name, drawn(5)[1])
