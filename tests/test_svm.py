"""Support vector machines are scikit-learn's, one class against the rest."""

import numpy as np
from real_features import Data
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC, LinearSVC

from classify.heads import make_head
from classify.numerics import probabilities


def test_rbf_machines_are_scikit_learns_svc_one_against_the_rest(textures: Data) -> None:
    X, y = textures
    fitted = make_head("svm", {"kernel": "rbf", "C": 3}).fit(X[:150], y[:150])
    rows = Normalizer().transform(X)
    decisions = np.column_stack(
        [SVC(C=3, tol=1e-4).fit(rows[:150], y[:150] == name).decision_function(rows) for name in fitted.classes_]
    )
    np.testing.assert_allclose(fitted.predict_proba(X), probabilities(decisions, fitted.temperature_), atol=1e-3)


def test_linear_machines_are_scikit_learns_linear_svc(textures: Data) -> None:
    X, y = textures
    rows = Normalizer().transform(X)
    for labels in (y, y == "coins"):
        fitted = make_head("svm", {"tol": 1e-6}).fit(X, labels)
        decisions = LinearSVC(C=0.5, tol=1e-6).fit(rows, labels).decision_function(rows).reshape(len(X), -1)
        np.testing.assert_allclose(fitted.predict_proba(X), probabilities(decisions, fitted.temperature_), atol=1e-3)
