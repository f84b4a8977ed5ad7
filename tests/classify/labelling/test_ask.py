"""Which pictures are asked: never a labelled one or its copy, each kind of look at first, some at random always."""

import numpy as np
import pytest
from helpers import real_features
from hypothesis import given
from hypothesis import strategies as st

from classify.heads.head_table import fit_head, make_head
from classify.heads.numerics import unit_rows
from classify.labelling.ask import LEAST_CERTAIN, RANDOM_SHARE, Pool, ask, margins, typical, uncertain

BATCH = 10


@pytest.fixture(scope="module")
def digits() -> real_features.Data:
    rows, labels = real_features.digits()
    return unit_rows(rows), labels


@pytest.fixture(scope="module")
def pool(digits: real_features.Data) -> Pool:
    rows, _ = digits
    return Pool.of(rows, np.arange(len(rows)))


def of_labelled(rows: np.ndarray, labels: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    return fit_head(make_head("logreg"), rows[labelled], labels[labelled]).predict_proba(rows)


def test_the_first_pictures_are_typical_ones_of_nearly_every_class(pool: Pool, digits: real_features.Data) -> None:
    rows, labels = digits
    nothing = np.zeros(len(rows), bool)
    asked = typical(pool.coordinates, nothing, np.arange(len(rows)), BATCH, 0)
    by_chance = [len(np.unique(labels[pool.order[start : start + BATCH]])) for start in range(0, 600, BATCH)]
    assert len(np.unique(labels[asked])) >= max(8, np.median(by_chance) + 1)


def test_clusters_with_a_label_are_not_asked_again(pool: Pool, digits: real_features.Data) -> None:
    rows, labels = digits
    labelled = np.zeros(len(rows), bool)
    labelled[labels != 4] = True
    asked = typical(pool.coordinates, labelled, np.flatnonzero(~labelled), 5, 0)
    assert len(asked) and (labels[asked] == 4).all()


def test_later_pictures_are_uncertain_and_differ(pool: Pool, digits: real_features.Data) -> None:
    rows, labels = digits
    labelled = np.zeros(len(rows), bool)
    labelled[pool.order[:60]] = True
    margin = margins(of_labelled(rows, labels, labelled))
    left = np.flatnonzero(~labelled)
    asked = uncertain(pool.coordinates, margin[left], left, BATCH, 0)
    assert len(set(asked.tolist())) == BATCH
    assert {*asked.tolist()} <= {*left[np.argsort(margin[left])[: LEAST_CERTAIN * BATCH]].tolist()}
    assert np.median(margin[asked]) < np.quantile(margin[left], LEAST_CERTAIN * BATCH / len(left) / 2)
    least = left[np.argsort(margin[left])[:BATCH]]

    def away(some: np.ndarray) -> float:
        """How far an uncertain picture is from the nearest of these."""
        each = pool.coordinates[left[np.argsort(margin[left])[: LEAST_CERTAIN * BATCH]]]
        return float(np.linalg.norm(each[:, None] - pool.coordinates[some], axis=-1).min(axis=1).mean())

    assert away(asked) < 0.9 * away(least)


@given(seed=st.integers(0, 99), batches=st.integers(0, 6), copies=st.integers(1, 3))
def test_no_labelled_picture_is_asked_nor_a_copy_of_one_nor_two_copies(
    digits: real_features.Data, seed: int, batches: int, copies: int
) -> None:
    rows, labels = (values[:120] for values in digits)
    groups = np.arange(len(rows)) // copies
    pool = Pool.of(rows, groups, seed)
    labelled = np.zeros(len(rows), bool)
    for _ in range(batches + 1):
        some = len(np.unique(labels[labelled])) > 1
        asked = ask(pool, labelled, of_labelled(rows, labels, labelled) if some else None, BATCH, seed)
        assert len(asked) == min(BATCH, len(np.unique(groups[~np.isin(groups, groups[labelled])])))
        assert len(np.unique(groups[asked])) == len(asked) and not np.isin(groups[asked], groups[labelled]).any()
        labelled[asked] = True


def test_a_fifth_is_drawn_at_random_and_what_is_drawn_has_no_gap(pool: Pool) -> None:
    labelled = np.zeros(len(pool.order), bool)
    for number in range(1, 6):
        labelled[ask(pool, labelled, None, BATCH)] = True
        drawn = pool.drawn(labelled)
        assert len(drawn) >= number * BATCH // RANDOM_SHARE and labelled[drawn].all()
        assert drawn.tolist() == pool.order[: len(drawn)].tolist()
    assert len(pool.drawn(np.ones(len(pool.order), bool))) == len(pool.order)


def test_copies_of_labelled_pictures_leave_no_gap(digits: real_features.Data) -> None:
    rows, _ = digits
    pool = Pool.of(rows[:100], np.arange(100) // 2)
    labelled = np.zeros(100, bool)
    labelled[::2] = True
    assert sorted(pool.drawn(labelled).tolist()) == list(range(0, 100, 2))


def test_what_was_looked_at_and_has_no_label_is_no_gap(pool: Pool) -> None:
    labelled, passed = (np.zeros(len(pool.order), bool) for _ in range(2))
    labelled[pool.order[[0, 2, 3]]] = passed[pool.order[1]] = True
    assert pool.drawn(labelled).tolist() == pool.order[:1].tolist()
    assert pool.drawn(labelled, passed).tolist() == pool.order[[0, 2, 3]].tolist()


def test_what_was_named_together_is_drawn_too(pool: Pool) -> None:
    """Else a random sample would end at the first picture of a stack that was named."""
    labelled, seen = np.ones(len(pool.order), bool), np.zeros(len(pool.order), bool)
    assert ask(pool, labelled, None, BATCH, seen=seen).tolist() == pool.order[:BATCH].tolist()
    labelled[pool.order[BATCH:]] = False
    asked = ask(pool, labelled, None, BATCH, seen=seen)
    assert len({*asked.tolist()}) == BATCH and asked[-2:].tolist() == pool.order[:2].tolist()
    assert not labelled[asked[:-2]].any()


def test_all_that_is_left_is_asked_and_then_nothing(pool: Pool) -> None:
    labelled = np.ones(len(pool.order), bool)
    labelled[:3] = False
    assert sorted(ask(pool, labelled, None, BATCH).tolist()) == [0, 1, 2]
    assert not len(ask(pool, np.ones(len(pool.order), bool), None, BATCH))
