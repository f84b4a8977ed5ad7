"""Logistic regression and ridge have the optimum of scikit-learn's, on normalised features."""

import numpy as np
import pytest
from real_features import Data
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import Normalizer

from classify.heads import make_head

# More features than rows, too: the first 60 textures are fewer than the 59 patterns of 4 classes need, with products.
WEIGHTS = [None, "balanced", {"coins": 3.0, "brick": 0.5}]


def squared(X: np.ndarray) -> np.ndarray:
    """Rows (n, d) and all products of two of their features: (n, d + d * d), more columns than rows."""
    return np.hstack([X, (X[:, :, None] * X[:, None, :]).reshape(len(X), -1)])


@pytest.mark.parametrize("weights", [None, "balanced", {"coins": 3.0, "brick": 0.5}])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("C", [0.1, 10, 1000])
def test_logreg_has_the_optimum_of_scikit_learns(textures: Data, C: float, wide: bool, weights: object) -> None:
    X, y = textures
    X = squared(X[:150]) if wide else X
    y = y[: len(X)]
    for labels in (y, np.where(y == "coins", "coins", "brick")):
        head = make_head("logreg", {"C": C, "class_weight": weights, "tol": 1e-7}).fit(X, labels)
        rows = Normalizer().fit_transform(X.astype(np.float64))
        sample_weight = head._row_weights(weights, np.searchsorted(head.classes_, labels))
        expected = LogisticRegression(C=C, max_iter=20_000, tol=1e-10).fit(rows, labels, sample_weight)
        largest = np.abs(expected.coef_).max()
        np.testing.assert_allclose(head.coef_, expected.coef_, rtol=0, atol=1e-4 * largest)
        np.testing.assert_allclose(head.predict_proba(X), expected.predict_proba(rows), rtol=0, atol=1e-5)
        roughly = make_head("logreg", {"C": C, "class_weight": weights}).fit(X, labels)
        apart = np.linalg.norm(roughly.coef_ - expected.coef_) / np.linalg.norm(expected.coef_)
        assert apart < 5 * roughly.tol
