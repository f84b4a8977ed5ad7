"""Rows of the backbone that was the default before: mentioned once, before the default of today computes its own."""

import os

import numpy as np

from cache.errors import log
from cache.row_key import ORIGINAL_VIEW, FeatureSpec
from cache.upkeep.spec_folders import stored_specs
from featurize.spec_options import DEFAULT_BACKBONE, FORMER_DEFAULT


def mention_former_default(spec: FeatureSpec, cache_dir: str, keys: np.ndarray) -> None:
    """Say which of the pictures `keys` (n, 32) have rows of the former default, where `spec` of today's has none yet.

    As soon as its folder is there nothing is said any more.
    """
    if spec.backbone != DEFAULT_BACKBONE or os.path.isdir(os.path.join(cache_dir, spec.folder)):
        return
    for store in stored_specs(cache_dir):
        former = (store.spec.backbone, store.spec.pooling, store.spec.view)
        if former == (FORMER_DEFAULT, spec.pooling, ORIGINAL_VIEW) and (cached := store.contains(keys).sum()):
            log.info(
                "%d of these pictures have rows of %s, the default before version 0.2, in %s: "
                "--backbone %s (backbone=) uses them",
                cached,
                FORMER_DEFAULT,
                store.folder,
                FORMER_DEFAULT,
            )
            return
