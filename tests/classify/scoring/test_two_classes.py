"""Scores of one class of two against scikit-learn's, their intervals against the truth, and what is refused."""

import json

import numpy as np
import pytest
from sklearn import metrics

from cache.errors import UserError
from classify.scoring.held_out_answers import HeldOutAnswers
from classify.scoring.two_classes import NUMBERS, POINTS, check_positive, positive_report, positive_scores

RECALL, FALSE = 0.9, 0.02  # recall and false positive rate in a simulation


def answers(truth: np.ndarray, sure: np.ndarray, groups: np.ndarray | None = None) -> HeldOutAnswers:
    """Of classes "no" and "yes", 1 in `truth`; sure: (n,) probabilities of "yes"."""
    return HeldOutAnswers(
        classes=["no", "yes"],
        rows=np.arange(len(truth)),
        parts=np.full(len(truth), "test"),
        truth=truth,
        probabilities=np.stack([1 - sure, sure], axis=1),
        groups=np.arange(len(truth)) if groups is None else groups,
        names=None if groups is None else groups.astype(str),
    )


def drawn(n: int = 400, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = (random.random(n) < 0.3).astype(int)
    sure = 1 / (1 + np.exp(-random.normal(2.5 * truth - 1.2, 1.2)))
    return truth, sure.round(1) if ties else sure


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("prevalence", [None, 0.01, 0.6])
def test_scores_are_those_of_scikit_learn_at_any_prevalence(prevalence, ties):
    truth, sure = drawn(ties=ties)
    share = truth.mean() if prevalence is None else prevalence
    weights = np.where(truth == 1, share / truth.mean(), (1 - share) / (1 - truth.mean()))
    predicted = np.stack([1 - sure, sure]).argmax(axis=0)
    found = positive_scores(answers(truth, sure), "yes", prevalence)
    expected = (
        metrics.precision_score(truth, predicted, sample_weight=weights),
        metrics.recall_score(truth, predicted),
        metrics.f1_score(truth, predicted, sample_weight=weights),
        metrics.roc_auc_score(truth, sure),
        metrics.average_precision_score(truth, sure, sample_weight=weights),
    )
    assert [value for value, *_ in found.values.values()] == pytest.approx(expected)
    for value, low, high in found.values.values():
        assert 0 <= low < value < high <= 1
    false, true, _ = metrics.roc_curve(truth, sure, drop_intermediate=False)
    np.testing.assert_allclose(found.roc.y, [true[false <= point + 1e-9].max() for point in POINTS])
    precision, recall, _ = metrics.precision_recall_curve(truth, sure, sample_weight=weights)
    at = [precision[np.flatnonzero(recall >= point - 1e-9)[-1]] for point in POINTS]
    np.testing.assert_allclose(found.precision_recall.y, at)


def test_the_other_class_is_the_same_seen_from_the_other_side():
    truth, sure = drawn()
    yes, no = (positive_scores(answers(truth, sure), name).values for name in ("yes", "no"))
    assert yes["roc_auc"][0] == pytest.approx(no["roc_auc"][0])
    assert no["recall"][0] == pytest.approx(np.mean(sure[truth == 0] <= 0.5))


def test_intervals_of_a_given_prevalence_hold_the_truth():
    """Few pictures of a class that is well told from the other: often no negative is answered positively."""
    random, held = np.random.default_rng(0), []
    exact = RECALL * 0.01 / (RECALL * 0.01 + FALSE * 0.99)
    for _ in range(60):
        truth = np.repeat([1, 0], [30, 40])
        sure = np.where(random.random(70) < np.where(truth == 1, RECALL, FALSE), 0.9, 0.1)
        _, low, high = positive_scores(answers(truth, sure), "yes", 0.01).values["precision"]
        held.append(low <= exact <= high)
    assert np.mean(held) >= 0.9


def test_over_groups_that_differ_intervals_are_wider():
    truth, sure = drawn(600)
    site = np.arange(600) // 15
    shifted = 1 / (1 + np.exp(-(np.log(sure / (1 - sure)) + np.random.default_rng(1).normal(0, 2, 40)[site])))
    plain, grouped, few = (
        positive_scores(answers(truth, shifted, groups), "yes") for groups in (None, site, site // 4)
    )
    for name in NUMBERS:
        assert plain.values[name][0] == grouped.values[name][0] == few.values[name][0]
        assert np.ptp(plain.values[name][1:]) <= np.ptp(grouped.values[name][1:])
    assert np.ptp(plain.values["recall"][1:]) * 1.2 < np.ptp(grouped.values["recall"][1:])
    assert np.mean(plain.roc.high - plain.roc.low) < np.mean(grouped.roc.high - grouped.roc.low)


@pytest.mark.parametrize("prevalence", [None, 0.01, 0.3])
@pytest.mark.parametrize("groups", [None, 6, 40])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_f1_has_no_end_that_precision_and_recall_exclude(prevalence, groups, seed):
    truth, sure = drawn(60, seed)
    sure[truth == 0] *= 0.6  # hardly any negative is answered positively
    names = None if groups is None else np.arange(60) * 7 % groups
    values = positive_scores(answers(truth, sure, names), "yes", prevalence).values
    ends = zip(*(values[name][1:] for name in ("precision", "recall", "f1")), strict=True)
    (low, high) = ((2 * precision * recall / (precision + recall), f1) for precision, recall, f1 in ends)
    assert low[0] <= low[1] + 1e-9 and high[1] <= high[0] + 1e-9


@pytest.mark.parametrize("prevalence", [None, 0.01])
def test_where_all_are_right_no_interval_is_empty(prevalence):
    truth = np.repeat([0, 1], 30)
    found = positive_scores(answers(truth, np.where(truth == 1, 0.9, 0.1)), "yes", prevalence)
    for value, low, high in found.values.values():
        assert value == high == 1 and low < 0.95
    assert (found.precision_recall.low < 0.95).all() and (found.precision_recall.high == 1).all()
    if prevalence:
        assert found.values["precision"][1] < 0.2  # 30 negatives do not show a false positive rate below 1 in 100


def test_a_class_that_is_never_answered_may_have_any_precision():
    truth, sure = drawn()
    assert positive_scores(answers(truth, sure * 0.4), "yes").values["precision"] == (0, 0, 1)


def test_the_curves_are_short_and_survive_json():
    truth, sure = drawn(3000)
    report = positive_report(answers(truth, sure), "yes", 0.01)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {len(column) for curve in report["curves"].values() for column in curve.values()} == {100}
    assert (report["positive"]["class"], report["positive"]["prevalence"]) == ("yes", 0.01)
    assert positive_report(answers(truth, sure), None) == {}


@pytest.mark.parametrize(
    ("classes", "positive", "prevalence", "message"),
    [
        ("abc", "a", None, "'a': there are 3 classes, and it is for two"),
        ("ab", "c", None, "'c' is none of the two: give one of 'a', 'b'"),
        ("ab", None, 0.1, "prevalence 0.1: give --positive"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(classes, positive, prevalence, message):
    with pytest.raises(UserError, match=message) as error:
        check_positive(list(classes) * 3, positive, prevalence)
    assert "\n" not in str(error.value)


def test_pictures_of_one_class_alone_are_refused():
    with pytest.raises(UserError, match="of class 'yes' are 0 of 5 scored pictures"):
        positive_scores(answers(np.zeros(5, int), np.full(5, 0.5)), "yes")
