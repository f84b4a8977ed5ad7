"""A map of the pictures: those with like features lie side by side."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from bottleneck_features.report.parts.nearest_pictures import nearest
from classify.heads.numerics import Floats

MOST = 2000  # pictures that are laid out, which takes some seconds; the others are put beside the nearest of them
LEAST = 10  # fewer have no neighbourhoods to speak of: two of their features say where they lie
ROUNDING = 1e-7  # spread of features that is none: t-SNE cannot start from one point
COMPONENTS = 50
STEPS = 500
PERPLEXITY = 30.0


def layout(rows: Floats) -> Floats:
    """Places (n, 2) float32 in [0, 1] of pictures with rows (n, d) of length 1.

    By t-SNE of the first 50 principal components: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9
    (2008). Of more than 2,000 pictures so many, drawn at random, are laid out.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST])
    places = np.empty((len(rows), 2))
    places[chosen] = _places(rows[chosen])
    others = np.setdiff1d(np.arange(len(rows)), chosen)
    if len(others):
        numbers, _ = nearest(rows, np.arange(len(rows)), chosen, 3)
        places[others] = places[numbers[others]].mean(axis=1)
    places -= places.min(axis=0)
    return (places / np.maximum(places.max(axis=0), 1e-12)).astype(np.float32)


def _places(rows: Floats) -> Floats:
    centred = rows - rows.mean(axis=0)
    if len(rows) < LEAST or centred.shape[1] < 2 or centred.std() < ROUNDING:
        return np.pad(centred[:, :2], ((0, 0), (0, max(0, 2 - centred.shape[1]))))
    components = PCA(min(COMPONENTS, *rows.shape), random_state=0).fit_transform(centred)
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", max_iter=STEPS, random_state=0).fit_transform(components)
