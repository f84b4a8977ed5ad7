"""The difference of two scores on the same pictures, by pictures and by groups."""

import numpy as np
import pytest

from classify.comparison.paired_difference import Difference, mcnemar, paired_difference
from classify.comparison.score_difference import Scorable, score_differences

CLASSES = np.array(["cat", "dog", "fox"])


def answered(labels: np.ndarray, accuracy: float, random: np.random.Generator, of_groups: np.ndarray) -> Scorable:
    """Answers whose rightness is shared within a group half of the time."""
    count = len(labels)
    own, shared = random.random(count), random.random(of_groups.max() + 1)[of_groups]
    right = np.where(random.random(count) < 0.5, own, shared) < accuracy
    codes = np.searchsorted(CLASSES, labels)
    answers = np.where(right, codes, (codes + 1) % 3)
    probabilities = np.full((count, 3), 0.2)
    probabilities[np.arange(count), answers] = 0.6
    return Scorable(CLASSES, labels, probabilities)


def drawn(seed: int, groups: int, of_each: int, one: float, other: float) -> tuple[Scorable, Scorable, np.ndarray]:
    random = np.random.default_rng(seed)
    of_groups = np.repeat(np.arange(groups), of_each)
    labels = CLASSES[random.integers(3, size=len(of_groups))]
    return answered(labels, one, random, of_groups), answered(labels, other, random, of_groups), of_groups


def test_accuracy_by_pictures_is_the_paired_difference() -> None:
    one, other, _ = drawn(0, 100, 1, 0.9, 0.8)
    (found,) = score_differences("accuracy", [other], one, np.arange(100), named=False)
    assert found == paired_difference(other.right, one.right, np.arange(100))


@pytest.mark.parametrize("groups", [8, 40])
@pytest.mark.parametrize("name", ["accuracy", "neg_log_loss"])
def test_intervals_by_groups_hold_the_true_difference_and_those_by_pictures_do_not(name: str, groups: int) -> None:
    """Two classifiers of equal accuracy: the interval should hold 0 in 95% of the draws."""
    held = {True: 0, False: 0}
    draws = 40
    for seed in range(draws):
        one, other, of_groups = drawn(seed, groups, 25, 0.8, 0.8)
        for named in held:
            units = of_groups if named else np.arange(len(of_groups))
            (found,) = score_differences(name, [other], one, units, named)
            held[named] += found.interval[0] <= 0 <= found.interval[1]
    assert held[True] >= 0.85 * draws
    assert held[False] <= 0.75 * draws


def test_a_score_that_is_no_mean_is_resampled_by_whole_groups() -> None:
    one, other, of_groups = drawn(0, 30, 25, 0.85, 0.75)
    (by_groups,) = score_differences("balanced_accuracy", [other], one, of_groups, named=True)
    (by_pictures,) = score_differences("balanced_accuracy", [other], one, np.arange(750), named=False)
    wide, narrow = (found.interval[1] - found.interval[0] for found in (by_groups, by_pictures))
    assert by_groups.value == by_pictures.value and wide > 1.5 * narrow


def test_a_mean_is_what_the_scorer_says() -> None:
    one, other, _ = drawn(0, 30, 25, 0.85, 0.75)
    (found,) = score_differences("neg_log_loss", [other], one, np.arange(750), named=False)
    assert found.value == pytest.approx(other.score("neg_log_loss") - one.score("neg_log_loss"), rel=1e-9)


def test_a_difference_to_itself_is_none_and_is_not_certain() -> None:
    one, _, of_groups = drawn(1, 30, 10, 0.8, 0.8)
    (found,) = score_differences("accuracy", [one], one, of_groups, named=True)
    assert found.value == 0 and found.interval[0] < 0 < found.interval[1] and found.verdict == "no different"


def test_what_is_said_is_what_the_interval_says() -> None:
    assert Difference(-0.1, (-0.2, -0.01)).verdict == "worse"
    assert Difference(0.1, (0.01, 0.2)).verdict == "better"
    assert Difference(-0.1, (-0.2, 0.0)).verdict == "no different"
    assert Difference(float("nan"), (float("-inf"), float("inf"))).to_json()["difference_interval"] == [None, None]


def test_mcnemar_counts_the_pictures_that_one_alone_has_right() -> None:
    right, other = np.array([1, 1, 1, 1, 1, 1, 0, 1], bool), np.array([0, 0, 0, 0, 0, 0, 0, 1], bool)
    assert mcnemar(right, other) == {"better": 6, "worse": 0, "p_value": pytest.approx(2 / 2**6)}
    assert mcnemar(right, right)["p_value"] == 1
