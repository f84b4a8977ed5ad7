"""Scores against scikit-learn's and SciPy's own, on real features and on random ones."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from cache.errors import UserError
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.intervals import wilson_interval
from classify.scoring.metrics import Scores, score
from classify.scoring.out_of_fold import scores_of


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


def test_baseline_of_balanced_accuracy_is_one_of_the_classes_that_have_pictures():
    assert scored([0] * 2 + [1] * 8, [0] * 10, 3, training_counts=[9, 1, 1]).baseline_balanced_accuracy == 0.5
    assert scored([0] * 2 + [1] * 8, [0] * 10, 3, training_counts=[1, 1, 9]).baseline_balanced_accuracy == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 10_000))
@pytest.mark.filterwarnings("ignore:.*single label:UserWarning", "ignore:y_pred contains classes:UserWarning")
def test_scores_over_the_classes_are_those_of_scikit_learn(k, n, seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, k, n), rng.integers(0, k, n)
    scores = scored(truth, predicted, k, seed=seed)
    given = np.random.default_rng(seed).dirichlet(np.ones(k), n)
    assert scores.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    for average in ("macro", "weighted"):
        f1 = metrics.f1_score(truth, predicted, average=average, zero_division=0)
        assert getattr(scores, f"{average}_f1") == pytest.approx(f1)
    assert scores.matthews == pytest.approx(metrics.matthews_corrcoef(truth, predicted))
    if len(np.unique(truth)) < k:
        assert scores.roc_auc is scores.average_precision is None
        return
    auc = metrics.roc_auc_score(truth, given[:, 1] if k == 2 else given, multi_class="ovr")
    assert scores.roc_auc == pytest.approx(auc)
    each = [metrics.average_precision_score(truth == code, given[:, code]) for code in range(k)]
    assert scores.average_precision == pytest.approx(np.mean(each))


def test_groups_widen_the_intervals_and_change_no_score(digits):
    truth, predicted, given, classes, counts, _ = digits
    plain = score(truth, predicted, given, classes, training_counts=counts)
    errors_first = np.argsort(truth == predicted, kind="stable")
    groups = np.empty(500, int)
    groups[errors_first] = np.arange(500) // 25  # all errors are in a few groups
    grouped = score(truth, predicted, given, classes, training_counts=counts, groups=groups)
    assert (plain.interval_method, plain.interval_groups, plain.drawn) == ("pictures", None, "by pictures")
    assert (grouped.interval_method, grouped.interval_groups) == ("bootstrap over groups", 20)
    assert grouped.drawn == "over 20 groups"
    few = score(truth, predicted, given, classes, training_counts=counts, groups=groups // 2)
    assert (few.interval_method, few.interval_groups) == ("t over groups", 10)
    one = score(truth, predicted, given, classes, training_counts=counts, groups=np.zeros(500, int))
    assert (one.interval_method, one.interval_groups, one.drawn) == ("Wilson of one group", 1, "over 1 group")
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert getattr(plain, name) == getattr(grouped, name)
        widths = [np.ptp(getattr(scores, f"{name}_interval")) for scores in (plain, grouped, few)]
        assert widths[0] * 1.5 < widths[1] < widths[2]


@pytest.mark.parametrize(("pictures", "uneven"), [([10, 14], False), ([10, 15], True), ([9, 0, 9], True), ([5], False)])
def test_classes_are_uneven_where_the_largest_has_half_as_many_pictures_more(pictures, uneven):
    truth = np.repeat(np.arange(len(pictures)), pictures)
    assert scored(truth, truth, len(pictures)).uneven is uneven


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
    assert saved["per_class"][3]["recall_low"] == scores.recall_interval[3, 0]
    assert Scores.from_json(saved).to_json() == saved


def test_what_older_versions_wrote_is_read_with_what_follows_from_it(digits):
    truth, predicted, given, classes, counts, _ = digits
    scores = score(truth, predicted, given, classes, training_counts=counts).to_json()
    known = ("n", "classes", "accuracy", "accuracy_interval", "baseline_accuracy", "log_loss", "confusion_matrix")
    old = {name: scores[name] for name in known}
    columns = ("class", "precision", "recall", "f1", "support")
    old["per_class"] = [{name: row[name] for name in columns} for row in scores["per_class"]]
    read = Scores.from_json(old).to_json()
    by_probability = {"roc_auc": None, "average_precision": None}
    assert read == scores | by_probability | {"baseline_balanced_accuracy": None}


def test_csv_rows_carry_the_class_names_on_both_sides():
    scores = scored([0, 0, 1], [1, 0, 1], 2)
    file = io.StringIO()
    csv.writer(file).writerows(scores.confusion_rows())
    assert file.getvalue().splitlines() == ["truth / predicted,c000,c001", "c000,1,1", "c001,0,1"]
    file = io.StringIO()
    csv.writer(file).writerows(scores.confusion_rows(normalized=True))
    assert file.getvalue().splitlines() == ["truth / predicted,c000,c001", "c000,0.5,0.5", "c001,0.0,1.0"]
    header, *rows = scores.class_rows()
    assert header[:5] == ["class", "precision", "recall", "f1", "support"]
    assert header[5:] == ["precision_low", "precision_high", "recall_low", "recall_high", "f1_low", "f1_high"]
    assert [row[:5] for row in rows] == [
        ["c000", 1.0, 0.5, pytest.approx(2 / 3), 2],
        ["c001", 0.5, 1.0, pytest.approx(2 / 3), 1],
    ]
    assert rows[1][7:9] == pytest.approx(wilson_interval(1, 1))


def test_rows_of_the_normalized_matrix_sum_to_one_but_of_classes_without_pictures():
    rows = scored([0, 0, 0, 2], [0, 1, 2, 2], 3).confusion_rows(normalized=True)[1:]
    assert [sum(row[1:]) for row in rows] == pytest.approx([1, 0, 1])


def test_all_held_out_answers_of_a_cross_validation_are_scored_together(digits):
    truth, predicted, given, classes, counts, _ = digits
    parts = np.array([f"fold {number % 5 + 1}" for number in range(500)])
    groups = np.arange(500) // 10
    codes = np.searchsorted(classes, truth)
    about = {"classes": list(classes), "rows": np.arange(500), "parts": parts, "truth": codes, "probabilities": given}
    named = HeldOutAnswers(**about, groups=groups, names=np.array([f"site {group}" for group in groups]))
    unnamed = HeldOutAnswers(**about, groups=groups)
    scores = scores_of(named, counts)
    assert scores.accuracy == np.mean(truth == predicted)
    assert scores.drawn == "over 50 groups"
    assert (
        scores_of(unnamed, counts).to_json()
        == score(truth, predicted, given, classes, training_counts=counts).to_json()
    )
