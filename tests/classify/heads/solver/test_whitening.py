"""Coordinates are isometries: products of rows stay, and planes in them decide as their hyperplanes do."""

import numpy as np
import pytest
from helpers import real_features

from classify.heads.numerics import unit_rows
from classify.heads.solver.whitening import coordinates

ROUNDING = {np.float32: 1e-5, np.float64: 1e-12}


def of_digits() -> np.ndarray:
    rows, _ = real_features.digits()
    return unit_rows(real_features.with_products(rows[:60]))


KINDS = {
    "fewer rows than columns": of_digits,
    "copies": lambda: np.vstack([of_digits()[:40], of_digits()[:20]]),
    "all alike": lambda: np.repeat(of_digits()[:1], 5, axis=0),
    "one": lambda: of_digits()[:1],
    "more rows than columns": lambda: unit_rows(real_features.digits()[0]),
    "a tenth to the seventh apart": lambda: of_digits() * np.logspace(0, -7, of_digits().shape[1], dtype=np.float32),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("uncorrelated", [True, False])
@pytest.mark.parametrize("free_intercept", [True, False])
@pytest.mark.parametrize("kind", [*KINDS])
def test_products_and_decisions_stay(kind: str, free_intercept: bool, uncorrelated: bool, dtype: type) -> None:
    rows = KINDS[kind]()
    points = coordinates(rows, free_intercept=free_intercept, uncorrelated=uncorrelated, dtype=dtype)
    moved = rows - rows.mean(axis=0, dtype=np.float64) * free_intercept
    assert np.abs(points.rows @ points.rows.T - (moved @ moved.T + 1)).max() < ROUNDING[dtype]
    random = np.random.default_rng(0).normal(size=(len(rows), 3)).astype(dtype)
    planes = points.rows.T @ random  # in the span of the rows, as those of the least penalty are
    normals, intercepts = points.hyperplanes(planes)
    decided = points.rows @ planes
    others = rows.astype(dtype) @ normals.T + intercepts
    assert np.abs(decided - others).max() < ROUNDING[dtype] * max(1, np.abs(decided).max())


def test_columns_become_uncorrelated_and_no_more_than_the_rows_tell() -> None:
    rows = KINDS["copies"]()
    points = coordinates(rows, free_intercept=True, uncorrelated=True, dtype=np.float64)
    assert points.rows.shape == (60, 40)  # 40 different ones less their mean, and the column of the intercept
    products = points.rows[:, :-1].T @ points.rows[:, :-1]
    assert np.abs(products - np.diag(np.diag(products))).max() < ROUNDING[np.float64]
