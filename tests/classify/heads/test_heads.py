"""Heads on real features: local binary patterns of photographed textures, and scanned handwritten digits."""

import string
import subprocess
import sys
import warnings

import numpy as np
import pytest
from helpers.models.quick_heads import ON_ROWS, PLAIN, head
from helpers.real_features import TEXTURES, Data
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, recall_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import classify.heads.base
import classify.heads.numerics
from cache.errors import UserError
from classify.heads.head_table import HEADS, fit_head, make_head, parse_params, search_grid


def rare_and_common(digits: Data, rare: int = 8) -> tuple[np.ndarray, ...]:
    """Eights against ones, which look alike: 8 eights to train on; (X, y) to train and (X, y) to test."""
    X, y = digits
    eights, ones = X[y == 8], X[y == 1]
    train = np.concatenate([eights[:rare], ones[:40]]), np.array(["eight"] * rare + ["one"] * 40)
    test = np.concatenate([eights[rare:], ones[40:]])
    return *train, test, np.array(["eight"] * (len(eights) - rare) + ["one"] * (len(ones) - 40))


# ---- the table and its parameters


def test_names_are_known_without_importing_scikit_learn_or_tensorflow() -> None:
    code = "import sys, classify.heads.head_table as h; print(*h.HEADS);"
    code += "assert not {'sklearn', 'tensorflow'} & set(sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["logreg", "sgd", "svm", "dense", "ridge", "knn", "centroid", "finetune"]


@pytest.mark.parametrize("name", HEADS)
def test_every_value_of_the_search_grid_is_valid(name: str) -> None:
    for parameter, values in search_grid(name).items():
        for value in values:
            assert make_head(name, {parameter: value}).get_params()[parameter] == value


def test_changing_a_search_grid_does_not_change_the_table() -> None:
    search_grid("logreg")["C"].append(-1)
    assert -1 not in search_grid("logreg")["C"]


def test_unknown_head_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"'logrec'.*logreg, sgd, svm, dense, ridge, knn, centroid"):
        make_head("logrec")
    with pytest.raises(UserError, match="'tree'"):
        search_grid("tree")


def test_unknown_parameter_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"logreg has no parameter 'c', did you mean C\?.*C, class_weight, max_iter"):
        make_head("logreg", {"c": 1})
    with pytest.raises(UserError, match="centroid has no parameter 'class_weight'"):
        make_head("centroid", {"class_weight": "balanced"})


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("logreg", {"C": -1}),
        ("logreg", {"C": 0}),
        ("logreg", {"C": float("nan")}),
        ("logreg", {"C": float("inf")}),
        ("logreg", {"C": "big"}),
        ("logreg", {"C": True}),
        ("logreg", {"max_iter": 0}),
        ("logreg", {"max_iter": 1.5}),
        ("logreg", {"normalize": "max"}),
        ("logreg", {"class_weight": "equal"}),
        ("svm", {"kernel": "poly"}),
        ("svm", {"gamma": 0}),
        ("ridge", {"alpha": -0.1}),
        ("ridge", {"random_state": -1}),
        ("knn", {"n_neighbors": 0}),
        ("knn", {"temperature": 0}),
        ("centroid", {"temperature": "warm"}),
    ],
)
def test_invalid_value_is_refused_in_one_line_when_made_and_when_fitted(name: str, params: dict) -> None:
    ((parameter, value),) = params.items()
    with pytest.raises(UserError) as made:
        make_head(name, params)
    assert f"{parameter}={value!r}" in str(made.value)
    assert "\n" not in str(made.value)
    with pytest.raises(UserError, match=parameter):
        make_head(name).set_params(**params).fit([[0.0], [1.0]], ["a", "b"])


def test_seed_becomes_the_random_state_unless_one_is_given() -> None:
    assert make_head("svm", seed=3).get_params()["random_state"] == 3
    assert make_head("svm", {"random_state": 4}, seed=3).get_params()["random_state"] == 4


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        ("  ", {}),
        ("C=1.0", {"C": 1.0}),
        (
            "C=1.0 max_iter=500, class_weight=balanced hidden=128 normalize=none",
            {"C": 1.0, "max_iter": 500, "class_weight": "balanced", "hidden": 128, "normalize": "none"},
        ),
        (
            "learning_rate=1e-3,batch_norm=True,hidden=None",
            {"learning_rate": 0.001, "batch_norm": True, "hidden": None},
        ),
        (
            "class_weight={'not alpaca': 1, 'alpaca': 2.5} C=-1",
            {"class_weight": {"not alpaca": 1, "alpaca": 2.5}, "C": -1},
        ),
        ("normalize='l2'", {"normalize": "l2"}),
        ("C=" + "-" * 50_000 + "1", {"C": "-" * 50_000 + "1"}),  # too deep for Python's parser
    ],
)
def test_parameters_are_read_from_text(text: str, params: dict) -> None:
    assert parse_params(text) == params


@given(
    st.dictionaries(
        st.text(string.ascii_letters + "_", min_size=1),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.dictionaries(st.text(string.ascii_letters + " ,=", max_size=5), st.integers(), max_size=3),
    ),
    st.sampled_from([" ", ",", ", ", " , ", "  "]),
)
def test_parameters_written_as_literals_read_back_the_same(params: dict, parting: str) -> None:
    assert parse_params(parting.join(f"{key}={value!r}" for key, value in params.items())) == params


@pytest.mark.parametrize(
    "text", ["C", "C=", "=1", "C 1", "C=1;tol=2 (", "1C=2", "C=1 tol", "C==1 {", "class_weight={1:2"]
)
def test_unreadable_parameters_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match=r"key=value.*such as C=1\.0"):
        parse_params(text)


def test_parameter_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="C is given twice"):
        parse_params("C=1 C=2")


# ---- scikit-learn estimators one and all


# Whole numbers as weights against copies that no `groups` name: test_sample_weight.py has them named.
COPIES = "check_sample_weight_equivalence_on_dense_data"
IN_FOLDS = "a temperature is fitted on pictures that are held out, and copies that nobody names are on both sides"
UNLIKE_COPIES = {
    "svm": {COPIES: IN_FOLDS},
    "ridge": {COPIES: IN_FOLDS},
    "knn": {COPIES: "n_neighbors counts pictures, whatever they weigh"},
    "sgd": {COPIES: "steps on batches end near the optimum"},
}


@pytest.mark.parametrize(
    ("name", "params"),
    [(name, {}) for name in ("svm", "ridge", "knn", "sgd")]
    + [("logreg", {"tol": 1e-12}), ("centroid", {"temperature": 0.1})],
)
def test_scikit_learns_own_checks_pass(name: str, params: dict) -> None:
    check_estimator(make_head(name, params), on_skip=None, expected_failed_checks=UNLIKE_COPIES.get(name, {}))


@pytest.mark.parametrize("labels", [np.array([f"kind {n % 15}" for n in range(24)]), np.arange(24) % 15])
def test_many_classes_of_few_pictures_are_no_regression(labels: np.ndarray, digits: Data) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit_head(make_head("logreg"), digits[0][:24], labels)
    assert len(fitted.classes_) == 15


@pytest.mark.parametrize("name", ON_ROWS)
def test_head_learns_textures_and_predicts_the_most_probable(name: str, textures: Data) -> None:
    X, y = textures
    fitted = fit_head(head(name), X[:160], y[:160])
    chances = fitted.predict_proba(X[160:])
    assert list(fitted.classes_) == sorted(TEXTURES)
    assert chances.shape == (80, 4)
    assert chances.min() > 0
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.predict(X[160:]), fitted.classes_[chances.argmax(axis=1)])
    assert fitted.score(X[160:], y[160:]) >= 0.95
    assert log_loss(y[160:], chances) < 0.35  # even odds: 1.39


@pytest.mark.parametrize("name", PLAIN)
def test_clone_cross_validation_and_grid_search_work_with_flat_parameters(name: str, textures: Data) -> None:
    X, y = textures
    estimator = make_head(name)
    assert clone(estimator).get_params() == estimator.get_params()
    assert cross_val_score(estimator, X, y, cv=3, error_score="raise").mean() > 0.9
    grid = {parameter: values[:2] for parameter, values in search_grid(name).items()}
    searched = GridSearchCV(estimator, grid, cv=3, error_score="raise").fit(X, y)
    assert set(searched.best_params_) == set(grid)
    assert searched.best_score_ > 0.9


@pytest.mark.parametrize("name", ON_ROWS)
def test_defaults_converge_without_a_warning(name: str, textures: Data, digits: Data) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head(name).fit(*textures)
        head(name).fit(*digits)


def test_solver_that_stops_early_is_announced_in_one_line(textures: Data, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        fit_head(make_head("logreg", {"max_iter": 2}), *textures)
    (record,) = caplog.records
    assert "max_iter=2" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("name", ON_ROWS)
def test_one_class_is_refused(name: str, textures: Data) -> None:
    with pytest.raises(UserError, match="only one class, coins, among 5 training pictures"):
        head(name).fit(textures[0][:5], ["coins"] * 5)


@pytest.mark.parametrize("name", ["logreg", "sgd", "svm", "ridge", "knn", "dense"])
def test_weight_for_an_unknown_class_is_refused(name: str, textures: Data) -> None:
    with pytest.raises(UserError, match="'Coins': there are brick, coins, grass, gravel"):
        head(name, class_weight={"Coins": 2}).fit(*textures)


@pytest.mark.parametrize(
    ("name", "params"),
    [("logreg", {}), ("sgd", {}), ("svm", {}), ("svm", {"kernel": "rbf"}), ("ridge", {}), ("knn", {}), ("dense", {})],
)
def test_balanced_class_weights_find_more_of_the_rare_class(name: str, params: dict, digits: Data) -> None:
    X, y, unseen, truth = rare_and_common(digits)
    found = [
        recall_score(truth, head(name, class_weight=weight, **params).fit(X, y).predict(unseen), pos_label="eight")
        for weight in (None, "balanced", {"eight": 6, "one": 0.006})
    ]
    assert found[0] <= found[1] <= found[2]
    assert found[0] < found[2]
    assert found[2] >= 0.9


# ---- normalisation


@pytest.mark.parametrize("name", PLAIN)
def test_l2_makes_the_length_of_a_row_irrelevant(name: str, textures: Data) -> None:
    X, y = textures
    lengths = np.random.RandomState(0).uniform(0.1, 10, size=(len(X), 1)).astype(np.float32)
    plain, stretched = (make_head(name).fit(rows, y).predict_proba(X) for rows in (X, X * lengths))
    np.testing.assert_allclose(plain, stretched, atol=2e-3)


@pytest.mark.parametrize("name", ["logreg", "sgd", "ridge", "knn", "centroid"])
def test_standard_makes_the_scale_of_a_feature_irrelevant(name: str, textures: Data) -> None:
    X, y = textures
    random = np.random.RandomState(0)
    scale, shift = random.uniform(0.1, 10, (2, X.shape[1])).astype(np.float32)
    plain, moved = (
        make_head(name, {"normalize": "standard"}).fit(rows, y).predict_proba(rows) for rows in (X, X * scale + shift)
    )
    np.testing.assert_allclose(plain, moved, atol=2e-3)


def test_standard_learns_from_the_training_rows_alone_and_leaves_constant_features(
    textures: Data,
) -> None:
    X, y = textures
    X = X.copy()
    X[:, 5] = 0.1
    fitted = make_head("logreg", {"normalize": "standard"}).fit(X[:100], y[:100])
    np.testing.assert_allclose(fitted.mean_, X[:100].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(np.delete(fitted.scale_, 5), np.delete(X[:100].std(axis=0), 5), rtol=1e-4)
    assert fitted.scale_[5] == 1
    assert np.isfinite(fitted.predict_proba(X)).all()


@pytest.mark.parametrize("name", ON_ROWS)
def test_row_of_zeros_gets_finite_probabilities(name: str, textures: Data) -> None:
    fitted = head(name).fit(*textures)
    assert np.isfinite(fitted.predict_proba(np.zeros((1, textures[0].shape[1])))).all()


@pytest.mark.parametrize("name", ON_ROWS)
def test_probabilities_do_not_depend_on_the_other_rows(
    name: str, textures: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = textures
    fitted = head(name).fit(X, y)
    together = fitted.predict_proba(X[:50])
    alone = np.concatenate([fitted.predict_proba(X[i : i + 1]) for i in range(50)])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-12)
    monkeypatch.setattr(classify.heads.numerics, "BLOCK", 7 * X.shape[1])
    np.testing.assert_allclose(fitted.predict_proba(X[:50]), together, rtol=0, atol=1e-12)


# ---- saved and loaded
