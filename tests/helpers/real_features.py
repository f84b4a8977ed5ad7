"""Real features without a network: patterns of photographed textures, and scanned handwritten digits."""

from functools import cache

import numpy as np
import skimage.data
from skimage.feature import local_binary_pattern
from sklearn.datasets import load_digits

TEXTURES = ("brick", "coins", "grass", "gravel")

Data = tuple[np.ndarray, np.ndarray]


@cache
def textures() -> Data:
    """Features (240, 59) float32 of crops of four photographs, and the names of these; read-only."""
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
    return _frozen(np.array(rows, np.float32)[order], np.array(labels)[order])


@cache
def digits() -> Data:
    """600 of scikit-learn's handwritten digits as (600, 64) float32, and their numbers; read-only."""
    X, y = load_digits(return_X_y=True)
    chosen = np.random.RandomState(0).permutation(len(X))[:600]  # the file is in the order of the writers
    return _frozen(X[chosen].astype(np.float32), y[chosen])


def with_products(X: np.ndarray) -> np.ndarray:
    """Rows (n, d) and the products of any two of their features: (n, d + d * d)."""
    return np.hstack([X, (X[:, :, None] * X[:, None, :]).reshape(len(X), -1)])


def _frozen(X: np.ndarray, y: np.ndarray) -> Data:
    X.flags.writeable = y.flags.writeable = False
    return X, y
