"""The user's own validation part: it stops a training or fits a temperature, and no test or fold has anything of it."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.datasets import dataset
from helpers.models.quick_heads import head
from helpers.real_features import Data
from sklearn.metrics import log_loss

from cache.errors import UserError
from classify.data.dataset import Dataset
from classify.heads.calibrated import fit_temperature
from classify.heads.head_table import make_head
from classify.heads.numerics import by_class
from classify.train import train_head


@pytest.fixture
def split(digits: Data) -> Dataset:
    """600 digits: 300 to train on, 100 to validate with, 200 to test with."""
    X, y = digits
    data = dataset(X, [f"digit {number}" for number in y])
    return replace(data, parts=np.repeat(["train", "validation", "test"], [300, 100, 200]))


def spoiled(data: Dataset, part: str) -> Dataset:
    """The same, but rows of a part that say nothing."""
    features = data.features.copy()
    features[data.parts == part] = np.random.default_rng(0).random((int((data.parts == part).sum()), 64))
    return replace(data, features=features)


# ---- heads that are given held-out pictures


@pytest.mark.parametrize(("name", "params"), [("svm", {}), ("svm", {"kernel": "rbf"}), ("ridge", {}), ("centroid", {})])
def test_a_temperature_is_fitted_on_the_pictures_given(name: str, params: dict[str, Any], digits: Data) -> None:
    X, y = digits
    held_out = X[200:300], y[200:300]
    alone = make_head(name, params).fit(X[:200], y[:200])
    fitted = make_head(name, params).fit(X[:200], y[:200], validation=held_out)
    decided = fitted.decision_function(held_out[0])
    np.testing.assert_allclose(decided, alone.decision_function(held_out[0]), rtol=0, atol=1e-9)
    assert fitted.temperature_ == pytest.approx(fit_temperature(by_class(decided), held_out[1]), rel=1e-6)
    assert fitted.temperature_ != alone.temperature_ and fitted.validates == "the temperature of its probabilities"
    loss = log_loss(held_out[1], fitted.predict_proba(held_out[0]))
    assert loss <= log_loss(held_out[1], alone.predict_proba(held_out[0])) + 1e-3


def test_a_temperature_suits_views_and_class_weights(digits: Data) -> None:
    X, y = digits
    views = np.stack([X[200:300], X[200:300, ::-1]], axis=1)
    weight = dict.fromkeys(range(10), 1.0) | {3: 5.0}
    fitted = make_head("ridge", {"class_weight": weight}).fit(X[:200], y[:200], validation=(views, y[200:300]))
    decided = np.mean([fitted.decision_function(views[:, view]) for view in (0, 1)], axis=0)
    expected = fit_temperature(decided, y[200:300], np.where(y[200:300] == 3, 5.0, 1.0))
    assert fitted.temperature_ == pytest.approx(expected, rel=1e-6)


def test_training_stops_by_the_pictures_given(digits: Data) -> None:
    X, y = digits
    held_out = X[200:300], y[200:300]
    fitted = head("dense", patience=3, epochs=100, learning_rate=0.1).fit(X[:200], y[:200], validation=held_out)
    best = int(np.argmin(fitted.history_["val_loss"]))
    assert fitted.n_iter_ == fitted.best_epoch_ + 3 == best + 4 < 100
    chances = fitted.predict_proba(held_out[0])
    assert log_loss(held_out[1], chances) == pytest.approx(fitted.history_["val_loss"][best], rel=1e-4)
    assert fitted.score(*held_out) == pytest.approx(fitted.history_["val_accuracy"][best], abs=1e-6)


@pytest.mark.parametrize("name", ["logreg", "sgd", "knn"])
def test_heads_that_hold_nothing_out_make_nothing_of_it(name: str, textures: Data) -> None:
    X, y = textures
    fitted = head(name).fit(X[:160], y[:160], validation=(X[160:], y[160:]))
    np.testing.assert_array_equal(fitted.predict_proba(X), head(name).fit(X[:160], y[:160]).predict_proba(X))
    assert fitted.validates is None


def test_what_nothing_can_be_validated_on_is_refused(textures: Data) -> None:
    X, y = textures
    with pytest.raises(UserError, match="validation has the class slate: there are brick, coins, grass, gravel"):
        make_head("ridge").fit(X, y, validation=(X[:2], ["coins", "slate"]))
    with pytest.raises(ValueError, match="with 0 sample"):
        make_head("ridge").fit(X, y, validation=(X[:0], []))
    with pytest.raises(UserError, match="no picture of validation a weight above 0"):
        weight = {"coins": 0, "brick": 0}
        make_head("ridge", {"class_weight": weight}).fit(X, y, validation=(X[y == "coins"], y[y == "coins"]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make_head("ridge").fit(X, y, validation=(X[:3], ["coins"]))


# ---- a training with one


def test_the_part_is_used_and_said(split: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    training = train_head(split, "ridge", {})
    purpose = "the temperature of its probabilities"
    assert training.report()["validation_used_for"] == purpose
    said = f"{purpose} goes by 100 pictures of the validation part; nothing of train is held out"
    assert caplog.messages.count(said) == 1
    X, y = split.features, split.labels
    expected = make_head("ridge").fit(X[:300], y[:300], validation=(X[300:400], y[300:400]))
    np.testing.assert_array_equal(training.estimator.predict_proba(X), expected.predict_proba(X))
    assert train_head(spoiled(split, "validation"), "ridge", {}).estimator.temperature_ != expected.temperature_


def test_the_fit_after_a_search_uses_it_the_search_does_not(split: Dataset) -> None:
    plain, other = (train_head(data, "svm", {}, search=True) for data in (split, spoiled(split, "validation")))
    assert plain.search_table == other.search_table
    assert plain.estimator.temperature_ != other.estimator.temperature_


def test_no_fold_has_anything_of_it_and_the_fit_nothing_of_the_test_part(split: Dataset) -> None:
    plain = train_head(split, "ridge", {}, cv=3)
    without = train_head(spoiled(split, "validation"), "ridge", {}, cv=3)
    for one, other in ((plain.cv_answers, without.cv_answers), (plain.out_of_fold, without.out_of_fold)):
        assert one is not None and other is not None
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    untested = train_head(spoiled(split, "test"), "ridge", {})
    X = split.features
    np.testing.assert_array_equal(untested.estimator.predict_proba(X), plain.estimator.predict_proba(X))


def test_copies_of_training_and_test_pictures_are_left_out(split: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    digests = split.digests.copy()
    digests[[300, 301, 302]] = digests[[5, 6, 500]]
    training = train_head(replace(split, digests=digests), "ridge", {})
    assert training.validated is not None and training.validated.rows.tolist() == list(range(303, 400))
    said = (
        "3 of 100 pictures of the validation part are left out: their groups, or near-duplicates, are in train or test"
    )
    assert said in caplog.messages
    assert training.validation is not None and len(training.validation.rows) == 100


def test_named_groups_are_not_on_both_sides(split: Dataset) -> None:
    sites = np.array([f"site {number % 40}" for number in range(600)])
    sites[300:350] = [f"other {number % 10}" for number in range(50)]
    sites[400:] = [f"tested {number % 20}" for number in range(200)]
    training = train_head(replace(split, groups=sites), "ridge", {})
    assert training.validated is not None and training.validated.rows.tolist() == list(range(300, 350))


def test_where_none_is_left_train_is_held_out_and_it_is_said(split: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    sites = np.array([f"site {number % 20}" for number in range(600)])
    training = train_head(replace(split, groups=sites), "ridge", {})
    assert training.validated is None
    assert (
        "100 of 100 pictures of the validation part are left out: their groups, or near-duplicates, are in train or "
        "test; the temperature of its probabilities goes by a part of train instead"
    ) in caplog.messages


def test_without_a_test_part_it_is_scored_and_not_used(split: Dataset) -> None:
    data = replace(split, parts=np.where(split.parts == "test", "validation", split.parts))
    training = train_head(data, "ridge", {})
    assert training.validated is None and training.report()["validation_used_for"] is None
    X, y = split.features, split.labels
    expected = make_head("ridge").fit(X[:300], y[:300]).temperature_
    assert training.estimator.temperature_ == pytest.approx(expected)


def test_a_head_that_needs_none_says_nothing(split: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    assert train_head(split, "logreg", {}).report()["validation_used_for"] is None
    assert "validation part" not in caplog.text
    assert make_head("dense", {"validation_fraction": 0}).validates is None
    assert make_head("centroid", {"temperature": 0.1}).validates is None


# ---- thresholds


def test_thresholds_are_found_on_answers_out_of_fold_and_of_the_validation_part(split: Dataset) -> None:
    digests = split.digests.copy()
    digests[300] = digests[5]
    training = train_head(replace(split, digests=digests), "logreg", {})
    found = training.threshold_answers
    assert found is not None and training.out_of_fold is not None and training.validation is not None
    assert found.rows.tolist() == [*training.out_of_fold.rows.tolist(), *range(301, 400)]
    assert found.parts[-99:].tolist() == ["validation"] * 99
    np.testing.assert_array_equal(found.probabilities[-99:], training.validation.probabilities[1:])
    assert [found.classes[code] for code in found.truth] == split.labels[found.rows].tolist()
    assert not {*found.groups[:-99].tolist()} & {*found.groups[-99:].tolist()}


def test_after_a_refit_thresholds_are_found_out_of_fold_alone(split: Dataset) -> None:
    training = train_head(split, "logreg", {}, refit=True)
    found = training.threshold_answers
    assert found is not None and sorted(found.rows.tolist()) == list(range(600))
    assert all(part.startswith("fold") for part in found.parts.tolist())
