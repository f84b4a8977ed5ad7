"""Probabilities of heads that only decide are honest about new pictures."""

import numpy as np
import pytest
from helpers.real_features import Data
from sklearn.metrics import log_loss

from cache.errors import UserError
from classify.heads.calibrated import fit_temperature
from classify.heads.head_table import make_head
from classify.heads.numerics import probabilities


@pytest.mark.parametrize("seed", range(3))
def test_temperature_is_found_again(seed: int) -> None:
    random = np.random.RandomState(seed)
    logits = random.normal(scale=2, size=(3000, 4))
    labels = np.array([random.choice(4, p=chances) for chances in probabilities(logits)])
    assert fit_temperature(5 * logits, labels) == pytest.approx(5, rel=0.1)


def test_few_pictures_all_decided_rightly_do_not_make_certain() -> None:
    labels = np.arange(12) % 3
    decisions = 10.0 * np.eye(3)[labels]
    chances = probabilities(decisions, fit_temperature(decisions, labels))
    assert 0.85 < chances.max() < 0.95  # the rule of succession: 13 / 14


@pytest.mark.parametrize("params", [{"kernel": "linear"}, {"kernel": "rbf"}, {"alpha": 0.1}])
def test_random_labels_give_probabilities_near_even(params: dict, textures: Data) -> None:
    X = textures[0]
    y = np.random.RandomState(0).permutation(np.arange(len(X)) % 3)
    fitted = make_head("ridge" if "alpha" in params else "svm", params).fit(X, y)
    # Decisions about the training rows themselves look sure: a temperature fitted on those would not be even.
    assert fitted.predict_proba(X).max(axis=1).mean() < 0.45


@pytest.mark.parametrize(("name", "params"), [("svm", {}), ("svm", {"kernel": "rbf"}), ("ridge", {})])
def test_temperature_from_held_out_folds_suits_new_pictures(name: str, params: dict, digits: Data) -> None:
    X, y = digits
    fitted = make_head(name, params).fit(X[:200], y[:200])
    chances = fitted.predict_proba(X[200:])
    decisions = np.log(chances) * fitted.temperature_
    best = min(log_loss(y[200:], probabilities(decisions, t)) for t in np.geomspace(0.01, 10, 100))
    assert log_loss(y[200:], chances) < 1.1 * best


@pytest.mark.parametrize("name", ["svm", "ridge"])
def test_probabilities_are_fitted_on_the_classes_with_two_pictures(name: str, textures: Data) -> None:
    X, y = textures
    keep = [*np.flatnonzero(y != "coins"), int(np.flatnonzero(y == "coins")[0])]
    fitted = make_head(name).fit(X[keep], y[keep])
    assert fitted.score(X[y != "coins"], y[y != "coins"]) > 0.7 and "coins" in fitted.classes_
    alone = [int(np.flatnonzero(y == label)[0]) for label in np.unique(y)]
    with pytest.raises(UserError, match="every class has a single picture"):
        make_head(name).fit(X[alone], y[alone])
