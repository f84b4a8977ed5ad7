"""Logistic regression and ridge are scikit-learn's, on normalised features."""

import numpy as np
import pytest
from real_features import Data
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from classify.heads import make_head


def test_logreg_is_scikit_learns_logistic_regression(textures: Data) -> None:
    X, y = textures
    for labels in (y, y == "coins"):
        expected = make_pipeline(Normalizer(), LogisticRegression(C=10, max_iter=1000, tol=1e-7)).fit(X, labels)
        found = make_head("logreg", {"tol": 1e-7}).fit(X, labels).predict_proba(X)
        np.testing.assert_allclose(found, expected.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("size", [1, 100])
def test_ridge_decides_as_scikit_learns_in_double_precision(size: int, digits: Data) -> None:
    X, y = digits[0] * size, digits[1]
    expected = RidgeClassifier(alpha=0.01).fit(X.astype(np.float64), y).decision_function(X.astype(np.float64))
    fitted = make_head("ridge", {"alpha": 0.01, "normalize": "none"}).fit(X, y)
    found = np.log(fitted.predict_proba(X)) * fitted.temperature_
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=0, atol=1e-7)
