"""Logistic regression and ridge have the optimum of scikit-learn's, on normalised features."""

import numpy as np
import pytest
from helpers.real_features import Data, with_products
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import Normalizer

from classify.heads.head_table import make_head


@pytest.mark.parametrize("weights", [None, "balanced", {"coins": 3.0, "brick": 0.5}])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("C", [0.1, 10, 1000])
def test_logreg_has_the_optimum_of_scikit_learns(textures: Data, C: float, wide: bool, weights: object) -> None:
    X, y = textures
    X = with_products(X[:150, :20]) if wide else X
    y = y[: len(X)]
    for labels in (y, np.where(y == "coins", "coins", "brick")):
        head = make_head("logreg", {"C": C, "class_weight": weights, "tol": 1e-7}).fit(X, labels)
        rows = Normalizer().fit_transform(X.astype(np.float64))
        sample_weight = head._row_weights(weights, np.searchsorted(head.classes_, labels))
        expected = LogisticRegression(C=C, max_iter=20_000, tol=1e-10).fit(rows, labels, sample_weight)
        largest = np.abs(expected.coef_).max()
        np.testing.assert_allclose(head.coef_, expected.coef_, rtol=0, atol=1e-4 * largest)
        np.testing.assert_allclose(head.intercept_, expected.intercept_, rtol=0, atol=1e-4 * largest)
        np.testing.assert_allclose(head.predict_proba(X), expected.predict_proba(rows), rtol=0, atol=1e-5)
        roughly = make_head("logreg", {"C": C, "class_weight": weights}).fit(X, labels)
        apart = np.linalg.norm(roughly.coef_ - expected.coef_) / np.linalg.norm(expected.coef_)
        assert apart < 5 * roughly.tol


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("weights", [None, "balanced", {0: 3.0, 1: 0.5}])
def test_ridge_has_the_optimum_of_scikit_learns(digits: Data, wide: bool, weights: object) -> None:
    X, y = digits
    X, y = (with_products(X[:200, 20:40]), y[:200]) if wide else (X, y)
    for labels in (y, np.minimum(y, 1)):
        head = make_head("ridge", {"class_weight": weights}).fit(X, labels)
        rows = Normalizer().fit_transform(X).astype(np.float64)
        expected = RidgeClassifier().fit(rows, labels, head._row_weights(weights, labels))
        np.testing.assert_allclose(head.coef_, np.atleast_2d(expected.coef_), rtol=0, atol=1e-5)
        np.testing.assert_allclose(head.intercept_, expected.intercept_, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 100])
def test_ridge_decides_as_scikit_learns_in_double_precision(size: int, digits: Data) -> None:
    X, y = digits[0] * size, digits[1]
    expected = RidgeClassifier(alpha=0.01).fit(X.astype(np.float64), y).decision_function(X.astype(np.float64))
    fitted = make_head("ridge", {"alpha": 0.01, "normalize": "none"}).fit(X, y)
    found = np.log(fitted.predict_proba(X)) * fitted.temperature_
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=0, atol=1e-7)
