"""Support vector machines have the optimum of scikit-learn's, one class against the rest."""

import numpy as np
import pytest
from helpers.real_features import Data, with_products
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC, LinearSVC

from classify.heads.head_table import make_head
from classify.heads.numerics import probabilities


def test_rbf_machines_are_scikit_learns_svc_one_against_the_rest(textures: Data) -> None:
    X, y = textures
    fitted = make_head("svm", {"kernel": "rbf", "C": 3}).fit(X[:150], y[:150])
    rows = Normalizer().transform(X)
    decisions = np.column_stack(
        [SVC(C=3, tol=1e-4).fit(rows[:150], y[:150] == name).decision_function(rows) for name in fitted.classes_]
    )
    np.testing.assert_allclose(fitted.predict_proba(X), probabilities(decisions, fitted.temperature_), atol=1e-3)


@pytest.mark.parametrize("weights", [None, "balanced", {"coins": 3.0, "brick": 0.5}])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("C", [0.05, 0.5, 50])
def test_linear_machines_have_the_optimum_of_scikit_learns(
    textures: Data, C: float, wide: bool, weights: object
) -> None:
    X, y = textures
    X = with_products(X[:150, :20]) if wide else X
    y = y[: len(X)]
    for labels in (y, np.where(y == "coins", "coins", "brick")):
        head = make_head("svm", {"C": C, "class_weight": weights, "tol": 1e-6}).fit(X, labels)
        rows = Normalizer().fit_transform(X.astype(np.float64))
        sample_weight = head._row_weights(weights, np.searchsorted(head.classes_, labels))
        expected = LinearSVC(C=C, tol=1e-9, max_iter=100_000, dual=False).fit(rows, labels, sample_weight)
        largest = np.abs(expected.coef_).max()
        np.testing.assert_allclose(head.coef_, expected.coef_, rtol=0, atol=1e-3 * largest)
        np.testing.assert_allclose(head.intercept_, expected.intercept_, rtol=0, atol=1e-3 * largest)
        decisions = expected.decision_function(rows).reshape(len(rows), -1)
        np.testing.assert_allclose(head.predict_proba(X), probabilities(decisions, head.temperature_), atol=1e-4)
        roughly = make_head("svm", {"C": C, "class_weight": weights}).fit(X, labels)
        assert np.linalg.norm(roughly.coef_ - head.coef_) < 10 * roughly.tol * np.linalg.norm(head.coef_)
