"""Weights of classes are those of scikit-learn, and a parameter that is no number is refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from helpers.models.quick_heads import PLAIN, head
from helpers.real_features import TEXTURES, Data
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import Normalizer
from sklearn.svm import LinearSVC

from cache.errors import UserError
from classify.heads.head_table import make_head


@pytest.mark.parametrize("name", ["logreg", "sgd", "svm", "ridge", "knn", "dense", "finetune"])
@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "2", None, True, 1e300, 1 + 2j, [1]])
def test_a_weight_that_is_none_is_refused_in_one_line(name: str, weight: Any) -> None:
    with pytest.raises(UserError, match=r"class_weight=.* is not valid: give balanced, a dictionary") as refused:
        make_head(name, {"class_weight": {"coins": 2.0, "brick": weight}})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["logreg", "sgd", "svm", "ridge", "knn", "dense"])
def test_weights_that_leave_less_than_two_classes_are_refused(name: str, textures: Data) -> None:
    for weights in (dict.fromkeys(TEXTURES, 0), dict.fromkeys(TEXTURES[1:], 0.0)):
        with pytest.raises(UserError, match="fewer than 2 classes a weight above 0"):
            head(name, class_weight=weights).fit(*textures)
    without = dict.fromkeys(TEXTURES[2:], 0)  # as if the last two were not there
    assert set(head(name, class_weight=without).fit(*textures).predict(textures[0])) <= set(TEXTURES[:2])


@pytest.mark.parametrize("name", ["knn", "dense"])
def test_the_scale_of_weights_has_no_meaning_for_votes_and_networks(name: str, textures: Data) -> None:
    X, y = textures
    weights = {"brick": 3.0, "coins": 0.5, "grass": 1.0, "gravel": 1.0}
    larger = {label: 100 * weight for label, weight in weights.items()}
    found = [head(name, class_weight=given).fit(X[:160], y[:160]).predict_proba(X[160:]) for given in (weights, larger)]
    np.testing.assert_allclose(*found, atol=1e-6)


@pytest.mark.parametrize("name", ["logreg", "svm", "sgd", "ridge"])
@pytest.mark.parametrize("weights", [{"brick": 30.0, "coins": 90.0}, {"brick": 0.02, "coins": 0.01}, "balanced", None])
def test_weights_are_those_of_scikit_learn(name: str, weights: Any, textures: Data) -> None:
    X, y = textures
    two = np.flatnonzero(np.isin(y, ("brick", "coins")))[:70]
    rows, labels = Normalizer().fit_transform(X[two].astype(np.float64)), y[two]
    exact: dict[str, Any] = {"logreg": {"tol": 1e-7}, "svm": {"tol": 1e-7}, "sgd": {"tol": 1e-5, "max_iter": 5000}}
    theirs = {
        "logreg": LogisticRegression(C=10, class_weight=weights, tol=1e-10, max_iter=20_000),
        "sgd": LogisticRegression(C=10, class_weight=weights, tol=1e-10, max_iter=20_000),
        "svm": LinearSVC(C=0.5, class_weight=weights, tol=1e-9, max_iter=100_000, dual=False),
        "ridge": RidgeClassifier(class_weight=weights),
    }[name].fit(rows, labels)
    ours = make_head(name, {"class_weight": weights} | exact.get(name, {})).fit(X[two], labels)
    largest = np.abs(theirs.coef_).max()
    close = 0.03 if name == "sgd" else 1e-3
    np.testing.assert_allclose(ours.coef_, np.atleast_2d(theirs.coef_), rtol=0, atol=close * largest)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=close * largest)


@pytest.mark.parametrize("seed", [2**32, -1, 1.0, float("nan")])
def test_a_seed_that_numpy_does_not_take_is_refused(seed: Any) -> None:
    with pytest.raises(UserError, match=r"random_state=.* is not valid: give a whole number .*, a numpy RandomState"):
        make_head("dense", {"random_state": seed})


@pytest.mark.parametrize("name", PLAIN)
def test_numbers_that_are_none_are_refused_for_every_parameter(name: str) -> None:
    for field in dataclasses.fields(make_head(name)):
        for value in (float("nan"), float("inf"), -float("inf"), -1, -0.5, 1j, "nan"):
            assert not field.metadata["allowed"].test(value), (field.name, value)
