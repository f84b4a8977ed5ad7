"""Intervals hold the truth as often as they say, also at new sites; none is empty, whatever the answers are."""

import sys
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from classify.scoring.class_scores import class_scores
from classify.scoring.intervals import by_pictures, over_groups, wilson, wilson_interval

sys.path.append(str(REPOSITORY / "benchmarks" / "accuracy"))
import intervals as simulation

SCORES = ("recall", "precision", "f1", "accuracy", "balanced_accuracy", "macro_f1")


@settings(max_examples=60)
@given(st.integers(1, 2000), st.floats(0, 1))
def test_the_interval_of_a_share_is_wilsons(n, share):
    successes = round(n * share)
    reference = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((reference.low, reference.high), abs=1e-9)
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high


def test_of_no_trial_a_share_may_be_anything():
    np.testing.assert_array_equal(wilson([0.0, 0.5], [0, 0]), [[0, 0], [1, 1]])


def test_at_new_sites_intervals_over_sites_hold_and_those_by_pictures_do_not():
    """Of 100 draws with 95% coverage fewer than 89 hold with a chance of 0.4%; the draws are always the same."""
    plain, _, shown = simulation.coverage(40, 30, draws=100)
    assert plain < 0.72
    assert 0.89 <= shown <= 1


def test_of_few_sites_the_t_interval_holds_and_a_bootstrap_would_not():
    _, bootstrap, shown = simulation.coverage(8, 30, draws=100)
    assert bootstrap < 0.91
    assert 0.89 <= shown <= 0.99


def test_sites_of_uneven_sizes_hold_too():
    plain, _, shown = simulation.coverage(12, 30, draws=100, uneven=1.0)
    assert plain < 0.65
    assert shown >= 0.89


@pytest.mark.parametrize(("sites", "size"), [(24, 30), (300, 1)])
def test_means_and_shares_of_classes_hold(sites, size):
    found = dict(zip(simulation.SCORES, simulation.class_coverage(sites, size, draws=50), strict=True))
    assert {name: share for name, share in found.items() if share < 0.85} == {}


def test_a_split_by_pictures_flatters_where_sites_share_features_and_one_by_sites_does_not():
    plain, grouped, truth = simulation.flattery(8, size=12)
    assert plain - truth > 0.1
    assert abs(grouped - truth) < 0.04  # of 50 draws it is within 0.02, see docs/explanation/intervals.md


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 30), st.integers(0, 10_000), st.booleans())
def test_no_interval_is_empty_or_undefined(k, n, groups, seed, all_right):
    random = np.random.default_rng(seed)
    truth = random.integers(0, k, n)
    predicted = truth if all_right else random.integers(0, k, n)
    named = random.integers(0, groups, n)
    plain, grouped = class_scores(truth, predicted, k), class_scores(truth, predicted, k, named)
    for name in SCORES:
        value, low, high = getattr(grouped, name)
        assert np.all((low >= 0) & (low <= value) & (value <= high) & (high <= 1))
        assert np.all(high - low > 0.01)
        np.testing.assert_array_equal(value, getattr(plain, name)[0])
        assert np.all(high - low >= getattr(plain, name)[2] - getattr(plain, name)[1])
    present = np.unique([*truth, *predicted])
    assert grouped.macro_f1[0] == pytest.approx(metrics.f1_score(truth, predicted, average="macro", labels=present))
    recall = metrics.recall_score(truth, predicted, average="macro", labels=np.unique(truth))
    assert grouped.balanced_accuracy[0] == pytest.approx(recall)
    for scores in (plain, grouped):
        box = 2 * scores.precision * scores.recall / np.maximum(scores.precision + scores.recall, 1e-9)
        assert np.all((scores.f1[1] >= box[1] - 1e-9) & (scores.f1[2] <= box[2] + 1e-9))


def test_all_right_is_as_sure_as_the_number_of_groups_says():
    truth = np.tile([0, 1], 60)
    plain, grouped = class_scores(truth, truth, 2), class_scores(truth, truth, 2, np.arange(120) // 12)
    assert plain.accuracy[1:] == pytest.approx(wilson_interval(120, 120))
    assert grouped.accuracy[1:] == pytest.approx(wilson_interval(10, 10))


def test_of_one_group_the_interval_is_that_of_one_trial():
    truth, predicted = np.zeros(40, int), np.arange(40) % 4 // 3
    assert class_scores(truth, predicted, 2, np.zeros(40, int)).accuracy[1:] == pytest.approx(wilson(0.75, 1))


@pytest.mark.parametrize("wrong", [[0, 10, 20], [0, 1, 2], [0, 1, 10], []])
def test_of_one_group_the_means_are_no_surer_than_accuracy(wrong):
    truth = np.repeat([0, 1, 2], 10)
    predicted = truth.copy()
    predicted[wrong] = (predicted[wrong] + 1) % 3
    found = class_scores(truth, predicted, 3, np.zeros(30, int))
    for mean in (found.balanced_accuracy, found.macro_f1):
        low, high = wilson(mean[0], 1)
        assert mean[1] <= low + 1e-9 and mean[2] >= high - 1e-9


def test_all_right_the_means_are_no_surer_than_accuracy():
    truth = np.tile([0, 1, 2], 40)
    found = class_scores(truth, truth, 3, np.arange(120) // 12)
    assert found.balanced_accuracy[1] <= found.accuracy[1] + 1e-9
    assert found.macro_f1[1] <= found.accuracy[1] + 1e-9


def test_classes_that_one_group_has_are_unsure_together_and_those_of_several_groups_are_not():
    """Class 0 is everywhere, classes 1 to 4 in one group each: the same one, or four."""
    truth = np.concatenate([np.zeros(200, int), np.repeat([1, 2, 3, 4], 10)])
    predicted = np.where(np.arange(240) % 10 == 0, 0, truth)
    site = np.concatenate([np.arange(200) // 10 + 4, np.repeat([0, 1, 2, 3], 10)])
    several, one = (
        class_scores(truth, predicted, 5, site),
        class_scores(truth, predicted, 5, np.where(site < 4, 0, site)),
    )
    np.testing.assert_array_equal(several.recall, one.recall)
    assert one.balanced_accuracy[1] < several.balanced_accuracy[1] - 0.1


def test_a_class_in_one_group_is_unsure_and_makes_the_means_unsure():
    """About nine pictures of ten are right in every group; a rare class is in one group alone, all right."""
    site = np.repeat(np.arange(30), 20)
    truth, predicted = np.zeros(600, int), (np.random.default_rng(0).random(600) < 0.1).astype(int)
    truth[:20], predicted[:20] = 2, 2
    found = class_scores(truth, predicted, 3, site)
    assert found.recall[:, 2] == pytest.approx([1, *wilson_interval(1, 1)])
    assert found.recall[2, 0] - found.recall[1, 0] < 0.06
    assert found.balanced_accuracy[1] < 0.6


def test_groups_of_one_picture_are_pictures():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 400)
    predicted = np.where(random.random(400) < 0.8, truth, random.integers(0, 3, 400))
    plain, grouped = class_scores(truth, predicted, 3), class_scores(truth, predicted, 3, np.arange(400))
    for name in SCORES:
        np.testing.assert_allclose(getattr(grouped, name), getattr(plain, name), atol=0.012)


def test_the_same_answers_have_the_same_interval():
    truth, predicted, site = np.arange(90) % 3, np.arange(90) // 2 % 3, np.arange(90) // 4
    for groups in (None, site):
        first, again = (class_scores(truth, predicted, 3, groups) for _ in range(2))
        np.testing.assert_array_equal(first.macro_f1, again.macro_f1)


def test_over_groups_of_a_value_that_rests_on_none_says_nothing():
    sizes = np.array([[3.0, 0], [4, 0]])
    ends = over_groups(lambda weights: np.column_stack([weights @ [0.5, 0.25], np.full(len(weights), np.nan)]), sizes)
    assert np.isfinite(ends[:, 0]).all() and np.isnan(ends[:, 1]).all()


def test_a_bootstrap_of_many_pictures_needs_little_memory():
    """Of 20,000 pictures that are all different 1,000 draws are 160 MB; a few draws at a time stay below 100."""
    values = np.random.default_rng(0).random(20_000)
    tracemalloc.start()
    ends = by_pictures(lambda weights: (weights @ values)[:, None] / 20_000, np.ones(20_000))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 150e6
    assert ends[:, 0] == pytest.approx(0.5, abs=0.01)


def test_scores_in_threads_print_no_warning():
    """Scores without any value in some draw, as pages compute them beside each other: `catch_warnings` would leak."""
    truth, predicted = np.array([0] * 30 + [1] * 2), np.array([0] * 32)
    before, interval = [*warnings.filters], sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            with ThreadPoolExecutor(8) as threads:
                scores = list(threads.map(lambda _: class_scores(truth, predicted, 3, np.arange(32)), range(96)))
    finally:
        sys.setswitchinterval(interval)
    assert [str(warning.message) for warning in found] == []
    assert warnings.filters == before
    assert len({each.accuracy.tobytes() for each in scores}) == 1
