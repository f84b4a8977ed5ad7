"""What fine-tuning starts from: the logistic regression that a search finds, on real features."""

import numpy as np
from real_features import textures

from classify.linear import LogRegHead
from classify.linear_start import C_OF_FEW, best_C, linear_start
from classify.train import search_head


def test_the_start_is_what_a_search_of_logreg_finds() -> None:
    X, y = textures()
    own = np.arange(len(y))
    found, chosen, _ = search_head("logreg", {}, 0, X, y, own)
    kernel, bias, C = linear_start(X[:, None], y, own, None, None)
    assert chosen == {"C": C}
    np.testing.assert_allclose(kernel, found.coef_.T, rtol=1e-4, atol=1e-4 * np.abs(found.coef_).max())
    np.testing.assert_allclose(bias, found.intercept_, atol=1e-3 * np.abs(found.coef_).max())


def test_a_value_that_is_given_is_taken() -> None:
    X, y = textures()
    assert linear_start(X[:, None], y, np.arange(len(y)), 0.7, None)[2] == 0.7


def test_copies_do_not_make_the_start_surer() -> None:
    """Each picture twice: with their groups told, the folds and the choice are those of the set once."""
    X, y = textures()
    X, y = X[::2], y[::2]
    noisy = y.copy()
    noisy[::4] = np.random.default_rng(0).permutation(y[::4])  # else any C is right about all
    own = np.arange(len(y))
    once = best_C(X, noisy, own, None)
    twice, labels = np.repeat(X, 2, axis=0), np.repeat(noisy, 2)
    alone = best_C(twice, labels, np.arange(len(labels)), None)
    assert alone > 10 * once  # whoever memorises is right about copies
    assert best_C(twice, labels, np.repeat(own, 2), None) <= once


def test_small_classes_take_fewer_folds_and_single_pictures_no_search() -> None:
    X, y = textures()
    some = np.concatenate(
        [np.flatnonzero(y == name)[:count] for name, count in zip(np.unique(y), (9, 9, 2, 9), strict=True)]
    )
    assert best_C(X[some], y[some], np.arange(len(some)), None) > 0
    few = np.delete(some, 18)
    assert best_C(X[few], y[few], np.arange(len(few)), None) == C_OF_FEW
    alike = np.where(y[some] == np.unique(y)[2], 0, np.arange(len(some)))  # both are one picture
    assert best_C(X[some], y[some], alike, None) == C_OF_FEW


def test_a_class_weight_is_that_of_the_start() -> None:
    X, y = textures()
    weight = {"brick": 5.0, "coins": 1.0, "grass": 1.0, "gravel": 1.0}
    kernel, _, _ = linear_start(X[:, None], y, np.arange(len(y)), 1.0, weight)
    expected = LogRegHead(C=1.0, class_weight=weight).fit(X, y).coef_.T
    np.testing.assert_allclose(kernel, expected, atol=1e-4 * np.abs(expected).max())
