"""A map of the pictures: those with similar features lie side by side."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from bottleneck_features.report.parts.nearest_pictures import nearest
from classify.heads.numerics import Floats

MOST = 2000  # pictures that t-SNE lays out, in some seconds; the others lie at the mean of the nearest three of them
LEAST = 10  # of fewer, two features are the position
ROUNDING = 1e-7  # t-SNE cannot start where all features are equal, but for rounding
COMPONENTS = 50
STEPS = 500
PERPLEXITY = 30.0


def picture_map(rows: Floats) -> Floats:
    """Positions (n, 2) float32 in [0, 1] of pictures with rows (n, d) of length 1.

    By t-SNE of the first 50 principal components: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9
    (2008). Of more than 2,000 pictures so many, drawn at random, are laid out.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST])
    positions = np.empty((len(rows), 2))
    positions[chosen] = _positions(rows[chosen])
    others = np.setdiff1d(np.arange(len(rows)), chosen)
    if len(others):
        numbers, _ = nearest(rows, np.arange(len(rows)), chosen, 3)
        positions[others] = positions[numbers[others]].mean(axis=1)
    positions -= positions.min(axis=0)
    return (positions / np.maximum(positions.max(axis=0), 1e-12)).astype(np.float32)


def _positions(rows: Floats) -> Floats:
    centred = rows - rows.mean(axis=0)
    if len(rows) < LEAST or centred.shape[1] < 2 or centred.std() < ROUNDING:
        return np.pad(centred[:, :2], ((0, 0), (0, max(0, 2 - centred.shape[1]))))
    components = PCA(min(COMPONENTS, *rows.shape), random_state=0).fit_transform(centred)
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", max_iter=STEPS, random_state=0).fit_transform(components)
