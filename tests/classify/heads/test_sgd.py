"""Stochastic gradient descent on real features: the model of the solver that sees all rows at once."""

import numpy as np
import pytest
from helpers.real_features import Data

import classify.heads.sgd
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


def test_many_rows_take_fewer_epochs_and_give_the_model_of_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many rows in many directions the first steps are longer; the optimum stays where it is."""
    random = np.random.default_rng(0)
    y = np.arange(6000) % 10
    X = random.standard_normal((6000, 100), np.float32) + random.standard_normal((10, 100), np.float32)[y] / 3
    quick, exact = fit_head(make_head("sgd"), X[:5000], y[:5000]), fit_head(make_head("logreg"), X[:5000], y[:5000])
    assert np.abs(quick.predict_proba(X[5000:]) - exact.predict_proba(X[5000:])).mean() < 0.02
    monkeypatch.setattr(classify.heads.sgd, "MOST_STEPS", 1.0)
    assert quick.n_iter_ < fit_head(make_head("sgd"), X[:5000], y[:5000]).n_iter_
