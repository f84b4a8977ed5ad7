"""What fine-tuning starts from: the logistic regression that a search finds, on real features."""

import logging

import numpy as np
import pytest
from helpers.real_features import digits, textures

from classify.heads.finetune.linear_start import DEFAULT_C, best_C, linear_start
from classify.heads.linear import LogRegHead


def test_two_classes_have_a_plane_each_and_decide_as_the_one() -> None:
    X, y = textures()
    two = np.isin(y, ("brick", "grass"))
    kernel, bias = linear_start(X[two][:, None], y[two], 1.0, None)
    frozen = LogRegHead(C=1.0).fit(X[two], y[two])
    rows = X[two] / np.linalg.norm(X[two], axis=1, keepdims=True)
    decisions = rows @ kernel + bias
    assert kernel.shape == (X.shape[1], 2)
    odds = np.diff(np.log(frozen.predict_proba(X[two])), axis=1)
    np.testing.assert_allclose(np.diff(decisions, axis=1), odds, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [5, 10, 20])
def test_where_any_C_is_right_about_all_it_is_the_usual_one(count: int) -> None:
    X, y = textures()
    some = np.concatenate([np.flatnonzero(y == name)[:count] for name in np.unique(y)])
    assert best_C(X[some], y[some], np.arange(len(some)), None) == DEFAULT_C


def test_where_another_C_is_clearly_better_it_is_taken() -> None:
    X, y = digits()
    wrong = np.random.default_rng(0).permutation(len(y))[:300]
    noisy = y.copy()
    noisy[wrong] = np.random.default_rng(1).permutation(y[wrong])  # whoever believes them all is wrong about others
    assert best_C(X, noisy.astype(str), np.arange(len(y)), None) < DEFAULT_C


def test_copies_are_held_out_together() -> None:
    """Each picture twice, many labels wrong: whoever memorises is right about copies, unless their groups are told."""
    X, y = digits()
    noisy = y.astype(str)
    noisy[::3] = np.random.default_rng(0).permutation(noisy[::3])
    twice, labels = np.repeat(X, 2, axis=0), np.repeat(noisy, 2)
    alone = best_C(twice, labels, np.arange(len(labels)), None)
    assert best_C(twice, labels, np.repeat(np.arange(len(y)), 2), None) < alone


def test_single_pictures_leave_nothing_to_search(caplog: pytest.LogCaptureFixture) -> None:
    X, y = textures()
    brick, coins = (np.flatnonzero(y == name) for name in ("brick", "coins"))
    with caplog.at_level(logging.INFO, "bottleneck"):
        for some, groups in (
            (np.append(brick[:9], coins[:1]), np.arange(10)),
            (np.append(brick[:9], coins[:2]), np.append(np.arange(9), [9, 9])),  # two that are one picture
        ):
            caplog.clear()
            assert best_C(X[some], y[some], groups, None) == DEFAULT_C
            assert "no search of C" in caplog.text
    two = np.append(brick[:9], coins[:2])
    assert best_C(X[two], y[two], np.arange(11), None) > 0


def test_a_class_weight_is_that_of_the_start() -> None:
    X, y = textures()
    weight = {"brick": 5.0, "coins": 1.0, "grass": 1.0, "gravel": 1.0}
    kernel, _ = linear_start(X[:, None], y, 1.0, weight)
    np.testing.assert_allclose(kernel, LogRegHead(C=1.0, class_weight=weight).fit(X, y).coef_.T)
