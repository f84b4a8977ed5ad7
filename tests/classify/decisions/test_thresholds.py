"""Which answers may be accepted: the exact bound, groups, monotony, and what is refused."""

import math

import numpy as np
import pytest
from helpers.models.held_out import answers_of, calibrated
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from cache.errors import UserError
from classify.decisions.lower_bounds import counted, intraclass_correlation
from classify.decisions.prediction_sets import PredictionSets
from classify.decisions.saved_answers import SavedAnswers
from classify.decisions.thresholds import MOST_THRESHOLDS, OWN_THRESHOLD, Acceptance, Curve, needed, steps

CLASSES = ["a", "b"]


@pytest.mark.parametrize("n", [1, 5, 149, 1000])
def test_without_groups_the_bound_is_the_exact_one(n: int) -> None:
    right = np.arange(n) % 7 > 0
    found = counted(right, np.arange(n))
    hits = int(right.sum())
    assert found.independent == pytest.approx(n)
    assert found.lower()[0] == pytest.approx(beta.ppf(0.05, hits, n - hits + 1) if hits else 0)
    (low,), (high,) = found.interval()
    if 0 < hits < n:
        assert (low, high) == pytest.approx((beta.ppf(0.025, hits, n - hits + 1), beta.ppf(0.975, hits + 1, n - hits)))


def test_of_pictures_that_are_all_alike_in_a_group_the_groups_count() -> None:
    groups = np.repeat(np.arange(40), 30)
    right = np.repeat(np.arange(40) % 8 > 0, 30)
    assert intraclass_correlation(right, groups) == pytest.approx(1)
    assert counted(right, groups).independent[0] < 40
    for wrong in (0, 3):
        one_group = counted(np.arange(500) >= wrong, np.zeros(500, int))
        assert one_group.lower()[0] == one_group.independent[0] == 0 and one_group.interval()[1][0] == 1


def test_the_order_of_the_answers_does_not_matter() -> None:
    random = np.random.default_rng(0)
    confidence, right = calibrated(random, 400)
    answers = answers_of(confidence, right, groups=random.integers(30, size=400))
    order = random.permutation(400)
    shuffled = Curve.of(answers.chosen(order))
    curve = Curve.of(answers)
    assert np.allclose(curve.bounds, shuffled.bounds) and np.array_equal(curve.thresholds, shuffled.thresholds)


@given(
    st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.9, 0.95, 0.99, 1.0]), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 40),
    st.integers(1, 30),
)
@settings(max_examples=60, deadline=None)
def test_a_stricter_target_never_accepts_more(drawn: list[tuple[float, bool]], times: int, groups: int) -> None:
    confidence, right = (np.array(column * times) for column in map(list, zip(*drawn, strict=True)))
    answers = answers_of(confidence, right.astype(bool), groups=np.arange(len(right)) % (groups * times))
    shares = [
        Acceptance.of(answers, CLASSES, target).accepted.mean() for target in (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
    ]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(("target", "number"), [(0.98, 149), (0.95, 59), (0.99, 299), (0.9, 29)])
def test_refused_exactly_below_the_needed_number(target: float, number: int) -> None:
    assert needed(target) == number == math.ceil(math.log(0.05) / math.log(target))

    def asked(count: int) -> Acceptance:
        return Acceptance.of(answers_of(np.linspace(0.9, 1, count), np.ones(count, bool)), CLASSES, target)

    assert asked(number).refused is None and asked(number).accepted.all()
    reason = asked(number - 1).refused
    assert reason and str(number) in reason and str(number - 1) in reason and "\n" not in reason
    assert not asked(number - 1).accepted.any()


def test_what_a_refusal_allows_instead_is_allowed() -> None:
    answers = answers_of(np.linspace(0.6, 1, 200), np.arange(200) % 20 > 0)
    reason = Acceptance.of(answers, CLASSES, 0.99).refused
    assert reason
    allowed = float(reason.rsplit("give ", 1)[1].split()[0])
    assert Acceptance.of(answers, CLASSES, allowed).refused is None
    assert Acceptance.of(answers, CLASSES, allowed + 0.001).refused


@pytest.mark.parametrize("target", [0, 1, -0.1, 1.5, float("nan"), "0.9", True])
def test_a_target_that_is_no_share_is_refused(target: object) -> None:
    answers = answers_of(np.linspace(0.5, 1, 20), np.ones(20, bool))
    with pytest.raises(UserError, match=r"accept=.* is not valid: give a number above 0 and below 1"):
        Acceptance.of(answers, CLASSES, target)  # type: ignore[arg-type]


def test_each_class_has_a_threshold_of_its_own_where_each_has_enough() -> None:
    random = np.random.default_rng(0)
    count = 2 * OWN_THRESHOLD
    predicted = np.arange(count) % 2
    confidence = random.uniform(0.5, 1, count)
    right = (predicted == 0) | (confidence > 0.8)  # the second class is right only where it is sure
    acceptance = Acceptance.of(answers_of(confidence, right, predicted), CLASSES, 0.95)
    assert acceptance.by_class
    first, second = acceptance.thresholds
    assert first < 0.55 and 0.7 < second < 0.85
    fewer = Acceptance.of(answers_of(confidence[2:], right[2:], predicted[2:]), CLASSES, 0.95)
    assert not fewer.by_class and len(set(fewer.thresholds.tolist())) == 1


def test_a_class_that_is_refused_leaves_the_others_accepted() -> None:
    count = 2 * OWN_THRESHOLD
    predicted = np.arange(count) % 2
    right = (predicted == 0) | (np.arange(count) % 4 > 1)
    acceptance = Acceptance.of(answers_of(np.linspace(0.5, 1, count), right, predicted), CLASSES, 0.95)
    assert acceptance.refused is None and acceptance.refused_of(0) is None
    assert np.isinf(acceptance.thresholds[1]) and "'b'" in (acceptance.refused_of(1) or "")
    assert acceptance.accepts(np.array([0, 1]), np.array([1.0, 1.0])).tolist() == [True, False]


def test_sure_answers_that_are_equal_are_accepted_together() -> None:
    confidence = np.repeat([1.0, 0.7], [300, 300])
    right = np.concatenate([np.ones(300, bool), np.arange(300) % 3 > 0])
    acceptance = Acceptance.of(answers_of(confidence, right), CLASSES, 0.95)
    assert set(acceptance.thresholds.tolist()) == {1.0} and acceptance.accepted.sum() == 300


@pytest.mark.parametrize("count", [1, 9, 10, 11, 500, 20_000, 3_000_000])
def test_few_thresholds_are_tried_and_the_last_accepts_all(count: int) -> None:
    tried = steps(count)
    assert len(tried) <= MOST_THRESHOLDS and tried[-1] == count and tried[0] >= 1 and (np.diff(tried) > 0).all()


def test_a_target_is_kept_in_truth_and_little_is_given_away() -> None:
    """Over 300 draws of 500 answers that are right with their probability: broken in at most 5% and by chance."""
    random, broken, shares, target = np.random.default_rng(0), 0, [], 0.95
    for _ in range(300):
        confidence, right = calibrated(random, 500)
        threshold = Curve.of(answers_of(confidence, right)).threshold(target)
        truth = np.linspace(0.5, 1, 10_001)[1:] ** 0.5  # the confidences that `calibrated` draws from
        taken = truth >= threshold
        broken += bool(taken.any() and truth[taken].mean() < target)
        shares.append(taken.mean())
    assert broken <= binom.ppf(0.999, 300, 0.05)
    assert np.mean(shares) > 0.1


def test_at_new_sites_the_bound_by_groups_holds_and_that_by_pictures_does_not() -> None:
    """30 sites of 30 pictures, each shifted as a whole, 150 draws: precision at new sites is below 0.9 in truth."""
    random, target = np.random.default_rng(0), 0.9
    logits = np.linspace(-4, 12, 400)
    weights = np.exp(-((logits - 3) ** 2) / 8)
    shifts = 1.4 * random.normal(size=2000)
    truth = (1 / (1 + np.exp(-(logits[:, None] + shifts)))).mean(axis=1)
    precision = np.cumsum((weights * truth)[::-1])[::-1] / np.cumsum(weights[::-1])[::-1]
    broken = np.zeros(2)
    for _ in range(150):
        sites = np.repeat(np.arange(30), 30)
        logit = random.normal(3, 2, len(sites))
        right = random.random(len(sites)) < 1 / (1 + np.exp(-(logit + 1.4 * random.normal(size=30)[sites])))
        for number, groups in enumerate((sites, np.arange(len(sites)))):
            confidence = 1 / (1 + np.exp(-np.maximum(logit, -3.9)))
            threshold = Curve.of(answers_of(confidence, right, groups=groups)).threshold(target)
            if math.isfinite(threshold):
                broken[number] += np.interp(np.log(threshold / (1 - threshold)), logits, precision) < target
    by_groups, by_pictures = broken / 150
    assert by_groups <= binom.ppf(0.999, 150, 0.05) / 150
    assert by_pictures > 0.08 and by_pictures > by_groups


def test_arrays_are_those_of_the_answers() -> None:
    confidence, right = calibrated(np.random.default_rng(1), 50)
    answers = answers_of(confidence, right)
    again = SavedAnswers.from_arrays(answers.to_arrays(), 2, [])
    for name, array in vars(answers).items():
        assert np.array_equal(getattr(again, name), array), name


def test_a_class_without_held_out_answers_is_never_accepted_and_in_every_set() -> None:
    """A class in one group of the training pictures: every fold trains on it, and none tells how it is answered."""
    truth = np.tile([0, 1], 100).astype(np.int32)
    sure = np.full(200, 0.9)
    each = np.arange(200, dtype=np.int32)
    kept = SavedAnswers(sure, sure, truth, truth, each, np.full(200, -1, np.int32))
    acceptance = Acceptance.of(kept, ["cat", "dog", "lynx"], 0.95)
    assert acceptance.unanswered == ["lynx"]
    accepted = acceptance.accepts(np.array([0, 1, 2]), np.array([0.95, 0.95, 1.0]))
    assert accepted.tolist() == [True, True, False]
    sets = PredictionSets.of(kept, 3, 0.9)
    assert sets.members(np.array([[0.95, 0.03, 0.02]])).tolist() == [[True, False, True]]
