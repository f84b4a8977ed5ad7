"""Named groups and near-duplicates never part, whatever the pictures; every class stays in what is trained on."""

from collections import defaultdict
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from classify.data.group_split import folds_of_groups, held_out_groups, holdout_of_groups, inner_folds_of_groups
from classify.data.grouping import Grouping, united
from classify.data.split import Split

seeds = st.integers(0, 2**32 - 1)
Pictures = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def pictures(draw: st.DrawFn) -> Pictures:
    """Labels, near-duplicates and names (n,) of up to 50 pictures; some are in no group, copies and groups cross."""
    n = draw(st.integers(2, 50))
    columns = (
        st.sampled_from("abcd"),
        st.integers(0, draw(st.integers(0, 60))),
        st.integers(0, draw(st.integers(0, 15))),
    )
    labels, copies, groups = (draw(st.lists(values, min_size=n, max_size=n)) for values in columns)
    return np.array(labels), np.array(copies), np.array([f"site {group}" if group else "" for group in groups])


def together(copies: np.ndarray, names: np.ndarray) -> list[set[int]]:
    """The sets of pictures that are linked by copies or names, found by walking from one to the next."""
    links = defaultdict(set)
    for number, (copy, name) in enumerate(zip(copies.tolist(), names.tolist(), strict=True)):
        links["copy", copy].add(number)
        if name:
            links["name", name].add(number)
    found: list[set[int]] = []
    left = set(range(len(copies)))
    while left:
        reached, waiting = set(), {min(left)}
        while waiting:
            reached |= waiting
            waiting = set().union(*(each for each in links.values() if each & waiting)) - reached
        found.append(reached)
        left -= reached
    return found


def check(labels: np.ndarray, sets: list[set[int]], splits: list[Split]) -> None:
    """No set lies on both sides, both sides have pictures, and every class is trained on."""
    for train, test in splits:
        assert len(train) and len(test) and sorted([*train, *test]) == list(range(len(labels)))
        assert all(each <= {*train.tolist()} or each <= {*test.tolist()} for each in sets)
        assert {*labels[train]} == {*labels}


def counted(labels: np.ndarray, sets: list[set[int]]) -> dict[str, int]:
    """In how many sets each class is."""
    return {str(name): sum(name in labels[[*each]] for each in sets) for name in np.unique(labels)}


@settings(max_examples=150)
@given(pictures())
def test_groups_and_copies_are_united_to_all_that_is_linked(drawn: Pictures) -> None:
    _, copies, names = drawn
    found = united(copies, names)
    assert found.named
    sets = together(copies, names)
    assert len(np.unique(found.numbers)) == len(sets)
    for each in sets:
        assert {*found.numbers[[*each]]} == {copies[[*each]].min()}


def test_without_names_copies_alone_count() -> None:
    copies = np.array([3, 1, 3])
    assert not united(copies, None).named and united(copies, None).numbers is copies
    np.testing.assert_array_equal(united(copies, np.array(["", "", ""])).numbers, copies)


@settings(max_examples=100)
@given(pictures(), st.floats(0.05, 0.95), seeds)
def test_a_holdout_parts_nothing_and_trains_on_every_class(drawn: Pictures, test_size: float, seed: int) -> None:
    labels, copies, names = drawn
    sets = together(copies, names)
    groups = united(copies, names)
    if min(in_sets := counted(labels, sets).values()) < 2:
        with pytest.raises(UserError, match=f"is in {min(in_sets)} group"):
            groups.holdout(labels, test_size, seed)
    else:
        check(labels, sets, [groups.holdout(labels, test_size, seed)])


@settings(max_examples=100)
@given(pictures(), st.integers(2, 6), seeds)
def test_folds_part_nothing_and_train_on_every_class(drawn: Pictures, k: int, seed: int) -> None:
    labels, copies, names = drawn
    sets = together(copies, names)
    groups = united(copies, names)
    if len(sets) < k or min(counted(labels, sets).values()) < 2:
        with pytest.raises(UserError, match="group"):
            groups.folds(labels, k, seed)
        return
    splits = groups.folds(labels, k, seed)
    check(labels, sets, splits)
    held = np.concatenate([test for _, test in splits])
    assert len(splits) == k and len(held) == len(set(held.tolist()))


@settings(max_examples=100)
@given(pictures(), st.integers(2, 6), seeds)
def test_inner_folds_take_what_can_be_held_out(drawn: Pictures, k: int, seed: int) -> None:
    labels, copies, names = drawn
    sets = together(copies, names)
    splits = united(copies, names).inner_folds(labels, k, seed)
    check(labels, sets, splits)
    classes = [{*labels[[*each]].tolist()} for each in sets]
    in_sets = counted(labels, sets)
    free = sum(min(in_sets[name] for name in each) > 1 for each in classes)  # others have a class alone
    assert len(splits) == (min(k, free) if free > 1 else 0)


@settings(max_examples=100)
@given(pictures(), st.floats(0.05, 0.95), seeds)
def test_what_is_held_out_inside_a_head_parts_nothing(drawn: Pictures, fraction: float, seed: int) -> None:
    labels, copies, names = drawn
    sets = together(copies, names)
    mask = held_out_groups(labels, united(copies, names).numbers, fraction, seed)
    assert {*labels[~mask]} == {*labels} and all(len({*mask[[*each]].tolist()}) == 1 for each in sets)


@settings(max_examples=100)
@given(st.lists(st.sets(st.sampled_from("abc"), min_size=1), min_size=3, max_size=6), st.integers(2, 3), seeds)
def test_every_group_is_held_out_where_that_is_possible(classes: list[set[str]], k: int, seed: int) -> None:
    """Checked against all ways to deal a few groups, each with one picture of some classes."""
    labels, groups = (
        np.array(each) for each in zip(*((c, n) for n, of in enumerate(classes) for c in sorted(of)), strict=True)
    )
    every = set().union(*classes)
    assume(len(classes) >= k and all(sum(name in of for of in classes) > 1 for name in every))

    def trains_on_all(bins: tuple[int, ...]) -> bool:
        parts = [
            set().union(*(of for of, bin_ in zip(classes, bins, strict=True) if bin_ != fold)) for fold in range(k)
        ]
        return {*bins} == {*range(k)} and all(part == every for part in parts)

    possible = any(trains_on_all(bins) for bins in product(range(k), repeat=len(classes)))
    splits = folds_of_groups(labels, groups, k, seed)
    assert (sum(len(test) for _, test in splits) == len(labels)) == possible


@settings(max_examples=50)
@given(pictures(), seeds, st.randoms())
def test_the_order_of_the_pictures_changes_nothing(drawn: Pictures, seed: int, shuffled: Any) -> None:
    labels, copies, names = drawn
    order = np.array(shuffled.sample(range(len(labels)), len(labels)))
    one = held_out_groups(labels, united(copies, names).numbers, 0.3, seed)
    other = held_out_groups(labels[order], united(copies[order], names[order]).numbers, 0.3, seed)
    np.testing.assert_array_equal(one[order], other)


@settings(max_examples=30)
@given(st.integers(20, 60), st.integers(1, 4), seeds)
def test_many_groups_of_one_size_give_every_part_its_share(count: int, classes: int, seed: int) -> None:
    """Groups of 6 pictures with the same classes: the share is kept to one group, in folds and in a holdout."""
    groups = np.repeat(np.arange(count), 12)
    labels = np.tile(np.arange(classes), len(groups))[: len(groups)] if 12 % classes == 0 else groups % classes
    _, test = holdout_of_groups(labels, groups, 0.2, seed)
    assert abs(len(test) / 12 - 0.2 * count) <= 1
    for _, test in folds_of_groups(labels, groups, 5, seed):
        assert abs(len(test) / 12 - count / 5) <= 1


def test_uneven_groups_come_near_to_the_share_of_every_class() -> None:
    """As at camera traps: sites of very different sizes, classes that are common at some and rare at others."""
    random = np.random.default_rng(0)
    sizes = random.geometric(0.03, 60)
    shares = random.dirichlet([2.0, 1.0, 0.5, 0.2], 60)
    groups = np.repeat(np.arange(60), sizes)
    labels = np.concatenate([random.choice(4, size, p=share) for size, share in zip(sizes, shares, strict=True)])
    for seed in range(5):
        for splits, share in (
            (folds_of_groups(labels, groups, 5, seed), 0.2),
            ([holdout_of_groups(labels, groups, 0.2, seed)], 0.2),
        ):
            for _, test in splits:
                assert abs(len(test) / len(labels) - share) < 0.05
                for name in range(4):
                    assert abs((labels[test] == name).sum() / (labels == name).sum() - share) < 0.1


def test_a_class_in_too_few_groups_is_named_with_the_counts() -> None:
    labels, groups = np.array([*"aabbbc"]), np.array([1, 2, 1, 2, 3, 3])
    expected = r"class 'c' is in 1 group, .* needs 2 of every class \(groups of each: 'c' 1, 'a' 2, 'b' 3\)"
    for split in (holdout_of_groups, folds_of_groups):
        with pytest.raises(UserError, match=expected):
            split(labels, groups, 0.5 if split is holdout_of_groups else 2, 0)
    with pytest.raises(UserError, match="there are 3 groups: that is too few for 5 folds"):
        folds_of_groups(labels, groups, 5, 0)
    with pytest.raises(UserError, match="between 0 and 1, not 1"):
        holdout_of_groups(labels, groups, 1, 0)
    with pytest.raises(UserError, match="at least 2 folds, not 1"):
        folds_of_groups(labels, groups, 1, 0)
    assert len(inner_folds_of_groups(labels, groups, 5, 0)) == 2  # the group of the class 'c' is always trained on


def test_a_choice_of_pictures_keeps_its_groups() -> None:
    chosen = Grouping(np.array([5, 5, 7, 9]), named=True).of(np.array([0, 2, 1]))
    assert chosen.named and chosen.numbers.tolist() == [5, 7, 5]
