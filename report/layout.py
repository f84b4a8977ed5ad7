"""A map of the pictures: those with like features lie side by side."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from classify.numerics import Floats
from report.neighbours import nearest

MOST = 2000  # pictures that are laid out, which takes some seconds; the others are put beside the nearest of them
LEAST = 10  # fewer have no neighbourhoods to speak of: two of their features say where they lie
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
    if len(rows) < LEAST or rows.shape[1] < 2:
        return np.pad((rows - rows.mean(axis=0))[:, :2], ((0, 0), (0, max(0, 2 - rows.shape[1]))))
    components = PCA(min(COMPONENTS, *rows.shape), random_state=0).fit_transform(rows)
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", max_iter=STEPS, random_state=0).fit_transform(components)
