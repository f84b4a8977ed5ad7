"""Heads on real features: local binary patterns of photographed textures, and scanned handwritten digits."""

import json
import string
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, recall_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

import classify.base
from cache.errors import UserError
from classify.calibrated import fit_temperature, probabilities
from classify.heads import HEADS, fit_head, make_head, parse_params, search_grid

# The dense head has a test file of its own; here it takes part where all heads must behave alike.
QUICK = {"dense": {"epochs": 40, "learning_rate": 0.03}}
PLAIN = [name for name in HEADS if name != "dense"]
TEXTURES = ("brick", "coins", "grass", "gravel")


@pytest.fixture(scope="module")
def textures() -> tuple[np.ndarray, np.ndarray]:
    """Features (240, 59) float32 of crops of four photographs, and the names of these."""
    import skimage.data
    from skimage.feature import local_binary_pattern

    random = np.random.RandomState(0)
    rows, labels = [], []
    for name in TEXTURES:
        photograph = getattr(skimage.data, name)()
        for _ in range(60):
            top, left = random.randint(0, np.subtract(photograph.shape, 64))
            crop = photograph[top : top + 64, left : left + 64]
            patterns = local_binary_pattern(crop, 8, 1, "nri_uniform").astype(int)
            rows.append(np.bincount(patterns.ravel(), minlength=59) / patterns.size)
            labels.append(name)
    order = random.permutation(len(rows))
    return np.array(rows, np.float32)[order], np.array(labels)[order]


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The first 600 of scikit-learn's handwritten digits as (600, 64) float32, and their numbers."""
    X, y = load_digits(return_X_y=True)
    return X[:600].astype(np.float32), y[:600]


def rare_and_common(digits: tuple[np.ndarray, np.ndarray], rare: int = 8) -> tuple[np.ndarray, ...]:
    """Eights against ones, which look alike: 8 eights to train on; (X, y) to train and (X, y) to test."""
    X, y = digits
    eights, ones = X[y == 8], X[y == 1]
    train = np.concatenate([eights[:rare], ones[:40]]), np.array(["eight"] * rare + ["one"] * 40)
    test = np.concatenate([eights[rare:], ones[40:]])
    return *train, test, np.array(["eight"] * (len(eights) - rare) + ["one"] * (len(ones) - 40))


def head(name: str, **params: object) -> classify.base.FeatureHead:
    return make_head(name, QUICK.get(name, {}) | params)


# ---- the table and its parameters


def test_names_are_known_without_importing_scikit_learn_or_tensorflow() -> None:
    code = "import sys, classify.heads as h; print(*h.HEADS); assert not {'sklearn', 'tensorflow'} & set(sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["logreg", "svm", "dense", "ridge", "knn", "centroid"]


@pytest.mark.parametrize("name", HEADS)
def test_every_value_of_the_search_grid_is_valid(name: str) -> None:
    for parameter, values in search_grid(name).items():
        for value in values:
            assert make_head(name, {parameter: value}).get_params()[parameter] == value


def test_changing_a_search_grid_does_not_change_the_table() -> None:
    search_grid("logreg")["C"].append(-1)
    assert -1 not in search_grid("logreg")["C"]


def test_unknown_head_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(UserError, match=r"'logrec'.*logreg, svm, dense, ridge, knn, centroid"):
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


@pytest.mark.parametrize("name", PLAIN)
def test_scikit_learns_own_checks_pass(name: str) -> None:
    check_estimator(make_head(name), on_skip=None)


@pytest.mark.parametrize("name", HEADS)
def test_head_learns_textures_and_predicts_the_most_probable(
    name: str, textures: tuple[np.ndarray, np.ndarray]
) -> None:
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
def test_clone_cross_validation_and_grid_search_work_with_flat_parameters(
    name: str, textures: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = textures
    estimator = make_head(name)
    assert clone(estimator).get_params() == estimator.get_params()
    assert cross_val_score(estimator, X, y, cv=3, error_score="raise").mean() > 0.9
    grid = {parameter: values[:2] for parameter, values in search_grid(name).items()}
    searched = GridSearchCV(estimator, grid, cv=3, error_score="raise").fit(X, y)
    assert set(searched.best_params_) == set(grid)
    assert searched.best_score_ > 0.9


@pytest.mark.parametrize("name", HEADS)
def test_defaults_converge_without_a_warning(
    name: str, textures: tuple[np.ndarray, np.ndarray], digits: tuple[np.ndarray, np.ndarray]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head(name).fit(*textures)
        head(name).fit(*digits)


def test_solver_that_stops_early_is_announced_in_one_line(
    textures: tuple[np.ndarray, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        fit_head(make_head("logreg", {"max_iter": 2}), *textures)
    (record,) = caplog.records
    assert "max_iter=2" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("name", HEADS)
def test_one_class_is_refused(name: str, textures: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(UserError, match="only one class, coins, among 5 training pictures"):
        head(name).fit(textures[0][:5], ["coins"] * 5)


@pytest.mark.parametrize("name", ["logreg", "svm", "ridge", "knn", "dense"])
def test_weight_for_an_unknown_class_is_refused(name: str, textures: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(UserError, match="'Coins': there are brick, coins, grass, gravel"):
        head(name, class_weight={"Coins": 2}).fit(*textures)


@pytest.mark.parametrize(
    ("name", "params"),
    [("logreg", {}), ("svm", {}), ("svm", {"kernel": "rbf"}), ("ridge", {}), ("knn", {}), ("dense", {})],
)
def test_balanced_class_weights_find_more_of_the_rare_class(
    name: str, params: dict, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y, unseen, truth = rare_and_common(digits)
    found = [
        recall_score(truth, head(name, class_weight=weight, **params).fit(X, y).predict(unseen), pos_label="eight")
        for weight in (None, "balanced", {"eight": 1000})
    ]
    assert found[0] <= found[1] <= found[2]
    assert found[0] < found[2]
    assert found[2] >= 0.9


# ---- normalisation


@pytest.mark.parametrize("name", PLAIN)
def test_l2_makes_the_length_of_a_row_irrelevant(name: str, textures: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = textures
    lengths = np.random.RandomState(0).uniform(0.1, 10, size=(len(X), 1)).astype(np.float32)
    plain, stretched = (make_head(name).fit(rows, y).predict_proba(X) for rows in (X, X * lengths))
    np.testing.assert_allclose(plain, stretched, atol=2e-3)


@pytest.mark.parametrize("name", ["logreg", "ridge", "knn", "centroid"])
def test_standard_makes_the_scale_of_a_feature_irrelevant(name: str, textures: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = textures
    random = np.random.RandomState(0)
    scale, shift = random.uniform(0.1, 10, (2, X.shape[1])).astype(np.float32)
    plain, moved = (
        make_head(name, {"normalize": "standard"}).fit(rows, y).predict_proba(rows) for rows in (X, X * scale + shift)
    )
    np.testing.assert_allclose(plain, moved, atol=2e-3)


def test_standard_learns_from_the_training_rows_alone_and_leaves_constant_features(
    textures: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = textures
    X = X.copy()
    X[:, 5] = 0.1
    fitted = make_head("logreg", {"normalize": "standard"}).fit(X[:100], y[:100])
    np.testing.assert_allclose(fitted.mean_, X[:100].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(np.delete(fitted.scale_, 5), np.delete(X[:100].std(axis=0), 5), rtol=1e-4)
    assert fitted.scale_[5] == 1
    assert np.isfinite(fitted.predict_proba(X)).all()


@pytest.mark.parametrize("name", HEADS)
def test_row_of_zeros_gets_finite_probabilities(name: str, textures: tuple[np.ndarray, np.ndarray]) -> None:
    fitted = head(name).fit(*textures)
    assert np.isfinite(fitted.predict_proba(np.zeros((1, textures[0].shape[1])))).all()


@pytest.mark.parametrize("name", HEADS)
def test_probabilities_do_not_depend_on_the_other_rows(
    name: str, textures: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = textures
    fitted = head(name).fit(X, y)
    together = fitted.predict_proba(X[:50])
    alone = np.concatenate([fitted.predict_proba(X[i : i + 1]) for i in range(50)])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-12)
    monkeypatch.setattr(classify.base, "BLOCK", 7 * X.shape[1])
    np.testing.assert_allclose(fitted.predict_proba(X[:50]), together, rtol=0, atol=1e-12)


# ---- each against its definition


def test_logreg_is_scikit_learns_logistic_regression(textures: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = textures
    for labels in (y, y == "coins"):
        expected = make_pipeline(Normalizer(), LogisticRegression(C=10, max_iter=1000, tol=1e-7)).fit(X, labels)
        found = make_head("logreg", {"tol": 1e-7}).fit(X, labels).predict_proba(X)
        np.testing.assert_allclose(found, expected.predict_proba(X), atol=1e-4)


def test_rbf_machines_are_scikit_learns_svc_one_against_the_rest(textures: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = textures
    fitted = make_head("svm", {"kernel": "rbf", "C": 3}).fit(X[:150], y[:150])
    rows = Normalizer().transform(X)
    decisions = np.column_stack(
        [SVC(C=3, tol=1e-4).fit(rows[:150], y[:150] == name).decision_function(rows) for name in fitted.classes_]
    )
    np.testing.assert_allclose(fitted.predict_proba(X), probabilities(decisions, fitted.temperature_), atol=1e-3)


def test_knn_votes_by_cosine_with_a_small_part_for_every_class() -> None:
    X = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]])
    fitted = make_head("knn", {"n_neighbors": 2, "temperature": None}).fit(X, ["a", "b", "b", "c"])
    np.testing.assert_allclose(
        fitted.predict_proba([[2, 0.1]]), [[(1 + 0.125) / 2.5, (1 + 0.25) / 2.5, 0.125 / 2.5]], rtol=1e-6
    )
    # With a temperature, the nearer of two neighbours has the greater weight, in the ratio exp(difference / T).
    weighted = make_head("knn", {"n_neighbors": 2, "temperature": 0.1}).fit(X, ["a", "b", "b", "c"])
    votes = np.exp(np.array([1.0, 0.8]) / 0.1)
    votes *= 2 / votes.sum()
    np.testing.assert_allclose(
        weighted.predict_proba([[1, 0]]), [np.array([votes[0] + 0.125, votes[1] + 0.25, 0.125]) / 2.5], rtol=1e-6
    )


def test_knn_with_more_neighbours_than_pictures_says_that_all_vote(caplog: pytest.LogCaptureFixture) -> None:
    fitted = make_head("knn").fit(np.eye(4), ["a", "a", "b", "b"])
    assert "n_neighbors=15, but all 4 training pictures vote" in caplog.text
    assert list(fitted.predict(np.eye(4))) == ["a", "a", "b", "b"]


def test_centroid_temperature_comes_from_means_without_the_picture_itself(
    textures: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = textures[0][:30], textures[1][:30]
    fitted = make_head("centroid").fit(X, y)
    rows = Normalizer().transform(X.astype(np.float64))
    labels = np.searchsorted(fitted.classes_, y)
    cosines = np.empty((30, 4))
    for i in range(30):
        others = np.arange(30) != i
        means = [rows[others & (labels == label)].mean(axis=0) for label in range(4)]
        cosines[i] = Normalizer().transform(means) @ rows[i]
    assert fitted.temperature_ == pytest.approx(fit_temperature(cosines, labels), rel=1e-3)


def test_centroid_learns_from_one_picture_a_class_with_a_given_temperature(
    textures: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = textures
    first = [int(np.flatnonzero(y == name)[0]) for name in TEXTURES]
    with pytest.raises(UserError, match=r"temperature=0\.1"):
        make_head("centroid").fit(X[first], y[first])
    fitted = make_head("centroid", {"temperature": 0.1}).fit(X[first], y[first])
    assert fitted.score(X, y) > 0.5
    # One class with a single picture is no obstacle: the others tell the temperature.
    some = [*np.flatnonzero(y != "coins")[:30], first[TEXTURES.index("coins")]]
    assert 0 < make_head("centroid").fit(X[some], y[some]).temperature_ < 1


# ---- honest probabilities


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
def test_random_labels_give_probabilities_near_even(params: dict, textures: tuple[np.ndarray, np.ndarray]) -> None:
    X = textures[0]
    y = np.random.RandomState(0).permutation(np.arange(len(X)) % 3)
    fitted = make_head("ridge" if "alpha" in params else "svm", params).fit(X, y)
    # Decisions about the training rows themselves look sure: a temperature fitted on those would not be even.
    assert fitted.predict_proba(X).max(axis=1).mean() < 0.45


@pytest.mark.parametrize(("name", "params"), [("svm", {}), ("svm", {"kernel": "rbf"}), ("ridge", {})])
def test_temperature_from_held_out_folds_suits_new_pictures(
    name: str, params: dict, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = digits
    fitted = make_head(name, params).fit(X[:200], y[:200])
    chances = fitted.predict_proba(X[200:])
    decisions = np.log(chances) * fitted.temperature_
    best = min(log_loss(y[200:], probabilities(decisions, t)) for t in np.geomspace(0.01, 10, 100))
    assert log_loss(y[200:], chances) < 1.1 * best


@pytest.mark.parametrize("name", ["svm", "ridge"])
def test_class_with_one_picture_is_refused_where_probabilities_need_two(
    name: str, textures: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = textures
    keep = [*np.flatnonzero(y != "coins"), int(np.flatnonzero(y == "coins")[0])]
    with pytest.raises(UserError, match="at least 2 pictures of each class"):
        make_head(name).fit(X[keep], y[keep])
    keep.append(int(np.flatnonzero(y == "coins")[1]))
    assert make_head(name).fit(X[keep], y[keep]).score(X, y) > 0.7


# ---- saved and loaded


def test_saved_heads_give_bit_equal_probabilities_in_a_new_process(
    textures: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    X, y = textures
    np.save(tmp_path / "X.npy", X)
    fitted = {name: make_head(name).fit(X, y) for name in PLAIN}
    fitted["rbf"] = make_head("svm", {"kernel": "rbf"}).fit(X, y)
    for name, estimator in fitted.items():
        joblib.dump(estimator, tmp_path / f"{name}.joblib")
    code = """
import json, sys, joblib, numpy as np
X = np.load("X.npy")
for name in json.loads(sys.argv[1]):
    np.save(f"{name}.npy", joblib.load(f"{name}.joblib").predict_proba(X))
"""
    subprocess.run([sys.executable, "-c", code, json.dumps(list(fitted))], cwd=tmp_path, check=True)
    for name, estimator in fitted.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), estimator.predict_proba(X), err_msg=name)
