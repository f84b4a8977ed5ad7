"""Scores against scikit-learn's and SciPy's own, on real features and on random ones."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from cache.errors import UserError
from classify.scoring.metrics import Scores, score, wilson_interval


def scored(truth, predicted, k: int, *, training_counts=None, seed: int = 0) -> Scores:
    """Scores of class numbers as labels "c0", "c1", ...; random probabilities."""
    classes = np.array([f"c{i:03}" for i in range(k)])
    given = np.random.default_rng(seed).dirichlet(np.ones(k), len(truth))
    counts = np.ones(k) if training_counts is None else training_counts
    return score(classes[truth], classes[predicted], given, classes, training_counts=counts)


@pytest.fixture(scope="module")
def digits():
    """Real features: truth, predictions and probabilities of 500 digits, trained on an unbalanced rest."""
    X, y = load_digits(return_X_y=True)
    y = np.array([f"digit {label}" for label in y])
    X_train, y_train = X[500:], y[500:]
    keep = (y_train == "digit 3") | (np.arange(len(y_train)) % 4 == 0)
    model = LogisticRegression(max_iter=500).fit(X_train[keep] / 16, y_train[keep])
    counts = np.array([np.sum(y_train[keep] == name) for name in model.classes_])
    baseline = DummyClassifier(strategy="most_frequent").fit(X_train[keep], y_train[keep]).score(X[:500], y[:500])
    given, predicted = model.predict_proba(X[:500] / 16), model.predict(X[:500] / 16)
    return y[:500], predicted, given, model.classes_, counts, baseline


def test_real_predictions_score_as_scikit_learn_says(digits):
    truth, predicted, given, classes, counts, baseline = digits
    scores = score(truth, predicted, given, classes, training_counts=counts)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, predicted, labels=classes)
    assert 0.8 < scores.accuracy < 1
    assert scores.n == 500
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert scores.log_loss == pytest.approx(metrics.log_loss(truth, given, labels=classes), rel=1e-12)
    assert scores.baseline_accuracy == pytest.approx(baseline)
    np.testing.assert_array_equal(scores.confusion_matrix, metrics.confusion_matrix(truth, predicted, labels=classes))
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    np.testing.assert_array_equal(scores.support, support)


@settings(max_examples=60)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 10_000))
def test_random_predictions_score_as_scikit_learn_says(k, n, seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, k, n), rng.integers(0, k, n)
    scores = scored(truth, predicted, k)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, predicted, labels=range(k), zero_division=0
    )
    reference = metrics.confusion_matrix([*truth, *range(k)], [*predicted, *range(k)]) - np.eye(k, dtype=int)
    np.testing.assert_array_equal(scores.confusion_matrix, reference)
    for ours, theirs in ((scores.precision, precision), (scores.recall, recall), (scores.f1, f1)):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_array_equal(scores.support, support)


def test_log_loss_of_a_certain_error_is_finite_and_that_of_scikit_learn():
    given = np.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]])
    scores = score(["a", "a", "a"], ["a", "b", "b"], given, ["a", "b"], training_counts=[1, 1])
    assert scores.log_loss == pytest.approx(metrics.log_loss(["a", "a", "a"], given, labels=["a", "b"]), rel=1e-12)
    assert 12 < scores.log_loss < 13


def test_log_loss_of_float32_is_clipped_as_float64():
    given = np.array([[1.0, 0.0]], dtype=np.float32)
    scores = score(["b"], ["a"], given, ["a", "b"], training_counts=[1, 1])
    assert scores.log_loss == pytest.approx(-np.log(np.finfo(np.float64).eps))


def test_baseline_is_the_training_majority_on_the_scored_pictures():
    truth, predicted = [0] * 2 + [1] * 8, [0] * 10
    assert scored(truth, predicted, 2, training_counts=[9, 1]).baseline_accuracy == 0.2
    assert scored(truth, predicted, 2, training_counts=[1, 9]).baseline_accuracy == 0.8


def test_a_tie_in_training_counts_for_the_baseline():
    assert scored([0] * 2 + [1] * 8, [0] * 10, 3, training_counts=[5, 5, 4]).baseline_accuracy == 0.8


@settings(max_examples=60)
@given(st.integers(1, 2000), st.floats(0, 1))
def test_the_interval_is_wilsons(n, share):
    successes = round(n * share)
    reference = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((reference.low, reference.high), abs=1e-9)
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high


def test_an_unknown_label_is_named():
    with pytest.raises(UserError, match="unknown to the model: 1, the first is 'cow'; it knows 'a', 'b'"):
        score(["a", "cow"], ["a", "b"], np.full((2, 2), 0.5), ["a", "b"], training_counts=[1, 1])


def test_no_picture_is_an_error():
    with pytest.raises(UserError, match="no picture to score"):
        score([], [], np.empty((0, 2)), ["a", "b"], training_counts=[1, 1])


@pytest.mark.parametrize(
    ("predicted", "given", "counts"),
    [
        (["a"], np.full((2, 2), 0.5), [1, 1]),
        (["a", "b"], np.full((2, 3), 0.5), [1, 1]),
        (["a", "b"], np.full((2, 2), 0.5), [1, 1, 1]),
        (["a", "b"], np.full((2, 2), np.nan), [1, 1]),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(predicted, given, counts):
    with pytest.raises(ValueError, match=r"do not fit together|not finite"):
        score(["a", "b"], predicted, given, ["a", "b"], training_counts=counts)


def test_json_holds_everything_and_survives_the_round_trip(digits):
    truth, predicted, given, classes, counts, _ = digits
    scores = score(truth, predicted, given, classes, training_counts=counts)
    saved = scores.to_json()
    assert json.loads(json.dumps(saved, allow_nan=False)) == saved
    assert saved["classes"] == [f"digit {i}" for i in range(10)]
    assert np.trace(saved["confusion_matrix"]) / saved["n"] == saved["accuracy"]
    assert saved["per_class"][3]["class"] == "digit 3"
    assert saved["per_class"][3]["recall"] == scores.recall[3]
    assert saved["accuracy_interval"] == list(scores.accuracy_interval)


def test_csv_rows_carry_the_class_names_on_both_sides():
    scores = scored([0, 0, 1], [1, 0, 1], 2)
    file = io.StringIO()
    csv.writer(file).writerows(scores.confusion_rows())
    assert file.getvalue().splitlines() == ["truth / predicted,c000,c001", "c000,1,1", "c001,0,1"]
    assert scores.class_rows() == [
        ["class", "precision", "recall", "f1", "support"],
        ["c000", 1.0, 0.5, pytest.approx(2 / 3), 2],
        ["c001", 0.5, 1.0, pytest.approx(2 / 3), 1],
    ]
