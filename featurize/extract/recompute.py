"""Proof that cached rows are what the network gives today: compute a sample of them again."""

import random
from collections.abc import Sequence

import numpy as np

from featurize.extract.extractor import Extractor
from featurize.extract.hashing import digest_sources
from featurize.extract.outcome import as_keys

SAME_COSINE = 0.99999  # rounding of another batch shape or library version stays far above


def largest_difference(
    extractor: Extractor, paths: Sequence[str], sample: int, seed: int = 0
) -> tuple[int, float, float]:
    """Recompute up to `sample` of those images that are cached: (how many, largest difference, smallest cosine)."""
    digests, _ = digest_sources(paths, extractor.table, lambda *_: None)
    readable = [(path, digest) for path, digest in zip(paths, digests, strict=True) if digest]
    cached = extractor.store.contains(as_keys([digest for _, digest in readable]))
    stored = [path for (path, _), there in zip(readable, cached, strict=True) if there]
    chosen = random.Random(seed).sample(stored, min(sample, len(stored)))
    if not chosen:
        return 0, 0.0, 1.0
    before = extractor.features(chosen)[1].astype(np.float32).reshape(len(chosen), -1)
    after = extractor.without_cache(chosen)[1].astype(np.float32).reshape(len(chosen), -1)
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines = (before * after).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)
    cosines[(before == after).all(axis=1)] = 1  # rows of zeros have no direction
    return len(chosen), float(np.abs(before - after).max()), float(cosines.min())
