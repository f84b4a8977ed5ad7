"""The dense head on scanned handwritten digits: trained with Keras, kept as plain arrays."""

import logging
import random
from typing import Any

import numpy as np
import pytest
from helpers.real_features import Data
from scipy.special import softmax
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import check_estimator

import classify.heads.dense.dense_head
from cache.errors import UserError
from classify.data.inner_split import held_out_rows
from classify.heads.dense.dense_head import DenseClassifier
from featurize.engines.keras_import import import_keras

# scikit-learn's checks that the estimator cannot pass, each with its reason.
EXPECTED_FAILED_CHECKS = {"check_sample_weight_equivalence_on_dense_data": "an epoch shows every picture once"}


def quick(**params: Any) -> DenseClassifier:
    return DenseClassifier(**{"learning_rate": 0.01, "epochs": 15, "random_state": 0} | params)


def test_scikit_learns_own_checks_pass() -> None:
    check_estimator(
        DenseClassifier(epochs=10, batch_size=16, learning_rate=0.05),
        on_skip=None,
        expected_failed_checks=EXPECTED_FAILED_CHECKS,
    )


@pytest.mark.parametrize("params", [{}, {"hidden": 64, "batch_norm": True}])
def test_unseen_digits_are_recognised(params: dict, digits: Data) -> None:
    X, y = digits
    fitted = quick(epochs=60, **params).fit(X[:400], y[:400])
    assert fitted.score(X[400:], y[400:]) > 0.85
    assert log_loss(y[400:], fitted.predict_proba(X[400:])) < 0.5  # even odds: 2.3


@pytest.mark.parametrize(
    ("params", "normalize"),
    [
        ({}, "l2"),
        ({"hidden": 32}, "standard"),
        ({"hidden": 32, "batch_norm": True}, "none"),
        ({"batch_norm": True, "dropout": 0}, "l2"),
    ],
)
def test_plain_arrays_give_what_keras_gives(
    params: dict, normalize: str, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = digits
    trained: list[Any] = []
    plain_layers = classify.heads.dense.dense_head.plain_layers
    monkeypatch.setattr(
        classify.heads.dense.dense_head,
        "plain_layers",
        lambda network: trained.append(network) or plain_layers(network),
    )
    fitted = quick(normalize=normalize, epochs=5, **params).fit(X, y)
    rows = {
        "l2": X / np.linalg.norm(X, axis=1, keepdims=True),
        "standard": (X - X.mean(axis=0, dtype=float)) / np.where(X.std(axis=0) > 0, X.std(axis=0, dtype=float), 1),
        "none": X,
    }[normalize]
    expected = softmax(trained[0].predict(rows / np.sqrt(np.mean(rows**2)), verbose=0).astype(np.float64), axis=1)
    np.testing.assert_allclose(fitted.predict_proba(X), expected, rtol=0, atol=1e-6)
    assert {array.dtype for array in fitted.coefs_ + fitted.intercepts_} == {np.dtype(np.float32)}


# ---- random numbers


@pytest.mark.parametrize("params", [{}, {"hidden": 32, "batch_norm": True}])
def test_same_random_state_gives_the_same_weights(params: dict, digits: Data) -> None:
    first = quick(**params).fit(*digits)
    second = clone(first).fit(*digits)
    other = quick(**params | {"random_state": 1}).fit(*digits)
    for a, b, c in zip(first.coefs_, second.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert first.history_ == second.history_


def test_random_state_none_draws_anew_and_a_generator_goes_on(digits: Data) -> None:
    one, two = (quick(random_state=None, epochs=1).fit(*digits).coefs_[0] for _ in range(2))
    assert not np.array_equal(one, two)
    generator = np.random.RandomState(0)
    three, four = (quick(random_state=generator, epochs=1).fit(*digits).coefs_[0] for _ in range(2))
    assert not np.array_equal(three, four)
    np.testing.assert_array_equal(three, quick(random_state=0, epochs=1).fit(*digits).coefs_[0])


@pytest.mark.parametrize("random_state", [0, None])
def test_global_random_generators_are_left_alone(random_state: int | None, digits: Data) -> None:
    keras = import_keras()

    def draws(between: bool) -> list[float]:
        keras.utils.set_random_seed(5)  # Python's, numpy's and TensorFlow's
        if between:
            quick(random_state=random_state, hidden=8, batch_norm=True, epochs=2).fit(*digits)
        return [random.random(), np.random.random(), float(keras.random.uniform(()))]

    assert draws(between=True) == draws(between=False)


# ---- early stopping


def test_early_stopping_restores_the_weights_of_the_best_epoch(digits: Data) -> None:
    X, y = digits
    params = {"learning_rate": 0.1, "epochs": 100, "patience": 4, "validation_fraction": 0.3, "hidden": 32}
    fitted = quick(**params).fit(X, y)
    best = int(np.argmin(fitted.history_["val_loss"]))
    assert fitted.best_epoch_ == best + 1
    assert fitted.n_iter_ == len(fitted.history_["loss"]) == fitted.best_epoch_ + 4 < 100
    held_out = held_out_rows(y, np.arange(600), 0.3, np.random.RandomState(0))
    chances = fitted.predict_proba(X[held_out])
    assert log_loss(y[held_out], chances) == pytest.approx(fitted.history_["val_loss"][best], rel=1e-4)
    assert log_loss(y[held_out], chances) < 0.99 * fitted.history_["val_loss"][-1]
    assert fitted.score(X[held_out], y[held_out]) == pytest.approx(fitted.history_["val_accuracy"][best], abs=1e-6)


def test_history_is_plain_numbers_by_epoch(digits: Data) -> None:
    history = quick().fit(*digits).history_
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(type(value) is float for values in history.values() for value in values)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["accuracy"][-1] > 0.7 > history["accuracy"][0]


def test_without_validation_all_epochs_are_run_on_all_rows(digits: Data) -> None:
    fitted = quick(validation_fraction=0, epochs=7, patience=1).fit(*digits)
    assert fitted.n_iter_ == fitted.best_epoch_ == 7
    assert list(fitted.history_) == ["loss", "accuracy"]


def test_held_out_rows_are_a_share_of_each_class_and_leave_one_to_train_on() -> None:
    labels = np.repeat([0, 1, 2, 3], [40, 20, 2, 1])
    mask = held_out_rows(labels, np.arange(63), 0.9, np.random.RandomState(0))
    assert [int(mask[labels == label].sum()) for label in range(4)] == [36, 18, 1, 0]
    assert not held_out_rows(labels, np.arange(63), 0, np.random.RandomState(0)).any()
    assert not np.array_equal(mask, held_out_rows(labels, np.arange(63), 0.9, np.random.RandomState(1)))


def test_two_pictures_are_enough(digits: Data) -> None:
    X, y = digits
    fitted = quick(epochs=30).fit(X[:2], y[:2])
    np.testing.assert_array_equal(fitted.predict(X[:2]), y[:2])


# ---- parameters


def test_class_weights_enter_the_loss(digits: Data) -> None:
    X, y = digits
    y = np.where(y < 9, "rest", "nine")
    frequent = quick(class_weight={"nine": 30}).fit(X, y).predict(X)
    plain = quick().fit(X, y).predict(X)
    assert (frequent == "nine").sum() > 1.5 * (plain == "nine").sum()


def test_weight_decay_makes_weights_smaller(digits: Data) -> None:
    free, held = (quick(weight_decay=decay).fit(*digits).coefs_[0] for decay in (0.0, 1.0))
    assert np.square(held).sum() < 0.9 * np.square(free).sum()


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("hidden", 0),
        ("hidden", 12.5),
        ("dropout", 1),
        ("dropout", -0.1),
        ("batch_norm", "yes"),
        ("learning_rate", 0),
        ("weight_decay", -1),
        ("epochs", 0),
        ("batch_size", 0),
        ("patience", 0),
        ("validation_fraction", 1.0),
        ("class_weight", "even"),
        ("normalize", None),
        ("random_state", 1.5),
        ("verbose", None),
    ],
)
def test_invalid_value_is_refused_in_one_line(parameter: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^{parameter}={value!r} is not valid: give .*$"):
        quick(**{parameter: value}).fit([[0.0], [1.0]], ["a", "b"])


def test_diverging_training_is_refused(digits: Data) -> None:
    with pytest.raises(UserError, match="diverged in epoch 1: give a learning_rate below 1e"):
        quick(learning_rate=1e38, hidden=8).fit(*digits)


def test_verbose_logs_each_epoch(digits: Data, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bottleneck"):
        quick(epochs=3).fit(*digits)
        assert not caplog.records
        quick(epochs=3, verbose=1).fit(*digits)
    assert [record.getMessage()[:9] for record in caplog.records] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
