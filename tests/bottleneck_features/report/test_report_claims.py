"""What a report and a comparison claim: no more than the pictures tell."""

from typing import Any

import numpy as np
import pytest
from helpers.real_features import Data
from scipy.optimize import minimize_scalar

from bottleneck_features.report.findings import CalibrationBin
from bottleneck_features.report.parts.calibration_curve import calibration, chance_error, verdict
from bottleneck_features.report.parts.learning_curve import advice, learning_curve
from bottleneck_features.report.parts.suspects import CUT_OFF, calibrated, suspects, wrong_labels
from bottleneck_features.report.scored_pictures import folds_of, out_of_fold
from classify.comparison.paired_difference import Z_95, paired_difference
from classify.data.grouping import Grouping


def difference(better: int, worse: int, n: int, copies: int = 1) -> Any:
    right = np.repeat(np.arange(n) >= worse, copies)
    other = np.repeat((np.arange(n) < worse) | (np.arange(n) >= worse + better), copies)
    return paired_difference(right, other, np.repeat(np.arange(n), copies))


# ---- a difference of two classifiers on the same pictures


def test_a_difference_is_told_where_intervals_of_each_overlap() -> None:
    found = difference(0, 12, 1200)
    assert found.value == pytest.approx(-0.01) and found.interval == pytest.approx((-0.0174, -0.0057), abs=1e-4)
    assert difference(12, 0, 1200).interval == pytest.approx((0.0057, 0.0174), abs=1e-4)


def test_no_difference_seen_is_not_none_at_all() -> None:
    low, high = difference(0, 0, 100).interval
    assert low == pytest.approx(-high) and high == pytest.approx(Z_95**2 / (100 + Z_95**2))


@pytest.mark.parametrize(("better", "worse", "n"), [(3, 1, 30), (1, 0, 44), (0, 12, 1200), (20, 5, 100), (30, 0, 30)])
def test_the_ends_are_those_of_the_score_test(better: int, worse: int, n: int) -> None:
    """Its error is that of the likeliest shares with this difference, looked for by brute force."""
    for end in difference(better, worse, n).interval:

        def unlikely(rarer: float, end: float = end) -> float:
            shares = np.array([rarer + end, rarer, 1 - 2 * rarer - end])
            return -float(np.array([better, worse, n - better - worse]) @ np.log(np.maximum(shares, 1e-300)))

        rarer = minimize_scalar(
            unlikely, bounds=(max(0, -end), (1 - end) / 2), method="bounded", options={"xatol": 1e-12}
        ).x
        error = np.sqrt(max(0, n * (2 * rarer + end * (1 - end))))
        assert abs(better - worse - n * end) == pytest.approx(Z_95 * error, abs=1e-2)


@pytest.mark.parametrize(("better", "worse"), [(8, 2), (0, 0), (5, 5)])
def test_copies_of_the_same_pictures_tell_no_more(better: int, worse: int) -> None:
    alone, copied = difference(better, worse, 60), difference(better, worse, 60, copies=5)
    assert copied.value == pytest.approx(alone.value) and copied.interval == pytest.approx(alone.interval, abs=2e-3)
    right = np.repeat(np.arange(60) >= worse, 5)
    ungrouped = paired_difference(right, np.ones(300, bool), np.arange(300)).interval
    assert np.diff(ungrouped) < np.diff(
        paired_difference(right, np.ones(300, bool), np.repeat(np.arange(60), 5)).interval
    )


def test_the_interval_holds_the_truth_about_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        better, worse, _same = random.multinomial(300, [0.05, 0.02, 0.93])
        low, high = difference(better, worse, 300).interval
        held += low <= 0.03 <= high
    assert 0.92 < held / 400 < 0.98


# ---- calibration


def test_the_error_of_exact_probabilities_is_no_finding() -> None:
    random = np.random.default_rng(0)
    above = 0
    for _ in range(40):
        confidence = random.uniform(0.5, 1, 118)
        _, error = calibration(confidence, random.random(118) < confidence)
        chance = chance_error(confidence, np.arange(118))
        assert 0.02 < chance.low < chance.mean < chance.high
        above += "off by more" in verdict(error, chance)
    assert above <= 4
    sure = np.full(118, 0.99)
    _, error = calibration(sure, random.random(118) < 0.8)
    assert "off by more than chance" in verdict(error, chance_error(sure, np.arange(118)))
    assert chance_error(sure, np.arange(118)) == chance_error(sure, np.arange(118))


def test_near_duplicates_leave_more_to_chance() -> None:
    confidence = np.random.default_rng(0).uniform(0.5, 1, 200)
    same = np.repeat(confidence[::4], 4)
    assert chance_error(same, np.arange(200) // 4).mean > 1.3 * chance_error(same, np.arange(200)).mean


def test_a_bin_has_an_interval() -> None:
    low, high = CalibrationBin(0.95, 1.0, 10).interval
    assert (low, high) == pytest.approx((0.722, 1.0), abs=1e-3)


# ---- would more photographs help?


def test_more_help_is_claimed_where_it_is_seen_alone(digits: Data) -> None:
    rows, labels = digits[0], digits[1].astype(str)
    groups = np.arange(len(rows))
    few = [(np.arange(80), np.arange(80, 600))]
    counts, gain = learning_curve(rows, labels, groups, few, "logreg", {})
    assert gain is not None and (gain.half, gain.full) == (counts[-2].pictures, counts[-1].pictures)
    assert gain.interval[0] < gain.change < gain.interval[1] and gain.interval[0] > 0
    assert advice(gain).startswith("The last doubling of the photographs helped")
    many = [(np.arange(0, 500), np.arange(500, 540))]
    _, gain = learning_curve(rows, labels, groups, many, "logreg", {})
    assert gain is not None and gain.interval[0] < 0 < gain.interval[1]
    assert advice(gain).startswith("These pictures cannot tell whether more photographs would help: ")
    assert "too few" in advice(None)


def test_in_folds_every_picture_counts_once(digits: Data) -> None:
    rows, labels = digits[0][:200], digits[1][:200].astype(str)
    groups = np.arange(200)
    _, gain = learning_curve(rows, labels, groups, folds_of(labels, Grouping(groups)), "centroid", {})
    assert gain is not None and gain.full == 160 and np.diff(gain.interval)[0] < 0.2


# ---- labels


def test_planted_labels_are_called_wrong_and_others_seldom(digits: Data) -> None:
    rows, labels = digits[0], digits[1].astype(str)
    planted = np.random.default_rng(0).choice(600, 20, replace=False)
    wrong = labels.copy()
    wrong[planted] = np.char.mod("%d", (digits[1][planted] + 1) % 10)
    groups = np.arange(600)
    classes = sorted(set(wrong))
    splits = folds_of(wrong, Grouping(groups))
    given = out_of_fold(splits, rows, wrong, groups, classes, ("logreg", {}), ("knn", {}))
    found = suspects(given, wrong, classes, splits)
    called = [suspect.picture for suspect in found if suspect.probably_wrong]
    assert np.isin(planted, [suspect.picture for suspect in found[:40]]).all()
    assert len(called) > 10 and np.mean(np.isin(called, planted)) > 0.8
    assert all((suspect.given_probability < CUT_OFF) == suspect.probably_wrong for suspect in found)
    assert all(suspect.given_probability < suspect.probability for suspect in found)
    estimate = wrong_labels(given, wrong, classes, splits)
    assert estimate is not None and estimate.n == 600
    assert estimate.interval[0] * 600 < 20 < estimate.interval[1] * 600


def test_an_even_chance_is_not_called_wrong() -> None:
    """Two labels of 50.4% and 49.6%: the second is a suspect, and that is all that can be said."""
    random = np.random.default_rng(0)
    given = random.dirichlet([20, 1], 200)
    labels = np.array(["a", "b"])[(random.random(200) > given[:, 0]).astype(int)]
    given[0], labels[0] = (0.504, 0.496), "b"
    splits = [
        (np.flatnonzero(np.arange(200) % 4 != fold), np.flatnonzero(np.arange(200) % 4 == fold)) for fold in range(4)
    ]
    (found,) = [suspect for suspect in suspects(given, labels, ["a", "b"], splits) if suspect.picture == 0]
    assert not found.probably_wrong and found.given_probability > 0.4


def test_probabilities_are_calibrated_by_the_other_folds() -> None:
    """Decisions that are three times too sure become about right; what a fold holds does not change its own."""
    random = np.random.default_rng(0)
    true = random.dirichlet([2, 2, 2], 900)
    codes = np.array([random.choice(3, p=row) for row in true])
    sure = true**3 / (true**3).sum(axis=1, keepdims=True)
    splits = [
        (np.flatnonzero(np.arange(900) % 3 != fold), np.flatnonzero(np.arange(900) % 3 == fold)) for fold in range(3)
    ]
    found = calibrated(sure, codes, splits)
    assert np.abs(found - true).mean() < 0.03 < np.abs(sure - true).mean()
    other = codes.copy()
    other[splits[0][1]] = 0
    np.testing.assert_array_equal(calibrated(sure, other, splits)[splits[0][1]], found[splits[0][1]])
