"""Label sets: how often they hold the truth, by classes, by groups, never empty; what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.models.held_out import answers_of

from cache.errors import UserError
from classify.answers import Answers
from classify.decisions.decide import SEPARATOR, Decisions
from classify.decisions.prediction_sets import PredictionSets, measured_out_of_fold
from classify.decisions.saved_answers import SavedAnswers
from classify.scoring.held_out_answers import HeldOutAnswers
from featurize.extract.outcome import Outcome

CLASSES = ["a", "b, c", "d"]


def drawn(random: np.random.Generator, count: int, groups: np.ndarray | None = None) -> HeldOutAnswers:
    """Answers of three classes, each label as probable as it is said to be."""
    probabilities = random.dirichlet(np.full(3, 0.4), count)
    truth = (random.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    each = np.arange(count)
    return HeldOutAnswers(
        CLASSES, each, np.full(count, "test"), truth, probabilities, each if groups is None else groups
    )


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_hold_the_truth_as_often_as_asked_in_each_class(coverage: float) -> None:
    random = np.random.default_rng(0)
    held, new = drawn(random, 4000), drawn(random, 20_000)
    sets = PredictionSets.of(SavedAnswers.of(held), 3, coverage)
    inside = sets.members(new.probabilities)
    assert sets.by_class
    for code in range(3):
        covered = inside[new.truth == code, code].mean()
        assert covered >= coverage - 0.02
    found = sets.measured(new.probabilities, new.truth)
    assert found["coverage"] == pytest.approx(inside[np.arange(20_000), new.truth].mean())
    assert 1 <= found["mean_size"] < 3


def test_on_average_a_few_answers_are_enough() -> None:
    """Of 30 answers each, over 300 draws: on average at least the coverage, by the rank ceil((n + 1) 0.9)."""
    covered = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        sets = PredictionSets.of(SavedAnswers.of(drawn(random, 30)), 3, 0.9)
        assert not sets.by_class
        new = drawn(random, 200)
        covered.append(sets.measured(new.probabilities, new.truth)["coverage"])
    assert np.mean(covered) >= 0.9 - 3 * np.std(covered) / np.sqrt(300)


def test_no_set_is_empty_and_the_most_probable_label_is_first() -> None:
    sure = answers_of(np.full(100, 1.0), np.ones(100, bool), np.arange(100) % 2)
    decisions = Decisions.of(sure, ["a", "b"], None, 0.9)
    assert decisions.sets and decisions.sets.limits.max() == 0
    probabilities = np.array([[0.4, 0.6], [1.0, 0.0], [np.nan, np.nan]])
    answers = Answers(Outcome(["1", "2", "3"]), probabilities)
    assert decisions.columns(answers) == {"labels": ["b", "a", ""]}


def test_labels_of_a_set_are_in_the_order_of_their_probability() -> None:
    sets = PredictionSets(0.9, np.full(3, 0.9), by_class=False)
    columns = Decisions(CLASSES, None, sets).columns(Answers(Outcome(["1"]), np.array([[0.2, 0.75, 0.05]])))
    assert columns["labels"] == [SEPARATOR.join(["b, c", "a"])]


def test_more_is_in_the_sets_the_higher_the_coverage() -> None:
    random = np.random.default_rng(0)
    held, new = SavedAnswers.of(drawn(random, 300)), drawn(random, 300)
    asked = [PredictionSets.of(held, 3, coverage) for coverage in (0.5, 0.7, 0.9, 0.95)]
    of_one_kind = [sets.members(new.probabilities).sum() for sets in asked if sets.by_class]
    assert len(of_one_kind) > 2 and of_one_kind == sorted(of_one_kind)


@pytest.mark.parametrize(("coverage", "number"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1)])
def test_too_few_groups_are_refused_with_the_number_needed(coverage: float, number: int) -> None:
    def asked(groups: int) -> PredictionSets:
        random = np.random.default_rng(0)
        held = drawn(random, 3 * groups, np.repeat(np.arange(groups), 3))
        return PredictionSets.of(SavedAnswers.of(held), 3, coverage)

    assert math.isfinite(asked(number).limits.min())
    if number > 1:
        with pytest.raises(UserError, match=rf"of {number} different pictures or groups, the model has {number - 1}"):
            asked(number - 1)


def test_each_group_weighs_the_same_however_many_pictures_it_has() -> None:
    """Half of the sites are hard and have few pictures: by pictures their labels would be missed."""
    random = np.random.default_rng(0)

    def sites(count: int, equal: bool) -> HeldOutAnswers:
        hard = np.arange(count) % 2 > 0
        sizes = np.full(count, 10) if equal else np.where(hard, 5, 100)
        groups = np.repeat(np.arange(count), sizes)
        truth = random.integers(2, size=len(groups))
        own = np.where(hard[groups], random.uniform(0.2, 0.6, len(groups)), random.uniform(0.9, 1, len(groups)))
        probabilities = np.empty((len(groups), 2))
        probabilities[np.arange(len(groups)), truth], probabilities[np.arange(len(groups)), 1 - truth] = own, 1 - own
        each = np.arange(len(groups))
        return HeldOutAnswers(["a", "b"], each, np.full(len(groups), "test"), truth, probabilities, groups)

    held, new = sites(40, equal=False), sites(2000, equal=True)
    by_groups = PredictionSets.of(SavedAnswers.of(held), 2, 0.9)
    assert by_groups.measured(new.probabilities, new.truth)["coverage"] >= 0.88
    each = SavedAnswers.of(replace(held, groups=np.arange(len(held.truth))))
    by_pictures = PredictionSets.of(each, 2, 0.9)
    assert by_pictures.measured(new.probabilities, new.truth)["coverage"] < 0.85


def test_coverage_is_measured_on_answers_that_did_not_set_the_limits() -> None:
    found = measured_out_of_fold(drawn(np.random.default_rng(0), 2000), 0.9)
    assert found and abs(found["coverage"] - 0.9) < 0.03 and 1 < found["mean_size"] < 3
    assert measured_out_of_fold(drawn(np.random.default_rng(0), 10), 0.9) is None


def test_what_is_sure_is_less_than_what_is_asked() -> None:
    held = SavedAnswers.of(drawn(np.random.default_rng(0), 300))
    assert PredictionSets.of(held, 3, 0.9).sure == 0.8 and PredictionSets.of(held, 3, 0.4).sure == 0
