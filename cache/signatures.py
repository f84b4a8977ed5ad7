"""Signatures of pictures in the cache: one small row for each content, whatever the spec of its features.

They lie in a folder beside those of features, in shards like theirs: found by digest, checked, safe against crashes.
"""

import os

import numpy as np

from cache.row_key import FeatureSpec
from cache.store import FeatureStore

SIDE = 24  # pixels
FOLDER = "picture-signatures"  # in the cache; no name of a module, which a folder of a cache named `cache` would hide
BACKBONE = "signature"  # what the spec says in place of a network's name

# Raise `decoder` whenever `featurize.decoding.decode` gives other ones.
SPEC = FeatureSpec(
    backbone=BACKBONE,
    weights="",
    layer="",
    pooling="none",
    size=(SIDE, SIDE),
    resize="antialias",
    preprocess="none",
    decoder=1,
    stored="uint8",
)


def signatures_folder(cache_dir: str) -> str:
    """Where the signatures of a cache are: a folder with the one of their spec in it."""
    return os.path.join(cache_dir, FOLDER)


def signature_store(cache_dir: str) -> FeatureStore:
    """The signatures (SIDE, SIDE, 3) uint8 of the contents that a cache knows."""
    return FeatureStore(signatures_folder(cache_dir), SPEC)


def no_signatures(count: int) -> np.ndarray:
    """Signatures of pictures of which nothing is known: (count, SIDE, SIDE, 3) uint8, without any contrast."""
    return np.zeros((count, SIDE, SIDE, 3), np.uint8)
