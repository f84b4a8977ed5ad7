"""Proof that cached rows are what the network gives today: compute a sample of them again."""

import random
from collections.abc import Sequence

import numpy as np

from featurize.extract import Extractor

SAME_COSINE = 0.99999  # rounding of another batch shape or library version stays far above


def largest_difference(
    extractor: Extractor, paths: Sequence[str], sample: int, seed: int = 0
) -> tuple[int, float, float]:
    """Recompute up to `sample` cached images: (how many, largest absolute difference, smallest cosine)."""
    chosen = random.Random(seed).sample(list(paths), min(sample, len(paths)))
    extraction, stored = extractor.features(chosen)
    usable = [chosen[i] for i in extraction.succeeded]
    _, again = extractor.without_cache(usable)
    if not usable:
        return 0, 0.0, 1.0
    norms = np.linalg.norm(stored, axis=1) * np.linalg.norm(again, axis=1)
    cosines = (stored * again).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)
    return len(usable), float(np.abs(stored - again).max()), float(cosines.min())
