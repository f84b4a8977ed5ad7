"""Splits: copies never part, classes keep their shares, the same pictures go the same way."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from cache.errors import UserError
from classify.data.split import GroupedFolds, duplicate_groups, folds, holdout, leaks

seeds = st.integers(0, 2**32 - 1)


def digests_of(contents) -> np.ndarray:
    """(n, 32) uint8, as the cache keeps them."""
    return np.array([list(hashlib.sha256(bytes(c)).digest()) for c in contents], dtype=np.uint8).reshape(-1, 32)


@st.composite
def pictures(draw, smallest_class: int):
    """Labels and groups of 2 to 4 classes; every class has at least `smallest_class` groups, copies agree in label."""
    sizes = draw(st.lists(st.integers(smallest_class, 20), min_size=2, max_size=4))
    label_of_group = draw(st.permutations([f"class {c}" for c, size in enumerate(sizes) for _ in range(size)]))
    copies = draw(st.lists(st.integers(1, 3), min_size=len(label_of_group), max_size=len(label_of_group)))
    rows = draw(st.permutations([group for group, n in enumerate(copies) for _ in range(n)]))
    return np.array([label_of_group[group] for group in rows]), np.array(rows)


def groups_by_class(labels, groups, rows) -> dict[str, int]:
    """Number of distinct groups of each class among the rows."""
    return {label: len(set(groups[rows][labels[rows] == label])) for label in np.unique(labels).tolist()}


class TestGroups:
    def test_equal_bytes_are_one_group_whatever_the_order_of_the_rows(self):
        digests = digests_of([b"a", b"b", b"a", b"c", b"b"])
        groups = duplicate_groups(digests)
        assert groups[0] == groups[2]
        assert groups[1] == groups[4]
        assert len(set(groups.tolist())) == 3
        order = np.array([3, 1, 4, 0, 2])
        np.testing.assert_array_equal(duplicate_groups(digests[order]), groups[order])

    @given(st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), max_size=8))
    def test_zero_bytes_at_either_end_count(self, ends):
        """Strings of numpy drop trailing zeros; digests must not."""
        digests = np.zeros((len(ends), 32), dtype=np.uint8)
        digests[:, [0, 31]] = np.array(ends, dtype=np.uint8).reshape(-1, 2)
        groups = duplicate_groups(digests)
        assert groups.shape == (len(ends),)
        for i, one in enumerate(ends):
            for j, other in enumerate(ends):
                assert (groups[i] == groups[j]) == (one == other)

    def test_leaks_marks_the_test_pictures_that_are_in_train(self):
        train, test = digests_of([b"a", b"b"]), digests_of([b"c", b"b", b"a", b"b"])
        np.testing.assert_array_equal(leaks(train, test), [False, True, True, True])
        assert leaks(train, test[:0]).shape == (0,)
        assert not leaks(train[:0], test).any()

    def test_flowers_hold_two_pairs_of_copies(self, shared):
        folder = shared / "images" / "flowers" / "train" / "sunflowers"
        digests = digests_of(path.read_bytes() for path in sorted(folder.iterdir()))
        groups = duplicate_groups(digests)
        assert (len(groups), len(set(groups.tolist()))) == (100, 98)
        for train, test in folds(["sunflower", "other"] * 50, groups, 5, seed=0):
            assert not leaks(digests[train], digests[test]).any()

    def test_digests_of_another_width_are_refused(self):
        with pytest.raises(ValueError, match=r"\(2, 20\)"):
            duplicate_groups(np.zeros((2, 20), dtype=np.uint8))


class TestHoldout:
    @settings(max_examples=80)
    @given(pictures(smallest_class=2), st.floats(0.05, 0.95), seeds)
    def test_whole_groups_all_rows_and_shares_within_one(self, drawn, test_size, seed):
        labels, groups = drawn
        train, test = holdout(labels, groups, test_size, seed)
        assert sorted([*train, *test]) == list(range(len(labels)))
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()
        assert not set(groups[train]) & set(groups[test])
        in_all = groups_by_class(labels, groups, np.arange(len(labels)))
        in_test = groups_by_class(labels, groups, test)
        for label, size in in_all.items():
            assert 1 <= in_test[label] <= size - 1
            assert abs(in_test[label] - size * test_size) <= 1

    def test_the_whole_test_part_keeps_its_share_over_many_small_classes(self):
        labels = np.repeat([f"breed {i:03}" for i in range(120)], 7)
        _, test = holdout(labels, np.arange(len(labels)), 0.2, seed=0)
        assert len(test) == len(labels) * 0.2

    @settings(max_examples=40)
    @given(pictures(smallest_class=2), seeds, st.randoms())
    def test_a_picture_goes_the_same_way_whatever_the_order_of_the_rows(self, drawn, seed, random):
        labels, groups = drawn
        order = np.array(random.sample(range(len(labels)), len(labels)))
        _, test = holdout(labels, groups, 0.3, seed)
        _, test_of_shuffled = holdout(labels[order], groups[order], 0.3, seed)
        assert set(groups[test]) == set(groups[order][test_of_shuffled])

    def test_the_seed_decides(self):
        labels = np.array(["a", "b"] * 50)
        first, again, other = (holdout(labels, np.arange(100), 0.2, seed)[1].tolist() for seed in (0, 0, 1))
        assert first == again
        assert first != other

    def test_the_draw_is_not_by_position(self):
        """Frames of one film lie beside each other: a test part cut from one end would be no random sample."""
        labels = np.repeat(["a", "b"], 500)
        _, test = holdout(labels, np.arange(1000), 0.2, seed=0)
        for start in range(0, 1000, 250):
            assert 25 <= np.sum((test >= start) & (test < start + 250)) <= 75

    @pytest.mark.parametrize("test_size", [0, 1, -0.1, 1.5, float("nan")])
    def test_a_share_that_is_none_is_refused(self, test_size):
        with pytest.raises(UserError, match=f"between 0 and 1, not {test_size}"):
            holdout(["a", "a", "b", "b"], [0, 1, 2, 3], test_size, seed=0)

    def test_a_class_of_copies_of_one_picture_is_named(self):
        with pytest.raises(UserError, match=r"class 'b' has too few different pictures: 1 .* needs 2"):
            holdout(["a", "a", "b", "b", "b"], [0, 1, 2, 2, 2], 0.2, seed=0)

    def test_contradicting_copies_stay_together_and_are_announced(self, caplog):
        labels, groups = ["a", "b", "a", "a", "b", "b", "b"], [0, 0, 1, 2, 3, 4, 0]
        train, test = holdout(labels, groups, 0.5, seed=3)
        assert {0, 1, 6} <= set(train) or {0, 1, 6} <= set(test)
        assert "another label: 2" in caplog.text

    def test_labels_and_groups_of_different_length_are_refused(self):
        with pytest.raises(ValueError, match="one length"):
            holdout(["a", "b"], [0], 0.2, seed=0)


class TestFolds:
    @settings(max_examples=80)
    @given(pictures(smallest_class=5), st.integers(2, 5), seeds)
    def test_every_row_once_whole_groups_and_shares_within_one(self, drawn, k, seed):
        labels, groups = drawn
        drawn_folds = folds(labels, groups, k, seed)
        assert len(drawn_folds) == k
        assert sorted(np.concatenate([test for _, test in drawn_folds])) == list(range(len(labels)))
        in_all = groups_by_class(labels, groups, np.arange(len(labels)))
        for train, test in drawn_folds:
            assert sorted([*train, *test]) == list(range(len(labels)))
            assert (np.diff(train) > 0).all()
            assert not set(groups[train]) & set(groups[test])
            for label, size in groups_by_class(labels, groups, test).items():
                assert size >= 1
                assert abs(size - in_all[label] / k) < 1
            assert abs(len(set(groups[test])) - len(set(groups)) / k) < 1

    @settings(max_examples=30)
    @given(pictures(smallest_class=3), seeds, st.randoms())
    def test_a_picture_goes_the_same_way_whatever_the_order_of_the_rows(self, drawn, seed, random):
        labels, groups = drawn
        order = np.array(random.sample(range(len(labels)), len(labels)))
        pairs = zip(folds(labels, groups, 3, seed), folds(labels[order], groups[order], 3, seed), strict=True)
        for (_, test), (_, test_of_shuffled) in pairs:
            assert set(groups[test]) == set(groups[order][test_of_shuffled])

    def test_the_seed_decides(self):
        labels = np.array(["a", "b"] * 50)
        first, again, other = (folds(labels, np.arange(100), 5, seed)[0][1].tolist() for seed in (0, 0, 1))
        assert first == again
        assert first != other

    def test_one_fold_is_refused(self):
        with pytest.raises(UserError, match="at least 2 folds, not 1"):
            folds(["a", "b"], [0, 1], 1, seed=0)

    def test_a_class_smaller_than_the_number_of_folds_is_named(self):
        labels = ["a"] * 10 + ["b"] * 6
        groups = [*range(10), 10, 11, 12, 12, 12, 12]
        with pytest.raises(UserError, match=r"class 'b' has too few different pictures: 3 .* 5 folds needs 5"):
            folds(labels, groups, 5, seed=0)

    def test_no_picture_at_all_is_one_line(self):
        with pytest.raises(UserError, match="no labelled picture"):
            folds([], [], 2, seed=0)


class TestGroupedFolds:
    def test_scikit_learn_searches_over_the_same_folds(self):
        digits = load_digits()
        X, y = digits.data[:300], digits.target[:300]
        groups = np.arange(300) // 2 * 2  # pairs of rows as if they were copies
        search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.01, 1.0]}, cv=GroupedFolds(3, seed=1))
        search.fit(X / 16, y, groups=groups)
        for i, (train, test) in enumerate(folds(y, groups, 3, seed=1)):
            model = LogisticRegression(max_iter=500, C=1.0).fit(X[train] / 16, y[train])
            assert search.cv_results_[f"split{i}_test_score"][1] == pytest.approx(model.score(X[test] / 16, y[test]))

    def test_without_groups_it_refuses_to_part_copies(self):
        with pytest.raises(ValueError, match="groups"):
            list(GroupedFolds(2).split(None, ["a", "b"]))
