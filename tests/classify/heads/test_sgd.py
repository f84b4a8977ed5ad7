"""Stochastic gradient descent on real features: the model of the solver that sees all rows at once."""

import numpy as np
import pytest
from helpers.real_features import Data

from classify.heads.head_table import fit_head, make_head


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"C": 0.01},
        {"C": 100.0},
        {"class_weight": "balanced"},
        {"normalize": "standard", "C": 0.01},
        {"normalize": "none", "C": 1e-4},
    ],
)
@pytest.mark.parametrize("classes", [2, 10])
def test_probabilities_are_nearly_those_of_logistic_regression(params: dict, classes: int, digits: Data) -> None:
    X, y = digits
    if classes == 2:
        y = np.where(y < 3, "low", "high")
    exact, descended = (fit_head(make_head(head, params), X[:400], y[:400]) for head in ("logreg", "sgd"))
    difference = np.abs(exact.predict_proba(X[400:]) - descended.predict_proba(X[400:]))
    assert difference.mean() < 0.02 and difference.max() < 0.2
    assert (exact.predict(X[400:]) == descended.predict(X[400:])).mean() >= 0.98


def test_training_that_ends_too_early_is_announced(digits: Data, caplog: pytest.LogCaptureFixture) -> None:
    fitted = fit_head(make_head("sgd", {"max_iter": 3}), *digits)
    assert fitted.n_iter_ == 3
    assert len(caplog.messages) == 1 and "did not converge: give a higher max_iter" in caplog.text
