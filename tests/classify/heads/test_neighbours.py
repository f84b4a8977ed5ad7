"""Heads that compare with training pictures and with class means."""

import numpy as np
import pytest
from helpers.real_features import TEXTURES, Data
from sklearn.preprocessing import Normalizer

from cache.errors import UserError
from classify.heads.calibrated import fit_temperature
from classify.heads.head_table import make_head


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
    textures: Data,
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
    textures: Data,
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
