"""`decision_function`: what scikit-learn's own counterparts give, and never at odds with `predict`."""

from typing import Any

import numpy as np
import pytest
from helpers.models.quick_heads import ON_ROWS, head
from helpers.real_features import Data
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from classify.heads.deciding_head import decisions_of_views
from classify.heads.head_table import make_head

DECIDING = [("logreg", {}), ("sgd", {}), ("svm", {}), ("svm", {"kernel": "rbf"}), ("ridge", {}), ("centroid", {})]


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (make_head("logreg", {"tol": 1e-7}), LogisticRegression(C=10, tol=1e-9, max_iter=10_000)),
        (make_head("svm", {"tol": 1e-7}), LinearSVC(C=0.5, tol=1e-9, max_iter=100_000)),
        (make_head("ridge"), RidgeClassifier()),
    ],
    ids=["logreg", "svm", "ridge"],
)
def test_decisions_are_those_of_scikit_learn(ours: Any, theirs: Any, two: bool, textures: Data) -> None:
    X, y = textures[0], np.where(textures[1] == "coins", "coins", "other") if two else textures[1]
    rows = normalize(X.astype(np.float64))
    expected = theirs.fit(rows, y).decision_function(rows)
    found = ours.fit(X, y).decision_function(X)
    assert found.shape == expected.shape == ((240,) if two else (240, 4))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize(("name", "params"), DECIDING)
def test_decisions_stand_for_the_probabilities(
    name: str, params: dict[str, Any], two: bool, views: int, textures: Data
) -> None:
    X, y = textures[0], np.where(textures[1] == "coins", "coins", "other") if two else textures[1]
    noisy = np.random.RandomState(0).permutation(y[:120])  # so that answers are unsure, and views differ
    fitted = make_head(name, params).fit(X[:120], noisy)
    pictures = X if views == 1 else np.stack([X[(np.arange(240) + 7 * view) % 240] for view in range(views)], axis=1)
    decided, chances = fitted.decision_function(pictures), fitted.predict_proba(pictures)
    by_class = np.column_stack([np.zeros(240), decided]) if two else decided
    temperature = getattr(fitted, "temperature_", 1.0)
    np.testing.assert_allclose(softmax(by_class / temperature, axis=1), chances, rtol=0, atol=1e-9)
    answers = fitted.classes_[(decided > 0).astype(int)] if two else fitted.classes_[decided.argmax(axis=1)]
    np.testing.assert_array_equal(answers, fitted.predict(pictures))


@pytest.mark.parametrize(("name", "params"), DECIDING)
def test_views_that_are_all_alike_are_decided_as_one(name: str, params: dict[str, Any], textures: Data) -> None:
    fitted = make_head(name, params).fit(*textures)
    alike = fitted.decision_function(np.repeat(textures[0][:, None], 3, axis=1))
    np.testing.assert_allclose(alike, fitted.decision_function(textures[0]), rtol=0, atol=1e-9)


def test_decisions_far_apart_lose_nothing_to_rounding() -> None:
    views = np.array([[[0.0, 4000.0], [0.0, 2000.0]]])
    np.testing.assert_allclose(np.diff(decisions_of_views(views, 1.0)), [[2000 + np.log(2)]])


def test_neighbours_and_networks_have_none() -> None:
    assert [name for name in ON_ROWS if not hasattr(head(name), "decision_function")] == ["dense", "knn"]


def test_scikit_learn_scores_and_calibrates_by_decisions(textures: Data) -> None:
    X, y = textures[0], textures[1] == "coins"
    scores = cross_val_score(make_head("ridge"), X, y, cv=3, scoring="roc_auc")
    fitted = make_head("ridge").fit(X[:160], y[:160])
    assert scores.min() > 0.9 and roc_auc_score(y[160:], fitted.decision_function(X[160:])) > 0.9
    assert CalibratedClassifierCV(make_head("svm"), cv=3).fit(X[:160], y[:160]).score(X[160:], y[160:]) > 0.9
