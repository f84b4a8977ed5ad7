"""`sample_weight`: 0 leaves a picture out, 2 is two copies of it, and scikit-learn's ensembles of heads work."""

from typing import Any

import numpy as np
import pytest
from helpers.models.quick_heads import ON_ROWS, head
from helpers.real_features import Data
from sklearn import config_context
from sklearn.ensemble import AdaBoostClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.preprocessing import normalize

from cache.errors import UserError
from classify.heads.head_table import make_head

# Heads that find the same for weights and for copies, with what brings their solvers near enough to the optimum.
EXACT: dict[str, tuple[str, dict[str, Any]]] = {
    "logreg": ("logreg", {"tol": 1e-7}),
    "balanced": ("logreg", {"tol": 1e-7, "class_weight": "balanced"}),
    "standard": ("logreg", {"tol": 1e-7, "normalize": "standard", "C": 0.1}),
    "svm": ("svm", {"tol": 1e-7}),
    "rbf": ("svm", {"kernel": "rbf", "tol": 1e-8}),
    "ridge": ("ridge", {}),
    "centroid": ("centroid", {}),
}


def integers(count: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 4, count)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("case", EXACT)
def test_whole_numbers_are_copies_of_a_picture(case: str, views: int, textures: Data) -> None:
    X, y = textures
    X = X if views == 1 else np.stack([X, X[:, ::-1]], axis=1)
    name, params = EXACT[case]
    weights = integers(160)
    weighted = make_head(name, params).fit(X[:160], y[:160], sample_weight=weights)
    copies = np.repeat(np.arange(160), weights)  # they are named, else a temperature is fitted on what it has seen
    repeated = make_head(name, params).fit(X[copies], y[copies], copies)
    np.testing.assert_allclose(weighted.predict_proba(X[160:]), repeated.predict_proba(X[160:]), rtol=0, atol=2e-5)
    unweighted = make_head(name, params).fit(X[:160], y[:160]).predict_proba(X[160:])
    assert np.abs(unweighted - weighted.predict_proba(X[160:])).max() > 2e-3


def test_whole_numbers_are_nearly_copies_for_steps_on_batches(digits: Data) -> None:
    X, y = digits
    weights = integers(300) ** 2
    copies = np.repeat(np.arange(300), weights)
    weighted, repeated, alone = (
        head("sgd", tol=1e-4, max_iter=2000).fit(X[rows], y[rows], sample_weight=given).predict_proba(X[300:])
        for rows, given in ((np.arange(300), weights), (copies, None), (np.arange(300), None))
    )
    assert np.abs(weighted - repeated).mean() < 0.4 * np.abs(weighted - alone).mean()


@pytest.mark.parametrize("name", ON_ROWS)
def test_a_weight_of_0_leaves_the_picture_out(name: str, textures: Data) -> None:
    X, y = textures
    weights = np.where(np.arange(len(y)) % 3 == 0, 0.0, 1.0)
    weights[y == "gravel"] = 0
    kept, copies = weights > 0, np.arange(len(y)) // 2
    weighted = head(name).fit(X, y, copies, sample_weight=weights)
    without = head(name).fit(X[kept], y[kept], copies[kept])
    assert weighted.classes_.tolist() == ["brick", "coins", "grass"]
    np.testing.assert_array_equal(weighted.predict_proba(X), without.predict_proba(X))


@pytest.mark.parametrize("name", [name for name in ON_ROWS if name != "centroid"])
def test_weights_of_pictures_are_those_of_their_classes(name: str, textures: Data) -> None:
    X, y = textures
    of = {"brick": 3.0, "coins": 0.5, "grass": 1.0, "gravel": 2.0}
    weights = np.array([of[label] for label in y.tolist()])
    by_class = head(name, class_weight=of).fit(X, y)
    by_picture = head(name).fit(X, y, sample_weight=weights)
    close = 0.01 if name == "sgd" else 0  # which moves the rows to their weighted mean first
    np.testing.assert_allclose(by_picture.predict_proba(X), by_class.predict_proba(X), rtol=0, atol=close)
    both = head(name, class_weight=of).fit(X, y, sample_weight=1 / weights)
    np.testing.assert_allclose(both.predict_proba(X), head(name).fit(X, y).predict_proba(X), atol=max(close, 1e-6))


def test_a_neighbour_has_as_many_votes_as_it_weighs() -> None:
    X, y = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), ["a", "b", "b"]
    fitted = make_head("knn", {"n_neighbors": 2, "temperature": None}).fit(X, y, sample_weight=[1, 3, 2])
    # Beside the two nearest half a vote of the mean weight, 2, spread as the classes weigh.
    np.testing.assert_allclose(fitted.predict_proba([[1, 0]]), [[(1 + 1 / 6) / 5, (3 + 5 / 6) / 5]], rtol=1e-6)


@pytest.mark.parametrize("name", ["knn", "dense", "centroid"])
def test_the_scale_of_weights_has_no_meaning_without_regularisation(name: str, textures: Data) -> None:
    X, y = textures
    weights = 1.0 + integers(160)
    found = [head(name).fit(X[:160], y[:160], sample_weight=scale * weights).predict_proba(X) for scale in (1, 1e-3)]
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ([1.0] * 5, "one value for each of 240 pictures, not shape"),
        (np.ones((240, 1)), "one value for each of 240 pictures, not shape"),
        (np.r_[1.0, -0.5, np.ones(238)], "the picture number 1 is -0.5: give finite numbers, 0 or more"),
        (np.r_[np.ones(239), np.nan], "the picture number 239 is nan"),
        (np.r_[np.inf, np.ones(239)], "the picture number 0 is inf"),
        (np.zeros(240), "every weight is zero"),
    ],
)
def test_weights_that_are_none_are_refused(weights: Any, reason: str, textures: Data) -> None:
    with pytest.raises(ValueError, match=reason):
        make_head("ridge").fit(*textures, sample_weight=weights)


@pytest.mark.parametrize("name", ON_ROWS)
def test_weights_that_leave_one_class_are_refused(name: str, textures: Data) -> None:
    X, y = textures
    with pytest.raises(UserError, match="only one class, coins, among 60 training pictures"):
        head(name).fit(X, y, sample_weight=y == "coins")


# ---- scikit-learn's ensembles


@pytest.mark.parametrize(
    # AdaBoost's weights have the sum 1: the regularisation that suits weights of 1 is 400 times as weak.
    ("name", "params"),
    [("logreg", {"C": 4000}), ("svm", {"C": 200}), ("ridge", {"alpha": 1 / 400}), ("sgd", {"C": 4000})]
    + [(name, {}) for name in ("knn", "centroid", "dense")],
)
def test_boosted_heads_learn_from_weighted_pictures(name: str, params: dict[str, Any], digits: Data) -> None:
    X, y = digits
    boosted = AdaBoostClassifier(head(name, **params), n_estimators=4, random_state=0).fit(X[:400], y[:400])
    assert len(boosted.estimators_) > 1
    assert boosted.score(X[400:], y[400:]) > 0.84
    first, second = (estimator.predict_proba(X) for estimator in boosted.estimators_[:2])
    assert np.abs(first - second).mean() > 1e-3


def test_boosting_is_that_of_scikit_learns_own_regression(textures: Data) -> None:
    X, y = normalize(textures[0].astype(np.float64)), textures[1]
    noisy = np.where(np.random.RandomState(0).rand(len(y)) < 0.3, "grass", y)
    ours, theirs = (
        AdaBoostClassifier(one, n_estimators=5, random_state=0).fit(X, noisy)
        for one in (make_head("logreg", {"C": 5e3, "tol": 1e-8}), LogisticRegression(C=5e3, tol=1e-10, max_iter=20_000))
    )
    assert len(ours.estimators_) == len(theirs.estimators_) > 1
    np.testing.assert_allclose(ours.estimator_weights_, theirs.estimator_weights_, rtol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_voters_are_given_the_weights(voting: str, textures: Data) -> None:
    X, y = textures
    heads = [(name, head(name)) for name in ("logreg", "ridge", "knn")]
    rare = np.where(y == "coins", 1e-3, 1.0)
    vote = VotingClassifier(heads, voting=voting, weights=[2, 1, 1]).fit(X[:160], y[:160], sample_weight=rare[:160])
    for (_, one), fitted in zip(heads, vote.estimators_, strict=True):
        alone = one.fit(X[:160], np.unique(y, return_inverse=True)[1][:160], sample_weight=rare[:160])
        np.testing.assert_array_equal(fitted.predict_proba(X), alone.predict_proba(X))
    assert vote.score(X[160:], y[160:], sample_weight=y[160:] != "coins") > 0.9


def test_stacked_heads_are_given_the_weights(textures: Data) -> None:
    X, y = textures
    stacked = StackingClassifier([("a", make_head("ridge")), ("b", make_head("centroid"))], make_head("logreg"), cv=3)
    assert stacked.fit(X[:160], y[:160], sample_weight=np.linspace(0.5, 2, 160)).score(X[160:], y[160:]) > 0.9


def test_cross_validation_passes_weights_and_groups_on(textures: Data) -> None:
    X, y = textures
    weights, given = 1.0 + integers(len(y)), {}
    for name, params in {"alone": {}, "weighted": {"sample_weight": weights}}.items():
        found = cross_validate(make_head("ridge"), X, y, params=params, cv=3, return_estimator=True)
        given[name] = found["estimator"][0].coef_
    assert np.abs(given["alone"] - given["weighted"]).max() > 1e-3
    with config_context(enable_metadata_routing=True):
        params = {"sample_weight": weights, "groups": np.arange(len(y))}
        scored = make_head("ridge").set_score_request(sample_weight=False)
        found = cross_validate(scored, X, y, params=params, cv=3, return_estimator=True)
    np.testing.assert_array_equal(found["estimator"][0].coef_, given["weighted"])
