"""A map of the pictures: those with like features lie side by side."""

import numpy as np

from classify.numerics import Floats
from report.neighbours import nearest

MOST = 2000  # pictures that are laid out, which takes some seconds; the others are put beside the nearest of them
LEAST = 10  # fewer are laid out by principal components alone
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
    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    components = (left * spread)[:, :COMPONENTS]
    if len(rows) < LEAST or components.shape[1] < 2:
        return np.hstack([components[:, :2], np.zeros((len(rows), 2))])[:, :2]
    from sklearn.manifold import TSNE

    start = components[:, :2] / (components[:, 0].std() or 1.0) * 1e-4
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init=start, max_iter=STEPS, random_state=0).fit_transform(components)
